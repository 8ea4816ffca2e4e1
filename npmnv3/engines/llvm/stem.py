"""The first convolution, a few rows at a time, from a ring of the picture's rows."""

from .kernels.conv import COMING_LINES
from .kernels.kernel import FLOAT_BYTES, LINE, float_bits, split
from .workspace import PICTURE, WEIGHTS, Ring


class Stem:
    """The commands of one part for the first convolution."""

    BAND = 4  # output rows

    def __init__(self, s, part, layer):
        self.s, self.part, self.layer, self.done = s, part, layer, 0
        self.inputs = s.weights.layers[layer.name].inputs
        _, self.height, self.width = s.picture
        capacity = min(self.height, (self.BAND - 1) * layer.stride[0] + layer.kernel)
        self.ring = Ring(self.height, self.width, layer.pad, capacity, self.inputs, FLOAT_BYTES)
        self.base = s.ring(self.ring, part)
        self.table = s.table(self.ring.offsets((layer.shape[1] - 1) * layer.stride[0] + layer.kernel))

    def rows(self, row, rows, out, out_plane, out_row):
        """Make some rows of the output; they must come in order, from the top down."""
        s, layer = self.s, self.layer
        for first in range(row, row + rows, self.BAND):
            count = min(self.BAND, row + rows - first)
            self._fetch(first, count)
            s.emit(
                self.part,
                f"conv{layer.kernel}_{layer.stride[1]}",
                x=self.base,
                x_plane=self.ring.plane,
                inputs=self.inputs,
                table=self.table + 8 * first * layer.stride[0],
                stride=layer.stride[0],
                weight=WEIGHTS + s.weights.layers[layer.name].start,
                out=out + (first - row) * out_row,
                out_plane=out_plane,
                out_row=out_row,
                pixels=layer.shape[2],
                rows=count,
                planes=s.planes(layer.shape[0]),
                act=layer.act,
                slope=float_bits(layer.slope),
                **self._coming(count),
            )

    def _coming(self, count):
        """Arguments with which a command for `count` rows prefetches the rows of the picture that the next command reads."""
        row, planes = self.width * FLOAT_BYTES, self.s.planes(self.layer.shape[0])
        rows = min(count * self.layer.stride[0], self.height - self.done)
        tiles = planes * count * sum(split(self.layer.shape[2], self.s.machine.conv_tiles))
        lines = min(-(-rows * row // (tiles * LINE)), COMING_LINES)
        start = PICTURE + min(self.done, self.height - 1) * row
        return {"coming": start, "coming_plane": self.height * row, "coming_step": lines * LINE}

    def _fetch(self, first, count):
        """Copy the rows of the picture that some rows of the output need, and that are not there yet."""
        start = max(first * self.layer.stride[0] - self.layer.pad[0], self.done)
        stop = min((first + count - 1) * self.layer.stride[0] - self.layer.pad[0] + self.layer.kernel, self.height)
        row = self.width * FLOAT_BYTES
        for run, run_stop, offset in self.ring.runs(start, stop):
            self.s.emit(
                self.part,
                "copy_rows",
                x=PICTURE + run * row,
                x_plane=self.height * row,
                x_row=row,
                out=self.base + offset + self.ring.inner,
                out_plane=self.ring.plane,
                out_row=self.ring.row,
                floats=self.width,
                rows=run_stop - run,
                planes=self.inputs,
                ahead=0,
            )
        self.done = max(self.done, stop)


def whole_conv(s, layer):
    """The first convolution on its own: its map is read by several layers."""
    out = s.new_map(layer.name, layer.shape)
    for part, first, stop in s.shares(layer.shape[1]):
        Stem(s, part, layer).rows(first, stop - first, out.address + first * out.row, out.plane, out.row)
    s.end_phase()
