"""Which of a port's tensors is which step's: by name, and by content where names do not say.

The plan is run along the port (see `port_run`): a step's result, computed from the port's own inputs, is nearly exactly
one of the port's tensors, whatever it is called, wherever it stands and in whichever layout. Behind a fault that
breaks the chain, a layer with weights picks it up again: the two tensors of which one is that layer of the other.
"""

from dataclasses import dataclass, field

import numpy as np

from ..network.steps import INPUT, Step
from .net import block_of, run_step
from .port_run import GOOD
from .tensor_names import PROBABILITIES, by_name
from .tensors import correlation, relative_error, sketch

WEAK = 0.5  # correlation from which a leftover tensor is taken for a leftover step's
_FOLLOWERS = ("batch_norm", "relu", "hard_swish", "hard_sigmoid", "softmax", "scale", "identity")


@dataclass
class Matching:
    """Attributes
    ----------
    views : {step's name: View}
    how : {step's name: "map", "name", "content" (it is what the step gives), "use" (the next layer gives another tensor
        from it) or "likeness"}
    free : list of PortTensor that fit no step
    copies : {port's name: step's name} of tensors that only repeat another one's numbers
    """

    views: dict
    how: dict
    free: list
    copies: dict = field(default_factory=dict)


def with_probabilities(plan):
    """The plan and, last, the softmax that some ports end in."""
    return (*plan, Step(PROBABILITIES, "softmax", ("logits",), plan[-1].shape))


def match(net, arrays, x, tensors, given=None):
    """Find the step of each of a port's tensors.

    Parameters
    ----------
    net : Net, its plan `with_probabilities`
    arrays : {name: float32 array}, canonical
    x : (N, 3, H, W) float32, the reference's input
    tensors : list of PortTensor
    given : {port's name: step's name or None}, settled beforehand; None leaves a tensor out

    Returns
    -------
    Matching
    """
    given = given or {}
    named = by_name(net, tensors, given)
    tensors = [t for t in tensors if given.get(t.name, "") is not None]
    first = _Matcher(net, arrays, x, tensors, named).run()
    # Once more with what the first pass found at the end, so that it serves as input too.
    late = {step: (view.tensor, "likeness") for step, view in first.views.items() if first.how[step] == "likeness"}
    if not late:
        return first
    return _Matcher(net, arrays, x, tensors, {**late, **named}).run()


