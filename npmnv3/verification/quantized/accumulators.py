"""Rule changes between a layer's products and its rounding: saturation, other weights, other biases."""

import numpy as np

from ...engines.integer_engine import saturates
from ...ops.requantize import F32, I64, integer_factor
from .claims import Claim, finish, ratios_between, step_of_one

WIDTHS = (16, *range(8, 16), *range(17, 31))  # bits
FEW = 64  # channels to solve one by one, at most
PLACES = 256  # of a tensor on which a weight is looked for
WIDEST = 255  # what a weight of 8 bits may be off by
LEAST_PLACES = 8  # below which any number explains a channel


def saturation(case):
    """Pairs of products cut at 16 bits, or not."""
    if case.step.op == "depthwise_conv2d" or case.weight.dtype != np.int8:
        return
    if saturates(case.step, case.plan, case.kernels):
        yield Claim("without", "no saturation of pairs of products", lambda: finish(case, case.accumulated - case.lost))
    else:
        yield Claim(
            "pairs",
            "AVX2 saturation (pairs of products cut at 16 bits, vpmaddubsw)",
            lambda: finish(case, case.accumulated + case.lost),
        )


def widths(case):
    """Accumulators, or products, of few bits, which cut what is larger or wrap round."""
    what, least = "accumulators" if case.is_layer else "products", _least_wrong(case)
    for bits in WIDTHS:
        half = 1 << (bits - 1)
        for how, narrow in (
            ("saturating", lambda acc, half=half: np.clip(acc, -half, half - 1)),
            ("wrapping", lambda acc, half=half: (acc + half) % (2 * half) - half),
        ):

            def output(narrow=narrow, half=half):
                return None if least < half - 1 else finish(case, narrow(case.accumulated))

            ending = ", wrapping round" if how == "wrapping" else ", saturating"
            yield Claim(f"{bits} {how}", f"{what} of {bits} bits{ending}", output, 1 if bits == 16 else len(WIDTHS))


def _least_wrong(case):
    """The smallest accumulator, without its sign, of a number that is not the kernel set's; what stays below is not cut."""
    wrong = finish(case, case.accumulated) != case.rows
    return np.abs(case.accumulated[wrong]).min(initial=1 << 62)


def differing(case):
    """The channels of a layer that differ from the kernel set's."""
    return np.flatnonzero((finish(case, case.accumulated) != case.rows).any(0))


def biases(case):
    """What bias each channel that differs must have: solved, since the result only grows with it."""
    channels = differing(case)
    if not channels.size:
        return
    low, high = _bias_interval(case, channels)
    if (low > high).any():
        return
    bias, rows = case.bias[channels], len(case.rows)

    def claim(setting, text, by, freedom=1):
        def output():
            changed = case.accumulated.copy()
            changed[:, channels] += by
            return finish(case, changed)

        return Claim(setting, text, output, freedom)

    where = _channels_named(channels, len(case.bias))
    missing = (low <= -bias) & (-bias <= high)
    if missing.all() and bias.any():
        yield claim("missing", f"the bias missing {where}", -bias)
    three = -np.rint(3.0 / (np.float64(case.factors[0]) * np.broadcast_to(case.weight_scale, len(case.bias))[channels]))
    three = three.astype(I64)
    if case.step.act == "relu6" and ((low <= three) & (three <= high)).all():
        yield claim("three", f"the bias without the gate's 3 {where}", three)
    one = np.where((low <= 1) & (1 <= high), 1, np.where((low <= -1) & (-1 <= high), -1, 0))
    if one.all():
        yield claim("by one", f"a bias off by one {where}{_signed(one)}", one, 2**channels.size)
    elif rows >= LEAST_PLACES and not missing.all():
        middle = (low + high) // 2
        text = f"{bias[0] + middle[0]} instead of {bias[0]}" if channels.size == 1 else "others than the file's"
        yield claim("other", f"another bias {where}: {text}", middle, 2 ** (8 * channels.size))


def _signed(values):
    return f" ({values[0]:+d})" if len(set(values.tolist())) == 1 else ""


def _channels_named(channels, count):
    """ "of channel 7", "of channels 1, 2", "of all 16 channels", "of 30 of 40 channels"."""
    if len(channels) == count and count > 1:
        return f"of all {count} channels"
    if len(channels) > 4:
        return f"of {len(channels)} of {count} channels"
    return f"of channel{'s' if len(channels) > 1 else ''} {', '.join(map(str, channels))}"


def _bias_interval(case, channels):
    """The least and the largest number that may be added to each channel's accumulators; least > largest where none may."""
    wanted = case.rows[:, channels].astype(I64)
    factor = float(np.min(integer_factor(*case.factors, case.out.scale)))
    ends = min(int(2.0**18 / factor) + 2, (1 << 31) - 1)  # beyond which every result stands at an end of its type
    acc = case.accumulated[:, channels]

    def first(enough):
        """The least number for which a test, false and then true, is true."""
        low, high = np.full(len(channels), -(1 << 32)), np.full(len(channels), 1 << 32)
        while (high - low > 1).any():
            middle = (low + high) // 2
            passed = enough(finish(case, np.clip(acc + middle, -ends, ends), channels=channels))
            low, high = np.where(passed, low, middle), np.where(passed, middle, high)
        return high

    least = first(lambda out: (out >= wanted).all(0))
    beyond = first(lambda out: (out > wanted).any(0))
    return least, beyond - 1


