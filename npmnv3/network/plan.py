"""From a variant to its plan: a flat tuple of steps in order of execution.

Every quirk of a source is resolved here, from the fields of its `Source`; no operation and no engine asks which source
it serves. A part of the network (`stem`, `blocks.3.expand`, ...) may take several steps; the last of them bears the
part's plain name, so `trace["blocks.3.expand"]` is always what the part gives to the next one.
"""

import functools
import struct

from ..errors import UsageError
from .padding import output_sides, same_padding
from .spec import Unit, round8
from .steps import INPUT, Param, Step


def units(variant):
    """The blocks of a variant with every number resolved: a tuple of `Unit`."""
    source, inp, stage, position, before = variant.source, variant.stem, 0, 0, None
    resolved = []
    for index, block in enumerate(variant.table):
        if before is not None:
            stage, position = (stage, position + 1) if block.out == before.out else (stage + 1, 0)
        out = round8(block.out * variant.width)
        wanted = inp * variant.ratios[index] if source.expand_from == "ratio" else block.expand * variant.width
        expand = round8(wanted)
        stride = block.stride if isinstance(block.stride, tuple) else (block.stride, block.stride)
        unchanged = stride == (1, 1) and inp == out
        skip = "identity" if unchanged and (index or source.residual_in_first) else ""
        if source.skip_everywhere and not unchanged:
            skip = "projected"
        resolved.append(
            Unit(
                index=index,
                stage=stage,
                position=position,
                kernel=block.kernel,
                inp=inp,
                expand=expand,
                out=out,
                se=source.se_width(expand) if block.se else 0,
                act=block.act,
                stride=stride,
                has_expand=source.always_expand or expand != inp,
                skip=skip,
            )
        )
        inp, before = out, block
    return tuple(resolved)


def make_plan(variant, num_classes=None, side=None, *, folded=False, rounded_constants=False):
    """The steps of a network for one input size.

    Parameters
    ----------
    variant : Variant
    num_classes : int, default the variant's own
    side : (height, width) of the input in pixels, default the variant's own
    folded : bool, batch norm is folded into the layers before: they have a bias and the norms are gone
    rounded_constants : bool, round slope, eps and gain to float32, as paddle rounds its attributes even in a float64
        run

    Returns
    -------
    tuple of Step; the picture is "input", the last step is "logits"

    Raises
    ------
    UsageError
        A class count below 1, or an input too small.
    """
    num_classes = variant.num_classes if num_classes is None else check_classes(num_classes)
    side = variant.side if side is None else check_side(variant, side)
    return _make_plan(variant, num_classes, side, bool(folded), bool(rounded_constants))


def check_classes(num_classes):
    """`num_classes` as an int, or UsageError if no network can have so many."""
    num_classes = _whole("num_classes", num_classes)
    if num_classes < 1:
        raise UsageError(f"`num_classes={num_classes}`, expected 1 or more")
    return num_classes


def check_pair(side):
    """UsageError if a side is not two things."""
    if not isinstance(side, (tuple, list)) or len(side) != 2:
        raise UsageError(f"side is {side!r}, expected (height, width) in pixels")


def check_side(variant, side):
    """`side` as two ints, or UsageError if the network cannot take an input of that size."""
    check_pair(side)
    height, width = (_whole("side", n) for n in side)
    if height < variant.min_side[0] or width < variant.min_side[1]:
        raise UsageError(
            f"an input of {height} x {width} pixels is too small for {variant.full_name}; "
            f"it takes {variant.min_side[0]} x {variant.min_side[1]} (height x width) and more"
        )
    return height, width


def _whole(name, value):
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise UsageError(f"{name} is {value!r}, expected a whole number")
    return value.__index__()


