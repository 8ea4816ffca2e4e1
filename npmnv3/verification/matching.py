"""Which of a port's tensors is which step's: by name, and by content where names do not say.

The plan is run along the port: a step's result, computed from the port's own inputs, is nearly exactly one of the port's
tensors, whatever it is called, wherever it stands and in whichever layout. A tensor goes to the step that it fits best,
not to the first that it fits. Behind a fault that breaks the chain, a layer with weights picks it up again: the two
tensors of which one is that layer of the other. What fits no step well is nobody's: engines have tensors that the plan
does not have, and they prove nothing.
"""

from collections import ChainMap
from dataclasses import dataclass, field

import numpy as np

from ..network.steps import INPUT
from ..network.walk import walk
from .fixed_point import FRACTION_BITS
from .net import PROBABILITIES, block_of, run_step
from .readings import Readings, fitted, permuted, thinning
from .tensor_names import by_name
from .tensors import correlation, sketch

GOOD = 1e-2  # squared relative error (20 dB) below which a tensor may be the one that was computed
#: the same, below which it surely is
SURE = {
    "float32": 1e-4,
    "float16": 1e-4,
    "bfloat16": 1e-3,
    "int8": 3e-2,
    **dict.fromkeys(("int16", *FRACTION_BITS), 1e-3),
}
EXACT = 1e-10  # and below which no other step need be looked at
BETTER = 0.1  # a tensor belongs to a later step if its error there is so many times smaller
_FOLLOWERS = ("batch_norm", "relu", "hard_swish", "hard_sigmoid", "softmax", "scale", "identity")
_CHEAP = (*_FOLLOWERS, "add", "mul", "global_avg_pool", "linear")


@dataclass
class Matching:
    """Attributes
    ----------
    views : {step's name: View}
    how : {step's name: "map", "name", "content" (it is what the step gives), "use" (the next layer gives another tensor
        from it) or "likeness" (logits alone: nothing else has as many numbers)}
    free : list of PortTensor that fit no step
    copies : {port's name: step's name} of tensors that only repeat another one's numbers
    """

    views: dict
    how: dict
    free: list
    copies: dict = field(default_factory=dict)


def match(net, arrays, x, tensors, given=None, *, precision="float32", barred=frozenset()):
    """Find the step of each of a port's tensors.

    Parameters
    ----------
    net : Net, its plan `net.with_probabilities`
    arrays : {name: float32 array}, canonical
    x : (N, 3, H, W) float32, the reference's input
    tensors : list of PortTensor
    given : {port's name: step's name or None}, settled beforehand; None leaves a tensor out
    precision : what the port's numbers look like
    barred : set of (port's name, step's name) that are known not to belong together

    Returns
    -------
    Matching
    """
    given = given or {}
    named = {s: found for s, found in by_name(net, tensors, given).items() if (found[0].name, s) not in barred}
    tensors = [t for t in tensors if given.get(t.name, "") is not None]
    return _Matcher(net, arrays, x, tensors, named, SURE[precision], barred).run()


