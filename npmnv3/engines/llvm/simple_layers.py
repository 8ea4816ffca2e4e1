"""Layers that are done on their own: products on whole maps or pooled channels, gates, means, maxima.

Every function takes the `Schedule`, s, and appends commands to it; `s.share` divides the work among parts.
"""

from .kernels import VECTORS
from .kernels.kernel import NONE, float_bits
from .kernels.pointwise import blocks_of, name_of
from .workspace import WEIGHTS


def product(s, part, layer, panels, x, out, add, width, rows, *, weight=None):
    """A pointwise layer on `rows` rows of `width` pixels, for some panels of its output channels.

    x, out, add : Place; `out` and `add` of the layer's first vector of channels, and `add` may be None
    weight : address of the (first) panel's weights, if not the layer's own
    """
    packed, size = s.weights.layers[layer.name], s.machine.bytes
    one_pixel = width == rows == 1 and x.plane == out.plane == size and not add
    args = {"x": x.address, **blocks_of(packed.inputs, s.machine), "act": layer.act, "slope": float_bits(layer.slope)}
    if not one_pixel:
        args |= {"x_plane": x.plane, "x_row": x.row, "out_plane": out.plane, "out_row": out.row}
        args |= {"pixels": width, "rows": rows, **dict(zip(("add", "add_plane", "add_row"), add or (0, 0, 0)))}
    for panel in panels:
        at = WEIGHTS + panel.weight
        args["weight"], args["bias"] = at if weight is None else weight, WEIGHTS + panel.bias
        args["out"] = out.address + panel.first * out.plane
        args |= {"ahead": at, "ahead_step": 0, "far": at, "far_step": 0}  # see `prefetch`
        if add:
            args["add"] = add.address + panel.first * add.plane
        s.emit(part, name_of(panel.halves, packed.float16, "matvec" if one_pixel else "pointwise"), **args)


def pointwise(s, layer):
    """A pointwise layer on a whole map."""
    x_name = layer.inputs[0]
    x = s.tensors[x_name]
    add = s.tensors[layer.add] if layer.add else None
    gates = s.tensors[layer.gate] if layer.gate else None
    packed = s.weights.layers[layer.name]
    vectors = sum(panel.vectors for panel in packed.panels)
    if gates and x.pixels * x.planes < packed.inputs * vectors and s.is_done_with(x_name):
        _gate_map(s, x, gates, NONE, 0.0)
        gates = None
    out = s.new_map(layer.name, layer.shape)
    scaled = s.take(s.parts * packed.inputs * VECTORS * s.machine.bytes, "scaled weights") if gates else 0
    for part in range(s.parts):
        for panel, first, stop in _shared_product(s, part, packed, x.pixels):
            places = [m.at_pixel(first) if m else None for m in (x, out, add)]
            weight = None
            if gates:
                weight = scaled + part * packed.inputs * VECTORS * s.machine.bytes
                s.emit(
                    part,
                    "gate_weights",
                    weight=WEIGHTS + panel.weight,
                    gate=gates.address,
                    out=weight,
                    channels=packed.inputs,
                    vectors=panel.halves // 2,
                    half=panel.halves % 2,
                )
            product(s, part, layer, [panel], *places, stop - first, 1, weight=weight)
    s.end_phase()
    if gates:
        s.give_back(scaled)


def _shared_product(s, part, packed, pixels):
    """A part's share of a product as [(panel, first pixel, stop)]: some pixels of all panels, or all pixels of some panels,
    of which one may be divided between two parts.
    """
    panels, tile = packed.panels, s.machine.tiles(VECTORS)[0]
    tiles = pixels // tile
    if tiles >= 8 * s.parts:
        first, stop = (tile * count for count in s.share(tiles, part))
        return [(panel, first, pixels if part == s.parts - 1 else stop) for panel in panels]
    if tiles < 2:
        own = panels[slice(*s.share(len(panels), part, packed.stop - packed.start))]
        return [(panel, 0, pixels) for panel in own]
    ends = 0, tiles // 2 * tile, pixels
    return [(panels[index], ends[first], ends[stop]) for index, first, stop in s.panel_halves(panels, part)]


def _gate_map(s, x, gates, act, slope):
    """Multiply a map by its gates, in place."""
    for part, first, stop in s.shares(x.planes):
        s.emit(
            part,
            "gate_map",
            out=x.address + first * x.plane,
            out_plane=x.plane,
            gate=gates.address + first * x.pixel,
            pixels=x.pixels,
            planes=stop - first,
            act=act,
            slope=float_bits(slope),
        )
    s.end_phase()


def gate(s, layer):
    x, gates = (s.tensors[name] for name in layer.inputs)
    _gate_map(s, x, gates, layer.act, layer.slope)
    s.tensors[layer.name] = x


def mean(s, layer):
    """Mean over the pixels of a map."""
    x, out = s.tensors[layer.inputs[0]], s.new_map(layer.name, layer.shape)
    mean_vectors(s, x.address, x.plane, x.pixel, x.pixels, out, 1 / x.pixels)


def mean_vectors(s, address, plane, step, count, out, factor):
    """`factor` times the sum of `count` vectors, `step` bytes apart, for each plane of `out`."""
    for part, first, stop in s.shares(out.planes, count * out.planes * out.pixel):
        s.emit(
            part,
            "mean",
            x=address + first * plane,
            x_plane=plane,
            x_step=step,
            count=count,
            out=out.address + first * out.pixel,
            planes=stop - first,
            factor=float_bits(factor),
        )
    s.end_phase()


def max_pool(s, layer):
    x, out = s.tensors[layer.inputs[0]], s.new_map(layer.name, layer.shape)
    for part, first, stop in s.shares(x.planes):
        s.emit(
            part,
            "max_pool",
            x=x.address + first * x.plane,
            x_plane=x.plane,
            x_row=x.row,
            out=out.address + first * out.plane,
            out_plane=out.plane,
            out_row=out.row,
            side=layer.kernel,
            pixels=layer.shape[2],
            rows=layer.shape[1],
            planes=stop - first,
        )
    s.end_phase()
