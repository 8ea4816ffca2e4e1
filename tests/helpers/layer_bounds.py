"""The llvm engine layer by layer: no rounding error beyond what can be derived (see `rounding`).

Each layer is computed once more in float64 from the very inputs that the llvm engine gave it, and held to its own bound.
With nothing but such layers, the last one's output the same bits as the whole network's, and the layers in float64 the same
function as the plan, the network is right.

    PYTHONPATH=. python tests/helpers/layer_bounds.py --cases 300
"""

import argparse
import collections

import numpy as np
from random_networks import plan_maker, random_case, random_params
from rounding import assert_same_function, gamma
from tqdm import tqdm

from npmnv3.engines.llvm import LlvmEngine
from npmnv3.engines.llvm.compiler import library
from npmnv3.engines.llvm.fold_constants import fold
from npmnv3.engines.llvm.fuse import Layer, fuse
from npmnv3.engines.llvm.kernels.kernel import HARD_SIGMOID, HARD_SWISH, RELU
from npmnv3.engines.llvm.pack import Weights
from npmnv3.engines.llvm.programs import Bound
from npmnv3.engines.llvm.schedule import Schedule, schedule
from npmnv3.engines.plan_engine import PlanEngine
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import list_models
from npmnv3.ops import definitions as ops


class Tensors:
    """Every tensor that the llvm engine makes of one picture, (C, H, W) or (C,), by name.

    One program makes nearly all of them: its last layer, which is never run, reads them all, so that each is kept, whole, in
    memory of its own. A gate may be multiplied into a map where that lies; before that, the map is the last of a program of
    its own, of the layers up to it.
    """

    def __init__(self, layers, weights, picture):
        self.made = {"input": picture}
        gated = {layer.inputs[0] for layer in layers if layer.gate or layer.op == "gate"}
        kept = tuple(name for layer in layers for name in layer.makes if name not in gated)
        everything = Layer("everything", "", kept, ())
        whole = Schedule([*layers, everything], weights, library(), picture.shape, pictures=1, parts=1, guard=False)
        done = 0
        while done < len(layers):
            done += whole.step(layers, done, 0)
        bound = _run(whole.program(None, layers[-1].name), weights, picture)
        for index, layer in enumerate(layers, 1):
            if layer.name in gated:
                program = schedule(layers[:index], weights, library(), picture=picture.shape, output=layer.name)
                self.made[layer.name] = _planar(_run(program, weights, picture).output, program.output.shape)
            for name in layer.makes:
                if name in kept:
                    self.made[name] = _planar(bound._vectors(whole.tensors[name]), whole.tensors[name].shape)

    def exact(self, name):
        return self.made[name].astype(np.float64)[None]


class Float64:
    """Every tensor of one picture as the fused layers give it in float64, from unrounded weights."""

    def __init__(self, layers, arrays, picture):
        self.made = {"input": picture[None].astype(np.float64)}
        for layer in layers:
            self.made[layer.name], _ = expected(layer, self, arrays)
            if layer.pool:
                self.made[layer.pool], _ = _mean(self.made[layer.name])

    def exact(self, name):
        return self.made[name]


def _run(program, weights, picture):
    bound = Bound(program, weights, library(), collections.deque())
    bound.read_from(picture[None])
    bound.run()
    return bound


def _planar(vectors, shape):
    return vectors.transpose(0, 2, 1).reshape(-1, vectors.shape[1])[: shape[0]].reshape(shape).copy()


def expected(layer, tensors, arrays):
    """(value, bound of its error) of a layer in float64, from the llvm engine's own inputs; (1, C, H, W) or (1, C)."""
    x = tensors.exact(layer.inputs[0])
    if layer.op == "max_pool":
        return ops.max_pool2d(x, kernel=layer.kernel), 0.0
    if layer.op == "mean":
        return _mean(x)
    if layer.op == "gate":
        value = ops.mul(x, tensors.exact(layer.inputs[1]))
        return activated(layer, value, gamma(1) * np.abs(value))
    if layer.gate:
        x = ops.mul(x, tensors.exact(layer.gate))
    weight, bias = (array.astype(np.float64) for array in arrays[layer.name])
    value, size = (_product(layer, *of) for of in ((x, weight, bias), map(np.abs, (x, weight, bias))))
    if layer.add:
        other = tensors.exact(layer.add)
        value, size = value + other, size + np.abs(other)
    terms = weight[0].size + bool(layer.gate) + 4  # the bias, what is added, and the sums of blocks of channels
    return activated(layer, value, gamma(terms) * size)


