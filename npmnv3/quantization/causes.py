"""Why a network is lost in eight bits: the known causes, each with the figures that show it in this network."""

from dataclasses import dataclass, field

import numpy as np

from ..network.walk import readers
from ..ops.saturation import saturating_pairs
from .parameters import layers
from .ranges import Ranges, channel_ratio

TAIL = 2.0  # a range so many times that of its 99.99 percentile has a tail
SPREAD = 4.0  # channels of a weight so far apart lose all but a few of one scale's levels
DEAD = 1e-6  # a scale below this stands for a tensor that is 0, or as good as
NEAR = 3.0  # decibels within which a part is as bad as the worst

#: Titles of what is simulated to learn where the loss comes from.
DEPTHWISE_ALONE, AVX2 = "depthwise weights per tensor, nothing else", "on AVX2 without VNNI"

#: What becomes of a dead squeeze in TensorFlow Lite.
DEAD_IN_TFLITE = (
    ", the weights behind it become 0 or a few steps, their biases 2^30, and what follows is a constant. The reference and "
    "the optimised kernels run that; XNNPACK refuses ratios of scales so large, and then the whole model does not load "
    '("failed to prepare")'
)


@dataclass(frozen=True)
class Cause:
    """One reason, as it is in this network.

    name : str, by which it is known
    text : str, what it is, with its figures
    where : tuple of str, steps, the worst first
    figures : dict, the same figures by name
    remedy : str, what helps
    """

    name: str
    text: str
    where: tuple[str, ...] = ()
    figures: dict = field(default_factory=dict)
    remedy: str = ""


@dataclass(frozen=True)
class Evidence:
    """What the causes are found in.

    network : simulate.Network
    recipe : Recipe, as asked
    parameters : Parameters of it
    calibration : Calibration
    tensors, weights, parts : {name: dB} when only that is rounded
    outcomes : {title: Outcome} of what was simulated to learn where the loss comes from
    """

    network: object
    recipe: object
    parameters: object
    calibration: object
    tensors: dict
    weights: dict
    parts: dict
    outcomes: dict


def find_causes(evidence):
    """The causes that are there, as a tuple of Cause."""
    found = (check(evidence) for check in CHECKS)
    return tuple(cause for cause in found if cause is not None)


def weight_ratio(weight):
    """See `channel_ratio`; of a weight's output channels."""
    return channel_ratio(np.abs(weight.reshape(len(weight), -1)).max(1))


def crushed(weight):
    """How many output channels reach no further than two steps, and how many become 0, with one scale for all of them."""
    reach = np.abs(weight.reshape(len(weight), -1)).max(1)
    steps = np.rint(reach / (reach.max() / 127)) if reach.any() else reach
    return int(np.count_nonzero(steps <= 2)), int(np.count_nonzero((steps == 0) & (reach > 0)))


def outcome_text(outcome):
    """An outcome in a few words."""
    top1 = "" if outcome.top1 is None else f"top-1 {outcome.top1:.1f}, "
    return f"{top1}{outcome.agreement:.1f}% as in floats"


def _depthwise_per_tensor(evidence):
    if not evidence.recipe.per_tensor:
        return None
    arrays, rows = evidence.network.arrays, []
    for step in layers(evidence.network.plan):
        if step.op == "depthwise_conv2d":
            weight = arrays[step.param("weight").name]
            rows.append((weight_ratio(weight), step.name, *crushed(weight), len(weight)))
    rows = sorted((row for row in rows if row[0] >= SPREAD), reverse=True)
    if not rows:
        return None
    ratio, worst, few, _, channels = rows[0]
    gone = sum(row[3] for row in rows)
    alone = evidence.outcomes.get(DEPTHWISE_ALONE)
    text = (
        f"{len(rows)} depthwise layers have channels far apart: in {worst} the largest is {ratio:.0f} times the median"
    )
    if few:
        text += f", and one scale leaves {few} of its {channels} channels no more than two steps"
    text += f"; of all these layers {gone} channels become 0" if gone else ""
    text += f"; these weights alone, all else in floats: {outcome_text(alone)}" if alone else ""
    figures = {"layers": len(rows), "ratio": ratio, "crushed": few, "channels": channels, "zero": gone}
    return Cause(
        "per-tensor depthwise weights",
        text,
        tuple(row[1] for row in rows),
        figures,
        "one scale for each output channel of the weights",
    )