class _Matcher:
    """One pass along the plan."""

    def __init__(self, net, arrays, x, tensors, named):
        self.net, self.arrays, self.x, self.named = net, arrays, x, named
        self.rest = {t.name: t for t in tensors}
        self.reserved = {t.name: step for step, (t, _) in named.items()}
        self.views, self.how, self.values = {}, {}, {}
        self.users = {}
        for step in net.plan:
            for name in step.inputs:
                self.users.setdefault(name, []).append(step)

    def run(self):
        """The matching."""
        self._input()
        for step in self.net.plan:
            if step.name in self.views:  # found ahead, by a layer behind it
                continue
            predicted = self._predict(step)
            self.values[step.name] = predicted
            view, how = self._find(step, predicted)
            if view is None and step.params:
                view, how = self._pick_up(step)
            if view is not None:
                self._assign(step.name, view, how)
        self._name_outputs()
        copies = self._copies()
        self._leftovers()
        return Matching(self._in_order(), self.how, list(self.rest.values()), copies)

    def _name_outputs(self):
        """Where a block's last layer is all that its output is, the tensor goes by the block's name."""
        for step in self.net.plan:
            source = step.inputs[0]
            if step.op == "identity" and step.name not in self.views and self.how.get(source) == "content":
                self.views[step.name], self.how[step.name] = self.views.pop(source), self.how.pop(source)

    def _copies(self):
        """{port's name: step's name} of tensors that only repeat the numbers of one that is matched."""
        found = {}
        for name, view in self.views.items():
            numbers = view.tensor.array.ravel()
            for tensor in list(self.rest.values()):
                if tensor.array.size == numbers.size and np.array_equal(tensor.array.ravel(), numbers, equal_nan=True):
                    found[tensor.name] = name
                    del self.rest[tensor.name]
        return found

    def _in_order(self):
        return {name: self.views[name] for name in (INPUT, *self.net.steps) if name in self.views}

    def _predict(self, step, values=None):
        return run_step(step, [self.values[name] for name in step.inputs] if values is None else values, self.arrays)

    def _assign(self, name, view, how):
        self.views[name], self.how[name] = view, how
        self.rest.pop(view.tensor.name, None)
        if view.finite is None:
            self.values[name] = view.data

    def _input(self):
        """The input: by name, or by a picture's shape; the reference's if that suits the stem better."""
        self.values[INPUT] = self.x
        tensor, how = self.named.get(INPUT, (None, "content"))
        candidates = [tensor] if tensor else list(self.rest.values())
        views = [v for t in candidates for v in t.views(self.net.input_shape, len(self.x))]
        if not views:
            return
        expected = sketch(self.x)
        view = max(views, key=lambda v: abs(correlation(v.sketch, expected)))
        self._assign(INPUT, view, how)
        if view.error(self.x) > 1e-6 and self._stem_prefers_reference():
            self.values[INPUT] = self.x

    def _stem_prefers_reference(self):
        """Whether some tensor of the port is the stem's, of the reference's input and not of the port's."""
        chain = self.net.plan[:3]
        for value, answer in ((self.values[INPUT], False), (self.x, True)):
            for step in chain:
                value = self._predict(step, [value])
                if any(v.quick_error(sketch(value)) < GOOD for v in self._views(step, len(value))):
                    return answer
        return False

    def _views(self, step, n):
        """Every reading of every tensor still free that has the step's shape."""
        for tensor in self.rest.values():
            yield from tensor.views(step.shape, n)

    def _best(self, step, predicted):
        """(view, squared relative error) of the nearest free tensor; the one that bears the step's name wins a tie."""
        expected = sketch(predicted)
        best, least = None, np.inf
        for view in self._views(step, len(predicted)):
            error = view.quick_error(expected)
            if view.tensor.is_raw_integer:
                view, error = _dequantized(view, expected)
            owner = self.reserved.get(view.tensor.name)
            error *= 1.0 if owner == step.name else 1.01 if owner is None else 1.02
            if error < least:
                best, least = view, error
        return best, least

    def _find(self, step, predicted):
        """(view, how) of the tensor that is this step's output, or (None, "")."""
        tensor, how = self.named.get(step.name, (None, ""))
        views = tensor.views(step.shape, len(predicted)) if tensor and tensor.name in self.rest else []
        expected = sketch(predicted)
        own = min(views, key=lambda v: v.quick_error(expected), default=None)
        if own is not None and own.tensor.is_raw_integer:
            own = _dequantized(own, expected)[0]
        if own is not None and (how == "map" or own.quick_error(expected) < GOOD):
            return own, how
        best, error = self._best(step, predicted)
        if best is not None and error < GOOD:
            return best, "content"
        if own is not None:
            permuted = _permuted(own, predicted)
            if permuted is not None:
                return permuted, how
            return (None, "") if self._fits_later(step, predicted, own) else (own, how)
        for view in self._views(step, len(predicted)):
            if view.tensor.name not in self.reserved and (permuted := _permuted(view, predicted)) is not None:
                return permuted, "content"
        return None, ""

    def _chain(self, step):
        """The steps behind a step that need nothing else: norm, activation."""
        chain = []
        while True:
            users = [s for s in self.users.get(step.name, []) if s.op in _FOLLOWERS]
            if len(users) != 1 or block_of(users[0].name) not in (block_of(step.name), PROBABILITIES):
                return chain
            step = users[0]
            chain.append(step)

    def _fits_later(self, step, predicted, view):
        """Whether a tensor with this step's name is really a later one: with the norm folded in, or activated."""
        for later in self._chain(step):
            predicted = self._predict(later, [predicted])
            if view.data.shape == predicted.shape and view.quick_error(sketch(predicted)) < GOOD:
                return True
        return False

    def _pick_up(self, step):
        """Behind a break: a pair of free tensors of which one is this layer (and norm, and activation) of the other."""
        source = step.inputs[0]
        if len(step.inputs) != 1 or source in self.views or source == INPUT:
            return None, ""
        shape = self.net.steps[source].shape
        steps = [step, *self._chain(step)]
        for view in [v for t in list(self.rest.values()) for v in t.views(shape, len(self.x)) if v.finite is None]:
            value, thin = _thinned(step, view.data)
            for later in steps:
                value = self._predict(later, [value])
                for other in self._views(later, len(self.x)):
                    if other.tensor is view.tensor or not _like(_thin(other.data, thin), value):
                        continue
                    self._assign(source, view, self._how(source, view, "use"))
                    if later is step:
                        return other, self._how(step.name, other)
                    predicted = self._predict(step)
                    self.values[step.name] = predicted
                    return None, ""
        return None, ""

    def _how(self, step, view, otherwise="content"):
        return "name" if self.reserved.get(view.tensor.name) == step else otherwise

    def _leftovers(self):
        """What is left goes to the step of its shape that it resembles most, if it does."""
        pairs = []
        for step in self.net.plan:
            if step.name in self.views:
                continue
            expected = sketch(self.values[step.name])
            for view in self._views(step, len(self.x)):
                pairs.append((abs(correlation(view.sketch, expected)), len(pairs), step.name, view))
        for likeness, _, name, view in sorted(pairs, key=lambda p: (-p[0], p[1])):
            sure = likeness >= WEAK or name == "logits"  # nothing else has as many numbers as there are classes
            if sure and name not in self.views and view.tensor.name in self.rest:
                self._assign(name, view, "likeness")


