"""A quantised port's weights against the float network's, folded: are they these, rounded?"""

from dataclasses import dataclass

import numpy as np

from ...network.integer_plan import LAYERS
from ...network.lowering import SCHEMES, lower

NEAREST = 0.501  # steps from the float weight to the nearest integer, and what float32 folding adds
CLAMPED = 1 << 30  # biases that a converter does not let grow further
FAR = 2.0  # steps of a stored tensor, from which a bias alone is another
SHOWN = 4  # channels
LIKE = 15.0  # dB from which weights are taken for another layer's, or for the same in another order


@dataclass(frozen=True)
class LayerCheck:
    """One layer. snr_db : of its weights; bias_snr_db; farthest : steps; wrong : what is wrong with it, "" if nothing is"""

    name: str
    snr_db: float
    bias_snr_db: float
    farthest: float
    wrong: str = ""

    def as_json(self):
        return {
            "layer": self.name,
            "snr_db": finite(self.snr_db),
            "bias_snr_db": finite(self.bias_snr_db),
            "farthest_steps": finite(self.farthest),
            "wrong": self.wrong,
        }


def finite(value):
    """For JSON: None where it is not finite."""
    return float(value) if value is not None and np.isfinite(value) else None


def snr(real, found):
    """Signal to noise, dB; infinite where equal."""
    real, found = (np.asarray(part, np.float64) for part in (real, found))
    noise = np.square(real - found).sum()
    signal = np.square(real - real.mean()).sum() or np.square(real).sum()
    if noise == 0:
        return np.inf
    return 10 * np.log10(signal / noise) if signal else -np.inf


def check_weights(model, plan):
    """A LayerCheck for each layer that both have.

    Parameters
    ----------
    model : Model, the float network
    plan : IntegerPlan under its names
    """
    floats = real_layers(model, plan)
    return [_check(plan, step, floats) for step in plan.steps if step.op in LAYERS and step.name in floats]


def real_layers(model, plan):
    """{layer: (weight, bias)} of the float network as the port's layers have them: folded, a gate's 3 in its bias."""
    folded = model.plan_for(plan.input_shape[1:], folded=True)
    layers, arrays = _layers(folded, plan), model.arrays(folded=True)
    steps = {step.name: step for step in plan.steps}
    slopes = {step.inputs[0]: step.slope for step in folded if step.op == "hard_sigmoid"}
    found = {}
    for name, layer in layers.items():
        weight, bias = layer.param("weight"), layer.param("bias")
        weight = arrays[weight.name]
        bias = arrays[bias.name] if bias else np.zeros(len(weight))
        if name in steps and steps[name].act == "relu6" and layer.name in slopes:
            factor = 6 * slopes[layer.name]
            weight, bias = weight * factor, bias * factor + 3
        found[name] = weight, bias
    return found


def _layers(folded, plan):
    """{the port's layer: the network's}, by the way of fusing that names most of the port's: a layer has its relu's name
    where that is fused into it, which one engine's files do and do not."""
    named = {step.name for step in plan.steps if step.op in LAYERS}
    ways = (lower(folded, scheme, plan.input_shape)[1] for scheme in SCHEMES)
    return max(ways, key=lambda layers: len(named & layers.keys()))


def _check(plan, step, floats):
    q, bias, scale, zero = plan.params(step)
    real, real_bias = floats[step.name]
    if real.shape != q.shape:
        return LayerCheck(step.name, -np.inf, -np.inf, np.inf, f"has weights {q.shape}, not {real.shape}")
    along = (-1, *(1,) * (q.ndim - 1))
    scale, zero = scale.astype(np.float64).reshape(along), zero.reshape(along)
    found = (q.astype(np.int64) - zero) * scale
    off = np.abs(real / scale + zero - q)
    limits = np.iinfo(q.dtype)
    off[(q <= limits.min + 1) | (q >= limits.max)] = 0  # cut at the ends, as some calibrations do
    bias_scale = np.float64(plan.grids[step.inputs[0]].scale) * np.broadcast_to(scale.ravel(), len(bias))
    steps = real_bias / bias_scale
    kept = np.abs(steps) < CLAMPED - 1
    snr_db, bias_db = snr(real, found), snr(real_bias[kept], bias[kept] * bias_scale[kept]) if kept.any() else np.inf
    bias_off = float(np.abs(steps - bias)[kept].max(initial=0))
    wrong = _wrong_weights(step, real, found, off, scale, floats)
    if not wrong and bias_off > 1:
        few = few_biases(np.where(kept, np.abs(steps - bias), 0), bias_scale / plan.grids[step.name].scale)
        wrong = wrong_bias(bias, bias_db) or few
    return LayerCheck(step.name, float(snr_db), float(bias_db), float(off.max(initial=0)), wrong)


