"""HDF5 files, read without the HDF5 library.

On damaged files the library crashes, allocates whatever they ask for, or comes to no end. What weights need of the format is
little: groups, attributes that are numbers or texts, and arrays of numbers; in the layouts that h5py writes by default,
old (superblock 0, groups as symbol tables) and new (superblock 2 and 3, links as messages). Everything is read from the
file itself, nothing that it does not hold, and no more in all than twice what it holds, however its parts refer to one
another. Checksums are compared wherever the format has them.

    source    the file's bytes, counted        checksum  of the newer layouts
    headers   an object's messages             groups    its links
    heaps     where names, links and texts lie when there are many
    values    types, shapes, attributes        storage   an array's bytes
    tree      objects by path

Source: HDF5 File Format Specification 3.0, sections II to IV
"""

from .headers import MAGIC
from .tree import Tree, natural, open_tree

__all__ = ["MAGIC", "Tree", "natural", "open_tree"]
