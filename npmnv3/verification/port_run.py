"""A plan run along a port: every step gets the port's own tensors as inputs where the port gave them.

So what a step's result is off by is that step's doing ("local"), not what it inherited; where tensors are missing, the
steps between two given ones answer together, and with the logits alone the whole network does.
"""

from collections import ChainMap

from ..network.steps import INPUT
from ..network.walk import walk
from .net import block_of, run_step
from .tensors import sketch

GOOD = 1e-2  # squared relative error (20 dB) below which a tensor is surely the one that was computed


class PortRun:
    """Runs nets along a port's matched tensors, each only from where it differs from the base net.

    Parameters
    ----------
    net : Net, the reference's
    arrays : {parameter's name: float32 array}, canonical layout
    x : (N, 3, H, W) float32, the reference's input
    views : {step's name: View}, the port's matched tensors
    free : list of PortTensor that fit no step of the reference
    unsure : names of the steps that were not matched by what they give

    Attributes
    ----------
    base : {port tensor's name: squared relative error} of the reference itself
    """

    def __init__(self, net, arrays, x, views, free=(), unsure=()):
        self.net, self.arrays, self.x, self.views, self.free = net, arrays, x, dict(views), list(free)
        self.unsure, self._movable = frozenset(unsure), frozenset()
        self._steps = net.steps
        self.step_of = {view.tensor.name: name for name, view in self.views.items()}
        self._values = {}
        self.forces_input = True
        self._walk_base()

    def _walk_base(self):
        self.base = self._walk(self.net, base=True)
        given = self.views.get(INPUT)
        if given is None:
            return
        # A port may have dumped another stage of its preprocessing than what its first layer gets.
        own, own_values = self.base, self._values
        self.forces_input = False
        self.base = self._walk(self.net, base=True)
        first = next((name for step in self.net.plan if (name := step.name) in self.views), None)
        tensor = self.views[first].tensor.name if first else None
        if tensor is None or not self.base[tensor] < 0.1 * own[tensor]:
            self.forces_input, self.base, self._values = True, own, own_values

    def errors(self, net, hopeless=lambda found: False):
        """{port tensor's name: squared relative error} under a net, 1.0 for what it does not predict either: a dict, or two.

        `hopeless`, given the errors found so far, may stop a walk: the rest is then as in the base.

        A tensor that the reference does not explain may be another step's, in the blocks that a fault changes and where
        it was not matched by what the step gives. The second dict is for that case.
        """
        changed = {block_of(s.name) for s in net.plan if self._steps.get(s.name) != s}
        doubtful = {
            step
            for name, step in self.step_of.items()
            if (block_of(step) in changed or step in self.unsure) and not self.base[name] < GOOD and step != INPUT
        }
        if len(self.views) + len(self.free) < 2:  # nothing to take it for
            doubtful = set()
        self._movable = {name for name in self.views if name in doubtful or block_of(name) in changed}
        walks = [frozenset(), doubtful] if doubtful else [frozenset()]
        return [self._walk(net, base=False, doubtful=which, hopeless=hopeless) for which in walks]

    def _walk(self, net, base, doubtful=(), hopeless=None):
        errors, taken, clean = {}, set(), set()
        values = {INPUT: self._input(net, errors, base)}
        arrays = ChainMap({name: make(self.arrays) for name, make in net.arrays.items()}, self.arrays)

        def run(step, inputs):
            if not base and step.name not in doubtful and self._is_clean(step, inputs):
                clean.add(step.name)
                return self._values[step.name]
            return run_step(step, inputs, arrays)

        for step in walk(net.plan, values, run, keep={INPUT, *net.steps} if base else ()):
            if step.name in clean:
                if step.name in self.views:
                    taken.add(self.views[step.name].tensor.name)
                continue
            view = self._observed(step, values[step.name], taken, base)
            if view is None:
                continue
            name, error = view.tensor.name, view.error(values[step.name])
            errors[name] = error
            if not base and hopeless(errors):
                break
            # A tensor that a fault does not bring nearer may be another step's under that fault.
            if base or error < max(GOOD, 0.5 * self.base[name]):
                taken.add(name)
                if view.finite is None:
                    values[step.name] = view.data
        if base:
            self._values = values
            return {**dict.fromkeys((t.name for t in self.free), 1.0), **errors}
        return {**self.base, **errors}

    def _input(self, net, errors, base):
        view = self.views.get(INPUT)
        x = self.x if net.pictures is None else net.pictures
        if view is None or not self.forces_input:
            return x
        error, own = view.error(x), view.error(self.x)
        if net.pictures is not None and own < 1e-6 and not error < 0.5 * own:
            return x  # what the port dumped is right, what its first layer got may not be
        errors[view.tensor.name] = error
        if base:
            return view.data
        return self._values[INPUT]

    def _is_clean(self, step, inputs):
        """Whether a step and all that it gets are as in the base walk."""
        if self._steps.get(step.name) != step:
            return False
        return all(value is self._values[name] for name, value in zip(step.inputs, inputs))

    def _observed(self, step, predicted, taken, base):
        """The port's tensor that is this step's output, if it gave one.

        In the base net that was settled by matching. A fault moves things about, so elsewhere the tensors of its blocks
        and those that fitted nowhere are looked through as well.
        """
        own = self.views.get(step.name)
        if own is not None and (own.tensor.name in taken or own.data.shape != predicted.shape):
            own = None
        if base:
            return own
        expected = sketch(predicted)
        if own is not None and own.quick_error(expected) < GOOD:
            return own
        best = min(self._candidates(step, predicted, taken), key=lambda v: v.quick_error(expected), default=None)
        return best if best is not None and best.quick_error(expected) < GOOD else own

    def _candidates(self, step, predicted, taken):
        block = block_of(step.name)
        for name, view in self.views.items():
            near = (name in self._movable or block_of(name) == block) and name != step.name
            if near and view.data.shape == predicted.shape and view.tensor.name not in taken:
                yield view
        for tensor in self.free:
            if tensor.name not in taken:
                yield from tensor.views(step.shape, len(predicted))
