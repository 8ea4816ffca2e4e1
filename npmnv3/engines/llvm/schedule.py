"""Fourth pass: layers become lists of commands, and every tensor gets its place in memory.

The work of a picture that several threads share is cut into as many parts, and its commands into *phases*: what the
parts of a phase do can be done at once, in any order and by any thread, and the next phase begins when all are done.

A depthwise convolution is done together with what makes its input: a few rows, or a few channels, of the expanded map
are made in a small ring and used up at once, so that the widest maps never leave the cache (see `separable`).
"""

import collections
import math
import operator
from typing import NamedTuple

import numpy as np

from .grouping import done_together, roles
from .kernels.kernel import FLOAT_BYTES, RECORD
from .prefetch import pace
from .separable import separable
from .sharing import SHARED_BYTES, panel_halves, share
from .simple_layers import gate, max_pool, mean, pointwise
from .stem import whole_conv
from .workspace import TABLES, Map, Place, Workspace, of_picture, plane_bytes

#: What emits the commands of a layer that is done on its own.
_EMIT = {
    "pointwise": pointwise,
    "linear": pointwise,
    "mean": mean,
    "max_pool": max_pool,
    "gate": gate,
    "conv": whole_conv,
}

#: Bytes of weights from which on a layer that uses each of them once is done for several pictures at once: a good part
#: of the second-level cache.
HEAVY_BYTES = 1 << 17


class Program(NamedTuple):
    """Commands, not yet bound to memory.

    commands : for each part an int array (count, RECORD): kernel's address, arguments
    ends : for each phase, how many commands of each part are done at its end; empty for one part
    labels : for each part, for each command the layer's name
    tables : int64 array, what the segment TABLES holds
    pictures : int, that it works on; each has a segment of its own for its tensors
    work_bytes, kept_bytes : sizes of the segments WORK (of one picture) and KEPT; the latter to be zeroed once
    buffers : ((name, address with its segment, bytes), ...)
    input, output : Map; the input is None where it is the picture. The output of several is a pixel for each.
    """

    commands: tuple[np.ndarray, ...]
    ends: tuple[tuple[int, ...], ...]
    labels: tuple[tuple[str, ...], ...]
    tables: np.ndarray
    pictures: int
    work_bytes: int
    kept_bytes: int
    buffers: tuple[tuple[str, int, int], ...]
    input: Map | None
    output: Map


def split_head(layers):
    """(what works on one picture's maps, what works on the pooled channels of many pictures at once)."""
    last = max(index for index, layer in enumerate(layers) if layer.op != "linear")
    return layers[: last + 1], layers[last + 1 :]


def schedule(layers, weights, library, *, picture=None, head_input=None, output=None, pictures=1, parts=1, guard=False):
    """The program of some layers.

    Parameters
    ----------
    layers : sequence of Layer
    weights : Weights
    library : compiler.Library
    picture : (3, H, W) of what the layers read, or
    head_input : (name, channels) of the pooled tensor that they read
    output : name of the tensor that is wanted, if not what the last layer is named after
    pictures : int, pictures that are worked on in turn, but at once where a layer is heavy, or pooled vectors
    parts : int, that each phase is cut into; 1 for several pictures
    guard : bool, see `Workspace`

    Returns
    -------
    Program
    """
    s = Schedule(layers, weights, library, picture, pictures if picture else 1, parts, guard)
    source = None
    if head_input is not None:
        name, channels = head_input
        source = s.new_map(name, (channels, 1, pictures))
    done = 0
    while done < len(layers):
        done += s.step(layers, done, pictures if head_input else 0)
    return s.program(source, output or layers[-1].name)