@functools.lru_cache(maxsize=160)  # enough for all networks in the two or three forms that a file is compared with
def _make_plan(variant, num_classes, side, folded, rounded_constants):
    source = variant.source
    build = _Builder(source, (variant.in_channels, *side), folded, rounded_constants)
    x = build.conv("stem", INPUT, variant.stem, kernel=3, stride=(2, 2), act=variant.stem_act)
    blocks = units(variant)
    for unit in blocks:
        x = _block(build, unit, x)
    # The last convolution counts as the first block of one more stage: some sources name it so.
    for index in range(variant.last_convs):
        tail = Unit(index=len(blocks), stage=blocks[-1].stage + 1, position=index, inp=blocks[-1].out)
        name = "last" if index == variant.last_convs - 1 else f"last.{index}"
        x = build.conv(name, x, variant.last, part="last", unit=tail, act=variant.stem_act)
    if source.pool_before:
        x = build.pool("max_pool", x, source.pool_before)
    x = build.add("pool", "global_avg_pool", x)
    if variant.head:
        x = build.fc(
            "head",
            x,
            variant.head,
            stored_as=source.head_stored_as,
            bias=source.head_bias,
            norm=source.head_norm,
            act=variant.stem_act,
        )
        if source.head_gain != 1:
            x = build.add("head.gain", "scale", x, factor=build.constant(source.head_gain))
    part = classifier_part(variant)
    build.fc("logits", x, num_classes, part=part, stored_as=source.classifier_stored_as)
    return tuple(build.steps)


def classifier_part(variant):
    """The classifier's name among a source's parts: a name of its own where a network that could have a head has none."""
    return "classifier" if variant.head or not variant.source.head_stored_as else "classifier.only"


def _block(build, unit, x):
    """Expand, depthwise, squeeze-and-excitation, project, shortcut: one inverted residual."""
    source, name, entry = build.source, f"blocks.{unit.index}", x
    late_act = source.se_before_act and unit.se
    if unit.has_expand:
        x = build.conv(f"{name}.expand", x, unit.expand, unit=unit, act=unit.act)
    x = build.conv(
        f"{name}.depthwise",
        x,
        unit.expand,
        unit=unit,
        kernel=unit.kernel,
        stride=unit.stride,
        depthwise=True,
        act="" if late_act else unit.act,
    )
    if unit.se:
        x = _squeeze_excite(build, unit, name, x)
    if late_act:
        x = build.add(f"{name}.act", unit.act, x)
    x = build.conv(f"{name}.project", x, unit.out, unit=unit)
    if not unit.skip:
        return build.add(name, "identity", x)
    shortcut = _shortcut(build, unit, name, entry) if unit.skip == "projected" else entry
    if not source.act_after_add:
        return build.add(name, "add", x, shortcut)
    return build.add(name, unit.act, build.add(f"{name}.add", "add", x, shortcut))


def _squeeze_excite(build, unit, name, x):
    source = build.source
    how = {"unit": unit, "stored_as": source.se_stored_as, "bias": source.se_bias}
    s = build.add(f"{name}.se.pool", "global_avg_pool", x)
    s = build.fc(f"{name}.se.squeeze", s, unit.se, norm=source.se_norm, act=source.se_act or unit.act, **how)
    s = build.fc(f"{name}.se.excite", s, unit.expand, **how)
    s = build.add(f"{name}.gate", "hard_sigmoid", s, slope=build.constant(source.gate_slope))
    return build.add(f"{name}.se", "mul", x, s)


def _shortcut(build, unit, name, x):
    """sqlai's skip path: a 3x3 depthwise convolution where there is a stride, a 1x1 one where the channels change."""
    strided = unit.stride != (1, 1)
    plain = f"{name}.shortcut"
    if unit.inp == unit.out:
        return build.conv(
            plain, x, unit.out, part="shortcut.depthwise", unit=unit, kernel=3, stride=unit.stride, depthwise=True
        )
    if strided:
        x = build.conv(f"{plain}.depthwise", x, unit.inp, unit=unit, kernel=3, stride=unit.stride, depthwise=True)
    return build.conv(plain, x, unit.out, part="shortcut.pointwise", unit=unit, bias=strided)