def _product(layer, x, weight, bias):
    if layer.op == "linear" or x.ndim == 2:
        return ops.linear(x, weight, bias)
    if layer.op == "pointwise":
        return ops.pointwise_conv2d(x, weight, bias)
    operation = ops.depthwise_conv2d if layer.op == "depthwise" else ops.conv2d
    return operation(x, weight, bias, stride=layer.stride, pad=layer.pad)


def _mean(x):
    return ops.global_avg_pool(x), gamma(x[0, 0].size + 4) * ops.global_avg_pool(np.abs(x))


def activated(layer, value, error):
    """Value and error after the activation: its steepest slope times the error, and what its own operations add."""
    if layer.act == RELU:
        return ops.relu(value), error
    if layer.act == HARD_SIGMOID:
        own = gamma(4) * (layer.slope * np.abs(value) + 0.5)
        return ops.hard_sigmoid(value, slope=layer.slope), layer.slope * error + own
    if layer.act == HARD_SWISH:
        return ops.hard_swish(value), 1.5 * error + gamma(6) * np.abs(value)
    return value, error


def worst_of_layers(plan, params, picture):
    """{tensor: largest error as a part of its bound}, and the logits, of one picture (3, H, W) in the llvm engine."""
    layers, arrays = fuse(plan), fold(plan, params)
    tensors = Tensors(layers, Weights(layers, arrays, library().machine), picture)
    worst = {}
    for layer in layers:
        checks = [(layer.name, expected(layer, tensors, arrays))]
        checks += [(layer.pool, _mean(tensors.exact(layer.name)))] if layer.pool else []
        for name, (value, bound) in checks:
            error = np.abs(tensors.exact(name) - value)
            worst[name] = float((error / np.maximum(bound, 1e-35)).max())  # below, float32 has few bits left
    return worst, tensors.made[layers[-1].name]


def case_of(seed):
    """(what it is, plan, plan maker, params, x) of a random network: width, input's side, batch and classes."""
    rng = np.random.default_rng(seed)
    variant, side, classes, batch, what = random_case(rng, list_models(), most=9)
    params = random_params(make_plan(variant, classes), rng)
    x = rng.standard_normal((batch, 3, *side)).astype(np.float32)
    return what, make_plan(variant, classes, side), plan_maker(variant, classes), params, x


def check(seed):
    """Hold a random network to the bounds; the worst part of one."""
    what, plan, maker, params, x = case_of(seed)
    return hold(plan, maker, params, x, f"{seed}: {what}", threads=1 + seed % 2)


def hold(plan, maker, params, x, what, *, threads=1):
    """Hold a network to the bounds, and all pictures of x (N, 3, H, W) to the bits of each alone.

    Parameters
    ----------
    plan : tuple of Step, for an input of (H, W)
    maker : callable (side or None) -> plan, as the engine takes it
    params : {source's name: array}
    what : str, for messages

    Returns
    -------
    float, the largest part of its bound that a number is off by
    """
    layers, oracle = fuse(plan), PlanEngine(maker, params, np.float64)
    chain = Float64(layers, fold(plan, params, np.float64), x[0])
    assert_same_function(chain.exact(layers[-1].name), oracle.run(x[:1].astype(np.float64)), what)
    worst, logits = worst_of_layers(plan, params, x[0])
    name = max(worst, key=worst.get)
    assert worst[name] <= 1, f"{what}: {name} is off by {worst[name]:.3g} of its bound"
    engine = LlvmEngine(maker, params, threads=threads)
    together = engine.run(x)
    np.testing.assert_array_equal(together[0], logits, what)
    for i in range(len(x)):
        np.testing.assert_array_equal(engine.run(x[i : i + 1])[0], together[i], what)
    return worst[name]


def main():
    parser = argparse.ArgumentParser(description="Random networks against the derived bound of every layer.")
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    args = parser.parse_args()
    seeds = range(args.seed, args.seed + args.cases)
    worst = max(check(seed) for seed in tqdm(seeds, disable=None))
    print(
        f"{args.cases} networks: every layer within its bound, the worst at {worst:.2f} of it; the same bits in every batch"
    )


if __name__ == "__main__":
    main()
