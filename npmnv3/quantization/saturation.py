"""What processors with AVX2 and without VNNI make of uint8 times int8: pairs of products saturate at 16 bits.

Neighbours along a sum are multiplied and added by one instruction (vpmaddubsw), whose result has 16 bits. Few weights are
large enough, in pairs, for that to matter; for these the excess is taken off the layer's sum.
"""

import numpy as np

from ..network.integer_plan import INTEGER_OPS
from ..ops.saturation import lost_to_saturation, saturating_pairs
from .parameters import layers, read_tensor


class Saturation:
    """Takes from layers' sums what saturating pairs lose: the `layer` of a `Network.run`.

    Parameters
    ----------
    network : simulate.Network
    parameters : Parameters, of the scheme onnx
    """

    def __init__(self, network, parameters):
        self.layers, source, self._twins = {}, read_tensor(network.plan), network.integer_twins
        for step in layers(network.plan):
            integers, scales, _ = parameters.weights[step.param("weight").name]
            grid = parameters.grids[source[step.name]]
            if step.op == "depthwise_conv2d" or grid.dtype != "uint8":
                continue
            pairs = saturating_pairs(integers)
            if pairs is not None:
                steps = np.float32(grid.scale) * np.broadcast_to(scales, len(integers))
                self.layers[step.name] = grid, pairs, steps.astype(np.float32)

    def __bool__(self):
        return bool(self.layers)

    def __call__(self, step, values):
        if step.name not in self.layers:
            return
        grid, pairs, steps = self.layers[step.name]
        x, out = values[step.inputs[0]], values[step.name]
        space = {name: getattr(step, name) for name in INTEGER_OPS[step.op][1] if name in ("stride", "pad")}
        lost = lost_to_saturation(grid.quantize(x), pairs, grid.zero_point, twins=self._twins, **space)
        out += lost * steps.reshape(-1, *(1,) * (out.ndim - 2))