class _Builder:
    """Collects steps; knows how the source names and stores the parameters of each part."""

    def __init__(self, source, input_shape, folded, rounded_constants):
        self.source, self.folded, self.rounded = source, folded, rounded_constants
        self.steps, self._shapes = [], {INPUT: input_shape}

    def constant(self, value):
        return struct.unpack("<f", struct.pack("<f", value))[0] if self.rounded else value

    def add(self, name, op, *inputs, shape=None, **fields):
        """Append a step; without `shape` it is that of the first input, or its channels where it is pooled."""
        if shape is None:
            shape = self._shapes[inputs[0]][:1] if op == "global_avg_pool" else self._shapes[inputs[0]]
        self.steps.append(Step(name, op, inputs, shape, **fields))
        self._shapes[name] = shape
        return name

    def pool(self, name, x, side):
        c, h, w = self._shapes[x]
        return self.add(name, "max_pool2d", x, shape=(c, h // side, w // side), kernel=side, stride=(side, side))

    def conv(self, name, x, out, *, part=None, unit=None, kernel=1, stride=(1, 1), depthwise=False, bias=False, act=""):
        """A convolution with its norm and, maybe, an activation."""
        part = part or _part(name)
        inp, *sides = self._shapes[x]
        pad = sum((_pad(n, kernel, s, self.source.padding) for n, s in zip(sides, stride)), ())
        shape = out, *output_sides(sides, (kernel, kernel), stride, pad)
        op = "depthwise_conv2d" if depthwise else "pointwise_conv2d" if part != "stem" else "conv2d"
        param_name = self._param_name(part, unit)
        weight = self._weight(param_name, op, out, inp, kernel, "conv")
        fields = {"kernel": kernel, "stride": stride, "pad": pad} if kernel > 1 else {}
        return self._layer(name, op, x, shape, weight, param_name, bias=bias, norm=True, act=act, **fields)

    def fc(self, name, x, out, *, part=None, unit=None, stored_as, bias=True, norm=False, act=""):
        """A layer on pooled channels, stored as a linear layer or as a 1x1 convolution."""
        param_name = self._param_name(part or _part(name), unit)
        weight = self._weight(param_name, "linear", out, self._shapes[x][0], 1, stored_as)
        return self._layer(name, "linear", x, (out,), weight, param_name, bias=bias, norm=norm, act=act)

    def _param_name(self, part, unit):
        """The source's name for each of a part's parameters: callable (role)."""
        return functools.partial(self.source.param_name, part, unit)

    def _layer(self, name, op, x, shape, weight, param_name, *, bias, norm, act, **fields):
        """The layer's own step, its norm's and its activation's; the last of them is called `name`."""
        kept = norm and not self.folded
        params = [weight]
        if bias or (norm and self.folded):
            params.append(_vector(param_name, "bias", shape[0]))
        first = name if not kept and not act else f"{name}.{'fc' if op == 'linear' else 'conv'}"
        x = self.add(first, op, x, shape=shape, params=tuple(params), **fields)
        if kept:
            roles = ["gamma", "beta", "mean", "variance"] + ["count"] * self.source.has_count
            params = tuple(_vector(param_name, role, shape[0]) for role in roles)
            eps = self.constant(self.source.norm_eps)
            x = self.add(f"{name}.norm" if act else name, "batch_norm", x, params=params, eps=eps)
        return self.add(name, act, x) if act else x

    def _weight(self, param_name, op, out, inp, kernel, stored_as):
        layout, k = self.source.layout, (kernel, kernel)
        if op == "depthwise_conv2d":
            canonical = (out, *k)
            shape, axes = ((*k, out, 1), (2, 3, 0, 1)) if layout == "keras" else ((out, 1, *k), ())
        else:
            canonical = (out, inp, *k) if op == "conv2d" else (out, inp)
            if stored_as == "linear":
                shape, axes = ((inp, out), (1, 0)) if layout == "paddle" else ((out, inp), ())
            else:
                shape, axes = ((*k, inp, out), (3, 2, 0, 1)) if layout == "keras" else ((out, inp, *k), ())
        return Param(param_name("weight"), "weight", shape, canonical, axes)


def _vector(param_name, role, length):
    """A parameter with one number a channel, but the count, which is one number."""
    shape = () if role == "count" else (length,)
    return Param(param_name(role), role, shape, shape)


def _part(name):
    """`blocks.3.se.squeeze` -> `se.squeeze`: the part that a source has a name for."""
    return name.split(".", 2)[2] if name.startswith("blocks.") else name


def _pad(n, kernel, stride, rule):
    """Zeros (before, after) along one axis of n pixels."""
    if rule == "symmetric":
        return kernel // 2, kernel // 2
    return same_padding((n,), (kernel,), (stride,))[0]