class Schedule:
    """Commands under construction; `tensors` has the Map of every tensor that a later layer reads."""

    def __init__(self, layers, weights, library, picture, pictures, parts, guard):
        self.machine, self.parts, self.weights = library.machine, parts, weights
        self.picture, self.pictures = picture, pictures
        self.tensors = {}
        self._library, self._kernels, self._addresses = library, library.kernels, library.addresses
        self._commands, self._labels = [[] for _ in range(parts)], [[] for _ in range(parts)]
        self._label, self._next, self._repeated = "", 0, 0
        self._workspace, self._rings, self._tables, self._table_size = Workspace(guard), {}, {}, 0
        self._last = {name: index for index, layer in enumerate(layers) for name in layer.reads}
        self._readers = collections.Counter(name for layer in layers for name in layer.reads)
        self._ends = []

    # Memory

    def take(self, size, name):
        return self._workspace.take(size, name)

    def new_map(self, name, shape):
        """Memory for a tensor, known by this name from here on."""
        pixels = shape[1] * shape[2] if len(shape) == 3 else 1
        planes, plane = self.planes(shape[0]), plane_bytes(pixels, self.machine.bytes)
        self.tensors[name] = Map(self.take(planes * plane, name), shape, planes, plane, self.machine.bytes)
        return self.tensors[name]

    def planes(self, channels):
        return -(-channels // self.machine.width)

    def ring(self, ring, part):
        """Address of a part's ring; rings of the same form share their memory, and nothing else does."""
        key = (ring.key, part)
        if key not in self._rings:
            self._rings[key] = self._workspace.keep(ring.size, f"ring {ring.key}")
        return self._rings[key]

    def table(self, offsets):
        """Address of a table of offsets."""
        data = np.asarray(offsets, np.int64)
        key = data.tobytes()
        if key not in self._tables:
            self._tables[key] = self._table_size
            self._table_size += data.nbytes
        return TABLES + self._tables[key]

    def give_back(self, address):
        self._workspace.give_back(address)

    def _release(self, done):
        """Give back the memory of tensors that no layer from index `done` on reads."""
        dead = [name for name in self.tensors if self._last.get(name, done) < done]
        for name in dead:
            address = self.tensors.pop(name).address
            if all(tensor.address != address for tensor in self.tensors.values()):
                self.give_back(address)

    # Commands

    def emit(self, part, kernel, **args):
        """Append a command to a part's list."""
        names = self._kernels[kernel].args
        assert len(args) == len(names), (args.keys(), names)
        command = [self._addresses[kernel], *map(operator.index, map(args.__getitem__, names))]
        self._commands[part].append(command + [0] * (RECORD - len(command)))
        self._labels[part].append(self._label)

    def end_phase(self):
        """What follows needs what all parts have done up to here."""
        if self.parts == 1:
            return
        start, now = (0,) * self.parts, tuple(map(len, self._commands))
        before, last = [start, start, *self._ends][-2:]
        if now == last:
            return
        if self._ends and before[1:] == now[1:]:
            self._ends.pop()  # the first part alone did the phase before as well: the two are one
        self._ends.append(now)

    def share(self, count, part, nbytes=SHARED_BYTES):
        """(start, stop) of a part's share of `count` things; the first part does all if there is too little to read."""
        if nbytes < SHARED_BYTES:
            return (0, 0) if part else (0, count)
        return share(count, part, self.parts)

    def shares(self, count, nbytes=SHARED_BYTES):
        """(part, start, stop) of each part that has a share of `count` things, see `share`."""
        for part in range(self.parts):
            start, stop = self.share(count, part, nbytes)
            if stop > start:
                yield part, start, stop

    def panel_halves(self, panels, part):
        """A part's share of some panels, see `sharing.panel_halves`."""
        return panel_halves([panel.vectors for panel in panels], part, self.parts)

    # Layers

    def step(self, layers, index, pictures):
        """Emit the commands of the layers that are done together from `index` on, and return how many these are."""
        group = done_together(layers[index:], self._readers, self.tensors)
        self._next = index + len(group)
        self._label = "+".join(layer.name for layer in group)
        if self.pictures > 1 and self._is_heavy(group[0]):
            self._for_all_at_once(group[0])
        elif any(layer.op == "depthwise" for layer in group):
            separable(self, *roles(group))
        else:
            layer = group[0]
            if pictures:
                layer = layer._replace(shape=(layer.shape[0], 1, pictures))
            _EMIT[layer.op](self, layer)
        self._release(self._next)
        return len(group)

    def _repeat(self):
        """Emit the commands since the last call, made for the first picture, again for every other one."""
        commands, labels = np.array(self._commands[0][self._repeated :], np.int64), self._labels[0][self._repeated :]
        for number in range(1, self.pictures):
            self._commands[0] += self._of_picture(number, commands).tolist()
            self._labels[0] += labels
        self._repeated = len(self._commands[0])

    def _of_picture(self, number, values):
        return of_picture(number, values, FLOAT_BYTES * math.prod(self.picture))

    def _is_heavy(self, layer):
        """True for a layer on pooled channels with so many weights that reading them once for all pictures pays."""
        packed = self.weights.layers.get(layer.name)
        alone = len(layer.shape) == 1 and not layer.add and not layer.gate
        return alone and packed is not None and packed.stop - packed.start >= HEAVY_BYTES

    def _for_all_at_once(self, layer):
        """A layer on pooled channels, for all pictures at once; what comes before it is done for one after another."""
        (name,) = layer.inputs
        alone, together = self.tensors[name], self._gather(name)
        pointwise(self, layer._replace(shape=(*layer.shape, 1, self.pictures)))
        made, out = self.tensors[layer.name], self.new_map(layer.name, layer.shape)
        for one, pixel in self._places(out, made):
            self._move(out.planes, pixel, one)
        self.tensors[name] = alone
        self.give_back(together.address)
        self.give_back(made.address)
        self._repeated = len(self._commands[0])

    def _gather(self, name):
        """Copy the pooled channels of all pictures into one map, a pixel for each; from here on `name` is that map."""
        self._repeat()
        alone = self.tensors[name]
        together = self.new_map(name, (*alone.shape, 1, self.pictures))
        for one, pixel in self._places(alone, together):
            self._move(alone.planes, one, pixel)
        return together

    def _places(self, alone, together):
        """For each picture the Places of its pooled channels, and of its pixel in the map of all pictures."""
        for number in range(self.pictures):
            yield Place(self._of_picture(number, alone.address), alone.plane), together.at_pixel(number)

    def _move(self, planes, x, out):
        """Copy a vector of each plane from a Place to another."""
        self.emit(
            0,
            "copy_rows",
            x=x.address,
            x_plane=x.plane,
            x_row=0,
            out=out.address,
            out_plane=out.plane,
            out_row=0,
            floats=self.machine.width,
            rows=1,
            planes=planes,
            ahead=0,
        )

    def is_done_with(self, name):
        """True if nothing after the layers in hand reads a tensor."""
        return self._last[name] < self._next

    def program(self, source, output):
        output = self._gather(output) if self.pictures > 1 else self.tensors[output]
        self.end_phase()
        for commands in self._commands:
            pace(commands, self._library, self.weights.block.nbytes)
        tables = np.frombuffer(b"".join(self._tables), np.int64) if self._tables else np.zeros(1, np.int64)
        return Program(
            tuple(np.array(commands, np.int64).reshape(-1, RECORD) for commands in self._commands),
            tuple(self._ends),
            tuple(tuple(labels) for labels in self._labels),
            tables,
            self.pictures,
            self._workspace.work_bytes,
            self._workspace.kept_bytes,
            tuple(self._workspace.buffers),
            source,
            output,
        )