def weights(case):
    """One weight of each channel that differs, another: which tap and by how much, solved on a few places."""
    channels = differing(case)
    if not 0 < channels.size <= FEW:
        return
    for setting, most in (("by one", 1), ("other", 0 if len(case.rows) < LEAST_PLACES else WIDEST)):
        found = {}
        for channel in channels if most else ():
            found[channel] = list(_taps(case, channel, most))
            if not found[channel]:
                break
        else:
            if found:
                yield _weight_claim(case, setting, found)


def _weight_claim(case, setting, found):
    places = {channel: options[0] for channel, options in found.items()}

    def output():
        changed = case.accumulated.copy()
        for channel, (tap, delta) in places.items():
            changed[:, channel] += delta * columns(case, channel)[:, tap]
        return finish(case, changed)

    taps = [_tap_text(case, channel, *options[0], len(options) - 1) for channel, options in list(found.items())[:3]]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    what = "a weight off by one" if setting == "by one" else "another weight"
    return Claim(setting, f"{what}: {'; '.join(taps)}{more}", output, len(next(iter(found.values()))) + 1)


def _tap_text(case, channel, tap, delta, others):
    place = np.unravel_index(tap, case.weight.shape[1:])
    old = int(case.weight[(channel, *place)])
    where = ", ".join(map(str, (channel, *place)))
    also = f" (or one of {others} other taps of this channel)" if others else ""
    return f"[{where}] is {old + delta}, not {old}{also}"


def _taps(case, channel, most):
    """(tap, difference) of every single weight of a channel that explains it exactly, being off by up to `most`."""
    met, wanted = columns(case, channel), case.rows[:, channel]
    acc, one = case.accumulated[:, channel], slice(channel, channel + 1)
    off = np.flatnonzero(finish(case, acc[:, None], channels=one)[:, 0] != wanted)
    spread = np.linspace(0, len(wanted) - 1, min(PLACES, len(wanted))).astype(int)
    rows = np.unique(np.concatenate([off[:PLACES], spread]))
    step = np.broadcast_to(step_of_one(case), len(case.bias))[channel]
    low, high = ratios_between(case, met[rows] * step, acc[rows, None] * step, wanted[rows, None], step)
    low, high = np.ceil(np.maximum(low, -most)).astype(int), np.floor(np.minimum(high, most)).astype(int)

    def fits(tap, by, where):
        changed = acc[where] + by * met[where, tap]
        return np.array_equal(finish(case, changed[:, None], channels=one)[:, 0], wanted[where])

    for tap in np.flatnonzero((low <= high) & met[off].any(0)):
        for by in range(low[tap], high[tap] + 1):
            if fits(tap, by, rows) and fits(tap, by, slice(None)):  # most fail on the few places
                yield int(tap), by


def columns(case, channel):
    """(places, taps) int64: what meets each weight of a channel, in the order of the weight's axes."""
    x = case.inputs[0].astype(I64) - case.grids[0].zero_point
    if x.ndim == 2:
        return x
    if case.step.op == "pointwise_conv2d":
        return np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])
    top, bottom, left, right = case.step.pad
    x = x[:, channel : channel + 1] if case.step.op == "depthwise_conv2d" else x
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    down, across = case.step.stride
    windows = np.lib.stride_tricks.sliding_window_view(x, case.weight.shape[-2:], axis=(2, 3))[:, :, ::down, ::across]
    n, c, h, w = windows.shape[:4]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * w, -1)


def multiplier_per_tensor(case):
    """One scale of the weights for all channels."""
    scales = case.weight_scale
    if len(scales) < 2:
        return
    for setting, value in (
        ("largest", scales.max()),
        ("first", scales[0]),
        ("mean", scales.mean()),
        ("least", scales.min()),
    ):
        factors = case.factors[0], np.array([value], F32)
        yield Claim(
            setting,
            f"a per-tensor multiplier (of the {setting} of the weights' scales) instead of per-channel",
            lambda factors=factors: finish(case, case.accumulated, factors=factors),
        )


def cuts(case):
    """Another activation, or none, or no cut at the ends."""
    own = case.step.act
    texts = {
        "": f"{own or 'relu'} not fused (missing)",
        "relu": "relu fused where there is none",
        "relu6": "relu6 fused",
    }
    for act in ("", "relu", "relu6"):
        if act != own and not (own == "relu6" and act == "relu"):
            yield Claim(f"act {act}", texts[act], lambda act=act: finish(case, case.accumulated, act=act))
    if own == "relu6":
        yield Claim("act relu", "relu6 without its upper clamp", lambda: finish(case, case.accumulated, act="relu"))
    at_zero, narrow = (max(case.out.low, 0), case.out.high), (case.out.low + 1, case.out.high)
    if own:
        yield Claim(
            "at 0",
            f"{own} that cuts at the integer 0, not at the zero point",
            lambda: finish(case, case.accumulated, ends=at_zero),
        )
    yield Claim(
        "wraps", "missing clamp: the result wraps round at 8 bits", lambda: finish(case, case.accumulated, wraps=True)
    )
    text = f"cut at {narrow[0]}, not at {case.out.low}"
    yield Claim("narrow", text, lambda: finish(case, case.accumulated, ends=narrow))
