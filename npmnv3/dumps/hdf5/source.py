"""The bytes of an HDF5 file, taken piece by piece, and no more than twice what there is."""

import struct

from ...errors import WeightsError
from .checksum import lookup3

UNDEFINED = 0xFFFFFFFFFFFFFFFF  # the address of what was never written
RESAVE = "; copy the file with h5py's default settings"


class Source:
    """
    Parameters
    ----------
    reader : `dumps.reader.Reader`
    """

    def __init__(self, reader):
        self.reader, self.size = reader, reader.size
        self.renew()

    def renew(self):
        """Forget what was taken: for a caller who wants the same array once more."""
        self.left = 2 * self.size

    def take(self, address, size, what):
        data = self.reader.take(address, size, what)
        self.charge(size, what)
        return data

    def peek(self, address, most, what):
        """Up to so many bytes, at least 6, that do not count: they are read once more with what they begin."""
        return self.reader.take(address, max(min(most, self.size - address), 6), what)

    def fill(self, address, array, what):
        self.reader.fill(address, array, what)
        self.charge(array.nbytes, what)

    def charge(self, size, what):
        self.left -= size
        if self.left < 0:
            raise WeightsError(f"{what} lies where other parts of the file lie, and these too often: refused")

    def checked(self, address, size, signature, what):
        """As `take`, of a block that begins with a signature and ends with the checksum of all before."""
        data = self.take(address, size, what)
        if not data.startswith(signature):
            raise WeightsError(f"{what} at {address} begins with {data[:4]!r}, expected {signature!r}: damaged")
        if lookup3(data[:-4]) != struct.unpack_from("<I", data, size - 4)[0]:
            raise WeightsError(f"{what} at {address} is damaged: its checksum is another")
        return data
