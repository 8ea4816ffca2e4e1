"""A plan as a torch module, batch norm folded, for the engines that start from torch."""

import torch
from torch.nn import functional

from npmnv3.engines.llvm.fold_constants import fold
from npmnv3.network.steps import INPUT


class TorchNetwork(torch.nn.Module):
    """Walks the steps of a plan; the weights are buffers."""

    def __init__(self, plan, params):
        super().__init__()
        self.plan = plan
        for name, (weight, bias) in fold(plan, params).items():
            if weight.ndim == 3:
                weight = weight[:, None]
            elif weight.ndim == 2 and not name.startswith(("head", "logits")):
                weight = weight[:, :, None, None]
            self.register_buffer(_key(name, "weight"), torch.from_numpy(weight))
            self.register_buffer(_key(name, "bias"), torch.from_numpy(bias))

    def forward(self, x):
        tensors = {INPUT: x}
        for step in self.plan:
            tensors[step.name] = self._step(step, [tensors[name] for name in step.inputs])
        return tensors[self.plan[-1].name]

    def _step(self, step, inputs):
        x = inputs[0]
        if step.param("weight"):
            weight, bias = (getattr(self, _key(step.name, role)) for role in ("weight", "bias"))
            if weight.ndim == 2:
                return functional.linear(x.flatten(1), weight, bias)
            groups = len(weight) if step.op == "depthwise_conv2d" else 1
            top, bottom, left, right = step.pad
            if (top, left) != (bottom, right):
                x, top, left = functional.pad(x, (left, right, top, bottom)), 0, 0
            return functional.conv2d(x, weight, bias, step.stride, (top, left), groups=groups)
        return _OPERATIONS[step.op](step, *inputs)


def _key(name, role):
    return f"{name}.{role}".replace(".", "_")


_OPERATIONS = {
    "batch_norm": lambda step, x: x,  # in the weights
    "scale": lambda step, x: x,  # likewise
    "identity": lambda step, x: x,
    "relu": lambda step, x: functional.relu(x),
    "hard_swish": lambda step, x: functional.hardswish(x),
    "hard_sigmoid": lambda step, x: torch.clamp(x * step.slope + 0.5, 0, 1),
    "global_avg_pool": lambda step, x: functional.adaptive_avg_pool2d(x, 1),
    "max_pool2d": lambda step, x: functional.max_pool2d(x, step.kernel),
    "mul": lambda step, x, gate: x * gate,
    "add": lambda step, x, y: x + y,
}
