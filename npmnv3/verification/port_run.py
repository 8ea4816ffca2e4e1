"""A plan run along a port: every step gets the port's own tensors as inputs where the port gave them.

So what a step's result is off by is that step's doing ("local"), not what it inherited; where tensors are missing, the
steps between two given ones answer together, and with the logits alone the whole network does.
"""

import functools
import math

from ..network.steps import INPUT
from ..network.walk import walk
from .net import unchanged
from .tensors import sketch

GOOD = 1e-2  # squared relative error above which a tensor does not fit what it was matched with
SENSED = 0.25  # a fault that does not bring a tensor so much nearer leaves it to what it was matched with


class PortRun:
    """Runs nets along a port's matched tensors, each only from where it differs from the base net.

    Parameters
    ----------
    net : Net, the reference's
    arrays : {parameter's name: float32 array}, canonical layout
    x : (N, 3, H, W) float32, the reference's input
    views : {step's name: View}, the port's matched tensors
    free : list of PortTensor that fit no step of the reference
    sure : float, squared relative error below which a free tensor is a step's

    Attributes
    ----------
    base : {port tensor's name: squared relative error} of the reference itself
    forces_input : bool, whether the port's input tensor is what its first layer gets
    """

    def __init__(self, net, arrays, x, views, free=(), sure=1e-4):
        self.net, self.arrays, self.x, self.views, self.free, self.sure = net, arrays, x, dict(views), list(free), sure
        self._steps = net.steps
        self.step_of = {view.tensor.name: name for name, view in self.views.items()}
        self._values, self._costs, self._of_shape = {}, {}, {}
        self._total = sum(self._cost(step) for step in net.plan)
        self.forces_input = INPUT in self.views
        self.base, self._values = self._walk_base()
        if self.forces_input:
            self._check_input()

    def _cost(self, step):
        """Of a step, in arbitrary units: multiply-adds, and numbers written."""
        key = (step.op, step.shape, step.name)
        if key not in self._costs:
            weight = step.param("weight")
            taps = math.prod(weight.canonical[1:]) if weight else 0
            each = taps * 3 if step.op == "depthwise_conv2d" else taps / 8
            self._costs[key] = math.prod(step.shape) * (each + 4)
        return self._costs[key]

    def _walk_base(self):
        """(errors, values): what the reference itself leaves of each of the port's tensors, and the tensors of that walk."""
        errors = dict.fromkeys((tensor.name for tensor in self.free), 1.0)
        values, arrays = {INPUT: self._input(self.net, errors)}, self.net.with_arrays(self.arrays)
        run = functools.partial(self.net.run, arrays=arrays)
        for step in walk(self.net.plan, values, run, keep={INPUT, *self._steps}):
            view = self.views.get(step.name)
            if view is not None:
                errors[view.tensor.name] = view.error(values[step.name])
                if view.finite is None:
                    values[step.name] = view.data
        return errors, values

    def _check_input(self):
        """A port may have dumped another stage of its preprocessing than what its first layer gets."""
        first = next((view.tensor.name for step in self.net.plan if (view := self.views.get(step.name))), None)
        if first is None:
            return
        self.forces_input = False
        base, values = self._walk_base()
        self.forces_input = not base[first] < 0.1 * self.base[first]
        if not self.forces_input:
            self.base, self._values = base, values

    def errors(self, net, hopeless=lambda found: False):
        """What the port's tensors are off by under a net.

        Parameters
        ----------
        net : Net
        hopeless : callable (errors found so far) -> bool, may stop the walk: the rest is then as in the base

        Returns
        -------
        (errors, work) : {port tensor's name: squared relative error}, 1.0 for what it does not predict either; and what that
            took, in runs of the whole net
        """
        errors, taken, clean, ran = {}, set(), set(), []
        values, plan, arrays = {INPUT: self._input(net, errors)}, net.plan, net.with_arrays(self.arrays)
        changed = {name for name in self.views if not self._is_as_it_was(net.steps.get(name), name)}

        def run(step, inputs):
            if not net.half and self._is_clean(step, inputs):
                clean.add(step.name)
                return self._values[step.name]
            ran.append(self._cost(step))
            return net.run(step, inputs, arrays)

        if not net.half and values[INPUT] is self._values[INPUT]:  # before a change all is as it was
            same = unchanged(plan, self.net.plan)
            values, taken = dict(self._values), {v.tensor.name for s in plan[:same] if (v := self.views.get(s.name))}
            plan = plan[same:]
        for step in walk(plan, values, run):
            if step.name in clean:
                if step.name in self.views:
                    taken.add(self.views[step.name].tensor.name)
                continue
            view = self._observed(step, values[step.name], taken, changed)
            if view is None:
                continue
            name, error = view.tensor.name, view.error(values[step.name])
            errors[name] = min(error, errors.get(name, error))
            if hopeless(errors):
                break
            # A tensor that a fault does not bring nearer may be another step's under that fault.
            if error < max(self.sure, 0.5 * self.base[name]):
                taken.add(name)
            if view.finite is None:
                values[step.name] = view.data
        return {**self.base, **errors}, sum(ran) / self._total

    def value(self, name):
        """The reference's tensor of a step, on the port's own inputs; where the port gave it, the port's."""
        return self._values[name]

    def _input(self, net, errors):
        """What a net's first layer gets. If that is the port's input tensor, what that is off by is one of the errors."""
        x = self.x if net.pictures is None else net.pictures
        if not self.forces_input:
            return x
        view = self.views[INPUT]
        error, own = view.error(x), view.error(self.x)
        if net.pictures is not None and own < 1e-6 and not error < 0.5 * own:
            return x  # what the port dumped is right, what its first layer got may not be
        errors[view.tensor.name] = error
        return self._values.get(INPUT, view.data)

    def _is_clean(self, step, inputs):
        """Whether a step and all that it gets are as in the base walk."""
        if not self._is_as_it_was(step, step.name):
            return False
        return all(value is self._values[name] for name, value in zip(step.inputs, inputs))

    def _is_as_it_was(self, step, name):
        """Whether a net's step is the base's of that name; nearly all are the very same object."""
        own = self._steps.get(name)
        return step is own or step == own

    def _observed(self, step, predicted, taken, changed):
        """The port's tensor that is this step's output under a fault, if it gave one.

        A fault moves things about: a tensor that fitted nowhere, or not what it was matched with, or a step that the fault
        changed, may be this step's, if it surely is.
        """
        own = self.views.get(step.name)
        if own is not None and (own.tensor.name in taken or own.data.shape != predicted.shape):
            own = None
        expected = sketch(predicted).astype(float)
        if own is not None and own.quick_error(expected) < max(self.sure, SENSED * self.base[own.tensor.name]):
            return own
        found = self._readings(step.shape, len(predicted))
        near = [
            (v.quick_error(expected), i)
            for i, (name, at, v) in enumerate(found)
            if name not in taken and (not at or at in changed or self.base[name] > GOOD)
        ]
        error, i = min(near, default=(math.inf, None))
        return found[i][2] if error < self.sure else own

    def _readings(self, *shape):
        """[(port tensor's name, step that it was matched with or None, View)] of (shape, n)."""
        if shape not in self._of_shape:
            tensors = (*self.free, *(view.tensor for view in self.views.values()))
            self._of_shape[shape] = [
                (t.name, self.step_of.get(t.name), view)
                for t in tensors
                if t.name in self.base  # an input that the first layer does not get is no step's
                for view in t.views(*shape)
            ]
        return self._of_shape[shape]