def _tails(evidence):
    if evidence.recipe.ranges.method != "minmax":
        return None
    inner, rows = Ranges("percentile", 99.99), []
    for name, statistics in evidence.calibration.statistics.items():
        low, high = inner.of(statistics)
        outer = max(statistics.high, 0.0) - min(statistics.low, 0.0)
        if high > low and outer / (high - low) >= TAIL:
            rows.append((outer / (high - low), name, statistics, low, high))
    if not rows:
        return None
    rows.sort(key=lambda row: -row[0])
    ratio, worst, statistics, low, high = rows[0]
    text = (
        f"{len(rows)} of {len(evidence.calibration.statistics)} tensors have a range at least {TAIL:g} times that of "
        f"99.99% of their numbers: {worst} [{statistics.low:.4g}, {statistics.high:.4g}] against [{low:.4g}, {high:.4g}], "
        f"so that its step is {ratio:.1f} times as coarse as most numbers need"
    )
    return Cause(
        "range tails",
        text,
        tuple(row[1] for row in rows),
        {"tensors": len(rows), "ratio": ratio},
        "ranges of the 99.99 percentile instead of minimum and maximum",
    )


def _stem(evidence):
    levels = {part: level for part, level in evidence.parts.items() if part not in ("input", "logits")}
    if "stem" not in levels or levels["stem"] > min(levels.values()) + NEAR or not np.isfinite(levels["stem"]):
        return None
    grid = evidence.parameters.grids["stem"]
    first = next((s for s in layers(evidence.network.plan) if s.op == "depthwise_conv2d"), None)
    largest = float(np.abs(evidence.network.arrays[first.param("weight").name]).max()) if first else 0.0
    others = sorted((level, part) for part, level in levels.items() if part != "stem")
    after = f"; the next are {', '.join(f'{part} {level:.1f} dB' for level, part in others[:3])}" if others else ""
    text = (
        f"rounding the stem's tensors alone leaves the logits {levels['stem']:.1f} dB above the noise{after}. Its step "
        f"of {grid.scale:.3g} meets weights up to {largest:.3g} in {first.name if first else 'what follows'}"
    )
    figures = {"snr_db": levels["stem"], "step": grid.scale, "largest_weight": largest}
    return Cause("stem", text, ("stem",), figures, "the stem's tensors in 16 bits or in floats")


def _dead_squeeze(evidence):
    dead = [name for name, grid in evidence.parameters.grids.items() if _is_dead(evidence, name, grid)]
    if not dead:
        return None
    grid, tflite = evidence.parameters.grids[dead[0]], evidence.recipe.scheme == "tflite"
    text = f"{', '.join(dead)} was 0, or as good as, on all calibration pictures: its scale becomes {grid.scale:.3g}"
    text += DEAD_IN_TFLITE if tflite else "; pictures on which it is not 0 are answered as if it were"
    return Cause(
        "dead squeeze",
        text,
        tuple(dead),
        {"tensors": len(dead), "scale": grid.scale},
        "more, and more various, calibration pictures; or leave the layer out and its gate as the constant it is",
    )


def _is_dead(evidence, name, grid):
    statistics = evidence.calibration.statistics.get(name)
    return statistics is not None and name != "input" and (grid.scale < DEAD or statistics.low == statistics.high == 0)