class _Matcher:
    """One pass along the plan."""

    def __init__(self, net, arrays, x, tensors, named, sure, barred):
        self.net, self.arrays, self.x, self.named, self.sure, self.barred = net, arrays, x, named, sure, barred
        self.rest = {t.name: t for t in tensors}
        self.reserved = {t.name: step for step, (t, _) in named.items()}
        self.views, self.how, self.values = {}, {}, {}
        self.places = {step.name: place for place, step in enumerate(net.plan)}
        self.users, self.blocks = {}, {}
        for step in net.plan:
            if step.name.startswith("blocks."):
                self.blocks.setdefault(block_of(step.name), []).append(step)
            for name in step.inputs:
                self.users.setdefault(name, []).append(step)

    def run(self):
        """The matching."""
        self._input()
        everything = {INPUT, *self.net.steps}
        for step in walk(self.net.plan, self.values, self._run_step, keep=everything):
            view, how = self._find(step)
            if view is None and step.params:
                view, how = self._pick_up(step)
            if view is None and step.name == block_of(step.name) in self.blocks:
                view, how = self._pick_up_block(step)
            if view is not None:
                self._assign(step.name, view, how)
        self._name_outputs()
        copies = self._copies()
        self._logits()
        return Matching(self._in_order(), self.how, list(self.rest.values()), copies)

    def _run_step(self, step, inputs):
        return run_step(step, inputs, self.arrays)

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

    def _assign(self, name, view, how):
        self.views[name], self.how[name] = view, how
        self.rest.pop(view.tensor.name, None)
        if view.finite is None:
            self.values[name] = view.data

    def _input(self):
        """The input: by name, or by a picture's shape; the reference's if that suits the stem better."""
        self.values[INPUT] = self.x
        tensor, how = self.named.get(INPUT, (None, "content"))
        candidates = [tensor] if tensor else [t for t in self.rest.values() if (t.name, INPUT) not in self.barred]
        views = [v for t in candidates for v in t.views(self.net.input_shape, len(self.x))]
        if not views:
            return
        expected = sketch(self.x)
        view, _ = fitted(max(views, key=lambda v: abs(correlation(v.sketch, expected))), expected)
        self._assign(INPUT, view, how)
        if view.error(self.x) > 1e-6 and self._stem_prefers_reference():
            self.values[INPUT] = self.x

    def _stem_prefers_reference(self):
        """Whether some tensor of the port is the stem's, of the reference's input and not of the port's."""
        chain = self.net.plan[:3]
        for value, answer in ((self.values[INPUT], False), (self.x, True)):
            for step in chain:
                value = self._run_step(step, [value])
                if any(v.quick_error(sketch(value)) < GOOD for v in self._views(step, len(value))):
                    return answer
        return False

    def _views(self, step, n):
        """Every reading of every tensor still free that has the step's shape."""
        for tensor in self.rest.values():
            if (tensor.name, step.name) not in self.barred:
                yield from tensor.views(step.shape, n)

    def _best(self, step, expected):
        """(view, squared relative error) of the nearest free tensor; the one that bears the step's name wins a tie."""
        best, least = None, np.inf
        for view in self._views(step, len(self.x)):
            view, error = fitted(view, expected)
            owner = self.reserved.get(view.tensor.name)
            error *= 1.0 if owner == step.name else 1.01 if owner is None else 1.02
            if error < least:
                best, least = view, error
        return best, least

    def _find(self, step):
        """(view, how) of the tensor that is this step's output, or (None, "")."""
        predicted = self.values[step.name]
        tensor, how = self.named.get(step.name, (None, ""))
        views = tensor.views(step.shape, len(predicted)) if tensor and tensor.name in self.rest else []
        expected = sketch(predicted)
        own = min(views, key=lambda v: v.quick_error(expected), default=None)
        if own is not None:
            own, _ = fitted(own, expected)
            if how == "map" or self._belongs(step, own, own.quick_error(expected)):
                return own, how
            # What is off is read as the others are: some other layout's numbers, at random, may be less off.
            used = {view.layout for view in self.views.values()}
            own = next((fitted(view, expected)[0] for view in views if view.layout in used), own)
        best, error = self._best(step, expected)
        if best is not None and self._belongs(step, best, error):
            return best, "content"
        if own is not None:
            reordered = permuted(own, predicted, self.sure)
            if reordered is not None:
                return reordered, how
            return (None, "") if self._fits_later(step, own, GOOD) else (own, how)
        for view in self._views(step, len(predicted)):
            if view.tensor.name not in self.reserved:
                reordered = permuted(view, predicted, self.sure)
                if reordered is not None:
                    return reordered, "content"
        return None, ""

    def _belongs(self, step, view, error):
        """Whether a tensor is the step's: near it, and not much nearer to a later step."""
        if error < EXACT:
            return True
        return error < max(GOOD, self.sure) and not self._fits_later(step, view, BETTER * error)

    def _fits_later(self, step, view, limit):
        """Whether a tensor is nearer than `limit` to what a later step makes of this one, before the next convolution."""
        values = ChainMap({}, self.values)
        fresh = {step.name}
        for later in self.net.plan[self.places[step.name] + 1 :]:
            if fresh.isdisjoint(later.inputs):
                continue
            if later.op not in _CHEAP or not values.keys() >= set(later.inputs):
                return False
            values[later.name] = self._run_step(later, [values[name] for name in later.inputs])
            fresh.add(later.name)
            same = values[later.name].shape == view.data.shape and later.op != "identity"
            if same and fitted(view, sketch(values[later.name]))[1] < limit:
                return True
        return False

    def _chain(self, step):
        """The steps behind a step that need nothing else: norm, activation."""
        chain = []
        while True:
            users = [s for s in self.users.get(step.name, []) if s.op in _FOLLOWERS]
            if len(users) != 1 or block_of(users[0].name) not in (block_of(step.name), PROBABILITIES):
                return chain
            step = users[0]
            chain.append(step)

    def _pick_up(self, step):
        """Behind a break: a pair of free tensors of which one is surely this layer (and norm, and activation) of the
        other."""
        source = step.inputs[0]
        if len(step.inputs) != 1 or self._is_known(source):
            return None, ""
        shape, n = self.net.steps[source].shape, len(self.x)
        steps, by = [step, *self._chain(step)], thinning(step, self.net.steps[source].shape)
        others = [Readings(list(self._views(later, n)), by) for later in steps]
        if not any(readings.views for readings in others):
            return None, ""
        for view in [v for t in self.rest.values() for v in t.views(shape, n) if v.finite is None]:
            if view.tensor.is_raw_integer or (view.tensor.name, source) in self.barred:
                continue
            value = view.thinned(by).data
            for later, readings in zip(steps, others):
                value = self._run_step(later, [value])
                other = next((o for o in readings.near(value, self.sure) if o.tensor is not view.tensor), None)
                if other is None:
                    continue
                self._assign(source, view, self._how(source, view, "use"))
                if later is step:
                    return other, self._how(step.name, other)
                self.values[step.name] = self._run_step(step, [self.values[source]])
                return None, ""
        return None, ""

    def _pick_up_block(self, last):
        """The same of a whole block of which no other tensor was given: of two free ones one is surely that block of
        the other."""
        steps = self.blocks[last.name]
        source = steps[0].inputs[0]
        if self._is_known(source) or any(step.name in self.views for step in steps):
            return None, ""
        ends = list(self._views(last, len(self.x)))
        for view in self._views(self.net.steps[source], len(self.x)):
            others = [end for end in ends if end.tensor is not view.tensor]
            if not others or view.finite is not None or view.tensor.is_raw_integer:
                continue
            values = {source: view.data}
            for _ in walk(tuple(steps), values, self._run_step, keep=(last.name,)):
                pass
            expected = sketch(values[last.name])
            other = min(others, key=lambda one: one.quick_error(expected))
            if other.quick_error(expected) < self.sure:
                self._assign(source, view, self._how(source, view, "use"))
                return other, self._how(last.name, other)
        return None, ""

    def _is_known(self, name):
        """Whether the port gave a step's tensor, maybe under the name of what it only repeats."""
        while name not in self.views and name != INPUT and self.net.steps[name].op == "identity":
            name = self.net.steps[name].inputs[0]
        return name in self.views or name == INPUT

    def _how(self, step, view, otherwise="content"):
        return "name" if self.reserved.get(view.tensor.name) == step else otherwise

    def _logits(self):
        """The logits, whatever they are: nothing else has as many numbers as there are classes."""
        if "logits" in self.views:
            return
        expected, logits = sketch(self.values["logits"]), self.net.steps["logits"]
        views = list(self._views(logits, len(self.x)))
        if not views:
            return
        likest = max(range(len(views)), key=lambda i: (abs(correlation(views[i].sketch, expected)), i))
        self._assign("logits", fitted(views[likest], expected)[0], "likeness")
