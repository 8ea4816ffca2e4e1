"""Debug mode (`NPMNV3_DEBUG=1`): every command is checked before it runs, and the memory between buffers afterwards."""

import numpy as np

from ...errors import Npmnv3Error
from .memory import Regions, check
from .workspace import KEPT, MASK

#: What fills all memory before the first run: a NaN that no arithmetic makes.
PATTERN = 0x7FC5A5A5


class Guard:
    """Of a program that was scheduled with gaps between its buffers.

    Parameters
    ----------
    program : Program
    works, kept : uint8 arrays that its buffers lie in: of tensors, for each picture, and of what is kept
    others : [(name, array)] that its commands read, weights and tables
    library : compiler.Library
    """

    def __init__(self, program, works, kept, others, library):
        self._labels, self._others, self._library = program.labels, others, library
        self._segments = (*works, kept)
        #: (name, segment, start in it, stop) of each buffer
        self._buffers = [
            (name, segment, address & MASK, (address & MASK) + size)
            for name, address, size in program.buffers
            for segment in (works if address < KEPT else [kept])
        ]
        for memory in (*works, *(gap for _, gap in self._gaps())):
            memory.view(np.uint32)[:] = PATTERN

    def check_commands(self, lists, picture):
        """Hold every command against the bounds of the buffers that it touches.

        Parameters
        ----------
        lists : for each part int64 (commands, RECORD)
        picture : array that is read, or None

        Raises
        ------
        Npmnv3Error, with the names of the layer, the kernel and the buffer
        """
        buffers = [(name, segment[start:stop]) for name, segment, start, stop in self._buffers] + self._others
        if picture is not None:
            buffers.append(("picture", picture.reshape(-1).view(np.uint8)))
        regions = Regions(buffers)
        names = {self._library.addresses[name]: kernel for name, kernel in self._library.kernels.items()}
        for commands, labels in zip(lists, self._labels):
            for command, label in zip(commands, labels):
                if int(command[0]) not in names:
                    raise Npmnv3Error(f"a command of {label} calls {int(command[0])}, which is no kernel")
                check(names[int(command[0])], command[1:], regions, label)

    def check_gaps(self):
        """Npmnv3Error if memory between the buffers is not as it was."""
        for before, gap in self._gaps():
            if (gap != PATTERN).any():
                raise Npmnv3Error(f"the llvm engine wrote between its buffers, {before}")

    def _gaps(self):
        """(where it is, integers) of all memory that belongs to no buffer."""
        for segment in self._segments:
            inside = sorted((start, stop, name) for name, owner, start, stop in self._buffers if owner is segment)
            befores = [(0, "before the first"), *((stop, f"behind {name}") for _, stop, name in inside)]
            starts = [*(start for start, *_ in inside), segment.nbytes]
            for (stop, where), start in zip(befores, starts):
                yield where, segment[stop:start][: (start - stop) // 4 * 4].view(np.uint32)
