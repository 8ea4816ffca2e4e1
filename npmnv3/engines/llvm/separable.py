"""Depthwise convolutions, each with what makes its input and, where nothing stands between, the projection after it.

A big map is done band by band of rows, all channels of a band before the next band; a small map in one band, a few
channels at a time. Either way the depthwise convolution reads from a small ring of padded rows that were written just
before.
"""

from typing import NamedTuple

from .kernels.kernel import FLOAT_BYTES, float_bits
from .pack import Panel, split_panels
from .sharing import share
from .simple_layers import mean_vectors, pointwise, product
from .stem import Stem
from .workspace import WEIGHTS, Map, Place, Ring, plane_bytes

#: Maps of up to so many pixels are done in one band.
SMALL_MAP = 1024

#: Bytes that the rows of a ring should not exceed by much: a part of the second-level cache.
RING_BYTES = 1 << 17


def separable(s, producer, layer, projection):
    """Emit a depthwise layer.

    Parameters
    ----------
    s : Schedule
    producer : Layer that makes its input ("pointwise" or "conv"), or None if that is a map in memory
    layer : Layer, "depthwise"
    projection : "pointwise" Layer that alone reads the output, or None
    """
    work = _Separable(s, producer, layer, projection)
    for part in range(s.parts):
        work.part(part)
    work.finish()


class _Channels(NamedTuple):
    """Some neighbouring vectors of channels.

    first, vectors : number of the first, and how many they are
    packed : Panel of the pointwise layer that makes them, or None
    """

    first: int
    vectors: int
    packed: Panel | None = None