def wrong_bias(bias, snr_db):
    """Of a bias as a whole: some tools correct what rounding did to a layer's mean in it, so that much is no fault."""
    if snr_db >= 10:
        return ""
    return f"has another bias ({snr_db:.0f} dB)" if bias.any() else "has no bias"


def few_biases(off, stored):
    """Of biases `off` by so many of their steps, each of which is `stored` of the tensor's: a few that are far off, where
    all others are the network's, rounded, which no correction leaves so."""
    far = off > 1
    if 4 * np.count_nonzero(far) > len(far) or not (off * stored)[far].min(initial=np.inf) > FAR:
        return ""
    channel = int(np.argmax(off * stored))
    return f"has {np.count_nonzero(far)} of {len(far)} biases that are not these, most in channel {channel}, by {(off * stored)[channel]:.1f} steps of what is stored"


def _wrong_weights(step, real, found, off, scale, floats):
    """What sets a layer's weights apart from the float network's by more than rounding, in words."""
    far = np.count_nonzero(off > 1)
    if not far:
        return ""
    others = f"has other weights ({snr(real, found):.0f} dB, {far} of {off.size} off by more than a step)"
    return known_fault(step.name, real, found, off, scale, floats) or others


def known_fault(name, real, found, off, steps, floats):
    """In what way the weights `found` in a layer are not the `real` ones, in words; "" if in none that is known.

    off : by how many steps they are off
    steps : (O or 1, 1, ...), the grid's
    floats : {layer: (its real weights, ...)}, of all layers
    """
    if not found.any():
        return "has weights that are all zero"
    if text := _wrong_channels(real, found, off, steps):
        return text
    far = np.count_nonzero(off > 1)
    if far <= max(off.size // 100, 1):
        where = ", ".join(map(str, np.unravel_index(int(np.argmax(off)), off.shape)))
        return f"has {far} of {off.size} weights that are not these, first by size [{where}], {off.max():.1f} steps off"
    like = max(LIKE, snr(real, found))
    for text, other in _orders(real):
        if snr(other, found) > like:
            return f"has {text}"
    for layer, (other, *_) in floats.items():
        if layer != name and other.shape == real.shape and snr(other, found) > like:
            return f"has the weights of {layer}"
    factor = (real * found).sum() / (np.square(real).sum() or 1)
    return f"has its weights times {factor:.3g}" if (np.abs(found - factor * real) <= steps).all() else ""


def _wrong_channels(real, found, off, steps):
    """What is wrong with the output channels that are not right: zero, scaled, or the weights of other channels.

    That many are scaled, each by a factor of its own, is no fault that is known: tools do so to equalise channels.
    """
    far = np.flatnonzero((off > 1).reshape(len(off), -1).any(1))
    few = 4 * len(far) <= len(off)
    rows, others = found.reshape(len(found), -1)[far], real.reshape(len(real), -1)
    limits = np.broadcast_to(steps.ravel(), len(off))[far]
    channels = f"{len(far)} of {len(off)} output channels ({_listed(far)})"
    if not rows.any():
        return f"has no weights in {channels}" if few else ""
    sizes = np.square(others).sum(1) + 1e-300
    factors = (rows @ others.T) / sizes

    def fit(like):
        gaps = np.abs(rows - factors[np.arange(len(far)), like][:, None] * others[like])
        return (gaps.max(1) <= limits).all()

    if fit(far):
        own = factors[np.arange(len(far)), far]
        return f"has the weights of {channels} times {', '.join(f'{f:.3g}' for f in own[:SHOWN])}" if few else ""
    likest = (np.abs(factors) * np.sqrt(sizes)).argmax(1)
    if (likest != far).all() and fit(likest):
        return f"has in {channels} the weights of other channels ({_listed(likest)})"
    return ""


def _listed(places):
    return ", ".join(map(str, places[:SHOWN])) + ", ..." * (len(places) > SHOWN)


def _orders(weight):
    if weight.ndim > 2:
        yield "its kernel transposed", weight.swapaxes(-1, -2)
        yield "its kernel turned by 180 degrees", weight[..., ::-1, ::-1]
    if weight.ndim in (2, 4):
        yield (
            "its input channels in reverse (BGR)" if weight.shape[1] == 3 else "its input channels in reverse",
            weight[:, ::-1],
        )
    if weight.ndim == 2 and weight.shape[0] == weight.shape[1]:
        yield "inputs and outputs of its weights transposed", weight.T