def _avx2(evidence):
    if evidence.recipe.scheme != "onnx":
        return None
    rows = []
    for step in layers(evidence.network.plan):
        if step.op != "depthwise_conv2d":
            integers, _, _ = evidence.parameters.weights[step.param("weight").name]
            pairs = saturating_pairs(integers)
            many, of = 0 if pairs is None else len(pairs.places), len(integers) * (integers[0].size // 2)
            rows.append((many / max(of, 1), step.name, many))
    rows = sorted((row for row in rows if row[2]), reverse=True)
    if not rows:
        return None
    total = sum(row[2] for row in rows)
    text = (
        f"uint8 tensors times int8 weights of the full range: {total:,} pairs of neighbouring weights in {len(rows)} "
        f"layers have |w0| + |w1| above 128, {100 * rows[0][0]:.0f}% of the pairs of {rows[0][1]}; their sums can pass "
        f"16 bits, where processors with AVX2 and without VNNI saturate"
    )
    alone = evidence.outcomes.get(f"{AVX2}: {evidence.recipe}")
    text += f": {outcome_text(alone)}; all other figures are without that" if alone else ""
    return Cause(
        "AVX2 saturation",
        text,
        tuple(row[1] for row in rows),
        {"pairs": total, "layers": len(rows), "share": rows[0][0]},
        "weights of 7 bits (reduce_range), uint8 weights, or a processor with VNNI",
    )


def own_grid(weight):
    """(step, smallest, largest) in steps of a weight whose numbers all lie on one 8-bit grid already; None if they do not."""
    values = np.unique(weight.astype(np.float64))
    if not 8 <= len(values) <= 256:
        return None
    width = values[-1] - values[0]
    for count in range(1, 4):  # the smallest gap may be a few steps, if numbers are few
        steps = np.rint(width / np.diff(values).min() * count)
        if not steps <= 255:
            break
        step = width / steps  # from the whole width: float32 has rounded each number
        places = values / step
        if np.abs(places - np.rint(places)).max() < 1e-2:
            return float(step), int(np.rint(places[0])), int(np.rint(places[-1]))
    return None


def _requantised(evidence):
    model, found = evidence.network.model, []
    arrays = model.arrays("float32")
    for step in model.plan_for():
        weight = step.param("weight")
        grid = own_grid(arrays[weight.name]) if weight else None
        if grid is not None and max(-grid[1], grid[2]) > 127:
            found.append((step.name, grid))
    if len(found) < 3:
        return None
    name, (step, first, last) = max(found, key=lambda one: max(-one[1][1], one[1][2]))
    text = (
        f"the weights of {len(found)} layers lie on 8-bit grids of their own, one a tensor and not symmetric (in {name} from "
        f"{first} to {last} steps of {step:.3g}): they come from a uint8 file, and a symmetric int8 grid is a second, coarser "
        f"one over it"
    )
    return Cause(
        "requantised asymmetric file",
        text,
        tuple(one[0] for one in found),
        {"layers": len(found), "first": first, "last": last},
        "the file's own uint8 grid, or scales for each channel",
    )


def _signed_symmetric(evidence):
    grids, one_sided = evidence.parameters.grids, []
    for name, statistics in evidence.calibration.statistics.items():
        if grids[name].zero_point == 0 and grids[name].dtype == "int8" and statistics.high > 0:
            if -statistics.low < statistics.high / 16:
                one_sided.append(name)
    if not one_sided:
        return None
    after = readers(evidence.network.plan)
    behind = {user.op for name in one_sided for user in after.get(name, ())}
    text = (
        f"{len(one_sided)} of {len(grids)} tensors have hardly a number below 0 (behind a relu, a hard-swish or a gate), and a "
        f"signed symmetric grid gives them 127 of its 255 steps: a bit is lost in each"
    )
    return Cause(
        "signed symmetric activations",
        text,
        tuple(one_sided),
        {"tensors": len(one_sided), "of": len(grids), "read_by": sorted(behind)},
        "a zero point (asymmetric), or unsigned integers for these tensors",
    )


#: In the order in which they are told.
CHECKS = (_depthwise_per_tensor, _tails, _stem, _dead_squeeze, _avx2, _requantised, _signed_symmetric)