class _Separable:
    """One depthwise layer with its neighbours: where everything lies, and the commands of each part."""

    def __init__(self, s, producer, layer, projection):
        self.s, self.producer, self.layer, self.projection = s, producer, layer, projection
        self.source = None if producer and producer.op == "conv" else s.tensors[(producer or layer).inputs[0]]
        _, self.height, self.width = producer.shape if producer else self.source.shape
        self.planes = s.planes(layer.shape[0])
        self.panels = self._panels()
        self.in_bands = self.height * self.width > SMALL_MAP
        self.bands = self._bands()
        band = max(stop - first for first, stop in self.bands) if self.in_bands else layer.shape[1]
        capacity = min(self.height, (band - 1) * layer.stride[0] + layer.kernel)
        ring_planes = self.planes if self.in_bands else max(panel.vectors for panel in self.panels)
        self.ring = Ring(self.height, self.width, layer.pad, capacity, ring_planes, s.machine.bytes)
        self.table = s.table(self.ring.offsets((layer.shape[1] - 1) * layer.stride[0] + layer.kernel))
        self._allocate(band)

    def _panels(self):
        """The channels that are made at once."""
        if self.producer is None:
            return [_Channels(first, count) for first, count in split_panels(self.planes)]
        if self.producer.op == "conv":
            return [_Channels(0, self.planes)]
        panels = self.s.weights.layers[self.producer.name].panels
        return [_Channels(panel.first, panel.vectors, panel) for panel in panels]

    def _bands(self):
        """(first, stop) output rows of each band: the same for any number of parts, since sums are made band by band.

        The number of bands is even, so that two parts do the same number.
        """
        rows, count = self.layer.shape[1], 2
        if self.in_bands:
            kept = RING_BYTES // (self.planes * self.width * self.s.machine.bytes)
            band = max(2, (kept - self.layer.kernel) // self.layer.stride[0] + 1)
            count = -(-rows // band)
            count += count % 2
        count = min(count, rows)
        return [share(rows, band, count) for band in range(count)]

    def _allocate(self, band):
        """Memory for the output: a band for each part if the projection uses that up at once, else the whole map."""
        s, shape = self.s, self.layer.shape
        producer, projection = self.producer, self.projection
        self.adds_ring = bool(producer and projection and projection.add == producer.name)
        self.consumed = projection is not None and (self.in_bands or self.adds_ring)
        if self.consumed:
            plane = plane_bytes(band * shape[2], s.machine.bytes)
            size = plane * self.planes
            start = s.take(size * s.parts, f"{self.layer.name} (band)")
            self.out = [Map(start + size * t, shape, self.planes, plane, s.machine.bytes) for t in range(s.parts)]
        else:
            self.out = [s.new_map(self.layer.name, shape)] * s.parts
        if self.consumed:
            self.projected = s.new_map(projection.name, projection.shape)
        self.sums = (
            s.take(len(self.bands) * self.planes * s.machine.bytes, f"{self.layer.name} (sums)")
            if self.layer.pool
            else 0
        )

    def part(self, part):
        """The commands of one part: its bands, or its panels of channels."""
        s, layer, top = self.s, self.layer, self.layer.pad[0]
        base, stem, done = s.ring(self.ring, part), None, 0
        if self.producer and self.producer.op == "conv":
            stem = Stem(s, part, self.producer)
        for panels, bands in self._tasks(part):
            first, stop = bands[0][1], bands[-1][2]
            start = max(first * layer.stride[0] - top, done)
            end = min((stop - 1) * layer.stride[0] - top + layer.kernel, self.height)
            for panel in panels:
                at = base + (panel.first * self.ring.plane if self.in_bands else 0)
                for row, row_stop, offset in self.ring.runs(start, end):
                    self._produce(part, stem, panel, row, row_stop - row, at + offset + self.ring.inner)
                for band in bands if self.sums else [(0, first, stop)]:
                    self._convolve(part, panel, at, *band)
            if self.in_bands:
                done = max(done, end)
            if self.consumed:
                self._project(part, base, first, stop)

    def _tasks(self, part):
        """A part's share as ([panel], [(band's number, first row, stop)]): all panels of one band, or one panel's bands."""
        s, bands = self.s, [(number, *band) for number, band in enumerate(self.bands)]
        if self.in_bands:
            return [(self.panels, [band]) for band in bands[slice(*s.share(len(bands), part))]]
        ends = [len(bands) * half // 2 for half in range(3)]
        tasks = [
            ([self.panels[index]], bands[ends[first] : ends[stop]])
            for index, first, stop in s.panel_halves(self.panels, part)
        ]
        return [(panels, bands) for panels, bands in tasks if bands]

    def _produce(self, part, stem, panel, row, rows, out):
        """Write rows of the input into the ring."""
        s, x, (first, vectors, packed) = self.s, self.source, panel
        if stem:
            stem.rows(row, rows, out, self.ring.plane, self.ring.row)
        elif packed:
            target = Place(out - first * self.ring.plane, self.ring.plane, self.ring.row)
            product(s, part, self.producer, [packed], x.at_row(row), target, None, self.width, rows)
        else:
            s.emit(
                part,
                "copy_rows",
                x=x.address + first * x.plane + row * x.row,
                x_plane=x.plane,
                x_row=x.row,
                out=out,
                out_plane=self.ring.plane,
                out_row=self.ring.row,
                floats=x.row // FLOAT_BYTES,
                rows=rows,
                planes=vectors,
                ahead=rows * x.row,
            )

    def _convolve(self, part, panel, at, band, first, stop):
        s, layer, out, (vector, vectors, _) = self.s, self.layer, self.out[part], panel
        taps = (1 + layer.kernel**2) * s.machine.bytes
        target = out.address + vector * out.plane + (0 if self.consumed else first * out.row)
        s.emit(
            part,
            f"depthwise{layer.kernel}_{layer.stride[1]}",
            x=at,
            x_plane=self.ring.plane,
            table=self.table + 8 * first * layer.stride[0],
            stride=layer.stride[0],
            weight=WEIGHTS + s.weights.layers[layer.name].start + vector * taps,
            out=target,
            out_plane=out.plane,
            out_row=out.row,
            pool=self.sums + (band * self.planes + vector) * s.machine.bytes if self.sums else 0,
            pixels=layer.shape[2],
            rows=stop - first,
            planes=vectors,
            act=layer.act,
            slope=float_bits(layer.slope),
        )

    def _project(self, part, base, first, stop):
        """The projection of a band; what is added to it may be the input of the depthwise convolution, in the ring."""
        s, layer, band, out = self.s, self.projection, self.out[part], self.projected
        panels = s.weights.layers[layer.name].panels
        width = layer.shape[2]
        if self.adds_ring:
            for row, row_stop, offset in self.ring.runs(first, stop):
                add = Place(base + offset + self.ring.inner, self.ring.plane, self.ring.row)
                product(s, part, layer, panels, band.at_row(row - first), out.at_row(row), add, width, row_stop - row)
            return
        add = s.tensors[layer.add].at_pixel(first * width) if layer.add else None
        product(s, part, layer, panels, band.at_pixel(0), out.at_row(first), add, (stop - first) * width, 1)

    def finish(self):
        """What must wait for all parts: the mean over all bands, the projection of a whole map."""
        s = self.s
        s.end_phase()
        if self.sums:
            pixels = self.layer.shape[1] * self.layer.shape[2]
            out = s.new_map(self.layer.pool, self.layer.shape[:1])
            step = self.planes * s.machine.bytes
            mean_vectors(s, self.sums, s.machine.bytes, step, len(self.bands), out, 1 / pixels)
            s.give_back(self.sums)
        if self.consumed:
            s.give_back(self.out[0].address)
        elif self.projection:
            pointwise(s, self.projection)