def _dequantized(view, expected):
    """(view, error) of raw integers with the scale and offset that fit best."""
    found = view.sketch.astype(np.float64)
    if np.ptp(found) == 0:
        return view, np.inf
    factor, offset = np.polyfit(found, expected, 1)
    fitted = view.rescaled(factor, offset)
    return fitted, fitted.quick_error(expected)


def _permuted(view, predicted):
    """The view with its channels put in the order of the prediction's, if that makes the two agree."""
    if view.finite is not None or predicted.ndim != 4 or predicted.shape[1] < 3 or np.prod(predicted.shape[2:]) < 16:
        return None
    n, c = predicted.shape[:2]
    a, b = (_unit_rows(array.transpose(1, 0, 2, 3).reshape(c, -1)) for array in (view.data, predicted))
    order = np.argmax(a @ b.T, axis=1)
    if len(set(order.tolist())) != c or (order == np.arange(c)).all():
        return None
    candidate = view.permuted(order)
    return candidate if candidate.quick_error(sketch(predicted)) < GOOD else None


def _unit_rows(rows):
    """Each row's deviation from its mean, at most 256 numbers of it, of length 1."""
    rows = rows[:, :: max(1, rows.shape[1] // 256)]
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


def _thinned(step, data):
    """(data, thinning): for what works on each pixel by itself, a few pixels do."""
    if data.ndim == 4 and step.op in ("pointwise_conv2d", "batch_norm") and data.shape[2] * data.shape[3] > 256:
        thin = max(1, min(data.shape[2:]) // 8)
        return np.ascontiguousarray(_thin(data, thin)), thin
    return data, 1


def _thin(data, thin):
    return data[:, :, ::thin, ::thin] if data.ndim == 4 and thin > 1 else data


def _like(found, expected):
    return found.shape == expected.shape and relative_error(sketch(found), sketch(expected)) < GOOD
