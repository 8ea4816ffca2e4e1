"""Second pass: steps become layers, each of which is one kernel's work. Structure only, no arrays.

An activation goes into the layer before it, an addition into the convolution before it, a pooling into the depthwise
convolution before it, a gate into the convolution after it.
"""

from collections import Counter
from typing import NamedTuple

from ...errors import UsageError
from .fold_constants import FOLDED
from .kernels.kernel import HARD_SIGMOID, HARD_SWISH, NONE, RELU

_ACTS = {"relu": RELU, "hard_swish": HARD_SWISH, "hard_sigmoid": HARD_SIGMOID}
_LAYERS = {
    "conv2d": "conv",
    "depthwise_conv2d": "depthwise",
    "pointwise_conv2d": "pointwise",
    "linear": "linear",
    "global_avg_pool": "mean",
    "max_pool2d": "max_pool",
    "mul": "gate",
}


class Layer(NamedTuple):
    """One kernel's work on one picture.

    name : of the step with the weights, or of the only step
    op : "conv", "depthwise", "pointwise", "linear", "mean", "max_pool" or "gate"
    inputs : names of the layers read; of "gate" the map and the gate
    shape : of the output, (C, H, W) or (C,)
    kernel, stride, pad : as in a step
    act, slope : what is done to a sum before it is stored, see `kernels.kernel`
    add : name of a layer that is added before that, or ""
    gate : name of a layer (C,) that multiplies the input's channels, or ""
    pool : name by which the mean of each channel of the output is known, or ""
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    kernel: int = 0
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    act: int = NONE
    slope: float = 1 / 6
    add: str = ""
    gate: str = ""
    pool: str = ""

    @property
    def reads(self):
        """Names of all tensors that this layer reads."""
        return (*self.inputs, *(name for name in (self.add, self.gate) if name))

    @property
    def makes(self):
        """Names of all tensors that this layer writes."""
        return (self.name, self.pool) if self.pool else (self.name,)


def fuse(plan):
    """The layers of a plan in order of execution, a tuple of `Layer`.

    Raises
    ------
    UsageError
        A step that fits nowhere.
    """
    return tuple(_Fusion(plan).layers.values())


class _Fusion:
    """Takes the steps one by one; `alias` is {step's name: the layer that makes its tensor}, `readers` how many read it."""

    def __init__(self, plan):
        self.layers, self.alias, self.readers = {}, {}, Counter()
        for step in plan:
            if step.op in FOLDED:
                self.alias[step.name] = self._real(step.inputs[0])
                continue
            for name in step.inputs:
                self.readers[self._real(name)] += 1
        self.alias = {}
        for step in plan:
            inputs = tuple(self._real(name) for name in step.inputs)
            if step.op in FOLDED:
                self.alias[step.name] = inputs[0]
            elif step.op in _ACTS:
                self._activation(step, inputs[0])
            elif step.op == "add":
                self._addition(step, inputs)
            elif step.op in _LAYERS:
                self._layer(step, inputs)
            else:
                raise UsageError(f"the llvm engine has no kernel for {step.op} ({step.name})")

    def _real(self, name):
        return self.alias.get(name, name)

    def _only_reader(self, name):
        return self.readers[name] == 1

    def _take_over(self, step, name, **fields):
        """The layer `name` also does the work of `step`."""
        self.layers[name] = self.layers[name]._replace(**fields)
        self.alias[step.name] = name
        self.readers[name] = self.readers[step.name]

    def _activation(self, step, name):
        layer = self.layers.get(name)
        if layer is None or layer.act != NONE or layer.op in ("mean", "max_pool") or not self._only_reader(name):
            raise UsageError(f"{step.name} ({step.op}) does not follow a layer that can apply it")
        self._take_over(step, name, act=_ACTS[step.op], slope=step.slope or 1 / 6)

    def _addition(self, step, inputs):
        for name, other in (inputs, inputs[::-1]):
            layer = self.layers.get(name)
            if layer and layer.op == "pointwise" and not layer.act and not layer.add and self._only_reader(name):
                self.layers[name] = self.layers.pop(name)  # it runs here, when the other one is ready
                return self._take_over(step, name, add=other)
        raise UsageError(
            f"{step.name} adds {' and '.join(step.inputs)}, neither of which is a 1x1 convolution of its own"
        )

    def _layer(self, step, inputs):
        before = self.layers.get(inputs[0])
        if step.op == "global_avg_pool" and before is not None and before.op == "depthwise":
            self.layers[before.name] = before._replace(pool=step.name)
            return
        gate = ""
        if step.op == "pointwise_conv2d" and before is not None and before.op == "gate" and not before.act:
            if self._only_reader(before.name):
                inputs, gate = before.inputs[:1], before.inputs[1]
                del self.layers[before.name]
        self.layers[step.name] = Layer(
            step.name, _LAYERS[step.op], inputs, step.shape, step.kernel, step.stride, step.pad, gate=gate
        )
