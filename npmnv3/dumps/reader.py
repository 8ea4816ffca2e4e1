"""A checkpoint's bytes, read piece by piece: never more than is there."""

import contextlib
import io
import os
import stat

from ..errors import UsageError, WeightsError

MAX_LINE = 4096  # bytes
_SMALL = 1 << 16  # bytes


@contextlib.contextmanager
def naming(name, kinds=WeightsError):
    """Put a name, a file's or a format's, before what is wrong with it: before errors of these kinds."""
    try:
        yield
    except kinds as error:
        raise type(error)(f"{name}: {error}") from error


class Reader:
    """A file, or bytes, as a binary stream of known size.

    Only what is asked for is read, so an array's bytes are held once; a length that a damaged file claims is compared
    with the bytes that are there before anything is allocated.
    """

    def __init__(self, source):
        if isinstance(source, (bytes, bytearray, memoryview)):
            self.path, self.name, self._file = None, "the given bytes", io.BytesIO(source)
            self.size = self._file.getbuffer().nbytes
        elif isinstance(source, (str, os.PathLike)):
            self.path = self.name = os.fsdecode(source)
            self._file, self.size = _open(self.name)
        else:
            raise UsageError(f"a checkpoint is given as a path or as bytes, not as a {type(source).__name__}")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()

    def tell(self):
        return self._file.tell()

    def seek(self, offset, whence=os.SEEK_SET):
        return self._file.seek(offset, whence)

    def read(self, count=-1):
        """Up to `count` bytes from here, as a file's read; a count beyond the end costs nothing."""
        if 0 <= count <= _SMALL:  # a pickle is read by the thousand of these
            return self._file.read(count)
        left = max(self.size - self._file.tell(), 0)
        return self._file.read(left if count < 0 else min(count, left))

    def readline(self):
        """The rest of a line, as the text opcodes of pickles take it: a short one.

        Backslashes mean nothing here; they are doubled, because `pickletools` decodes escapes and warns of bad ones.
        """
        return self._file.readline(MAX_LINE).replace(b"\\", b"\\\\")

    def take(self, offset, count, what):
        """Exactly `count` bytes from `offset`, or WeightsError saying `what` is cut off; where `read` goes on is
        undefined."""
        self._check(offset, count, what)
        if count <= _SMALL and self.path and hasattr(os, "pread"):  # a buffer would be filled and thrown away each time
            data = os.pread(self._file.fileno(), count, offset)
        else:
            self._file.seek(offset)
            data = self._file.read(count)
        _check_whole(len(data), count, what)
        return data

    def fill(self, offset, array, what):
        """As `take`, into a contiguous array's memory."""
        self._check(offset, array.nbytes, what)
        self._file.seek(offset)
        _check_whole(self._file.readinto(array.reshape(-1).view("u1")), array.nbytes, what)

    def _check(self, offset, count, what):
        if offset < 0 or count < 0 or offset + count > self.size:
            raise WeightsError(
                f"{what} would be {count} bytes from {offset}, but the file has {self.size}: damaged or cut off"
            )


def _check_whole(actual, count, what):
    if actual != count:
        raise WeightsError(f"{what} is cut off: the file changed while it was read")


def read_whole(path, most, expected):
    """The bytes of a small file that somebody names: a pipe's too, such as a shell's `<(...)`, whose size shows at its end.

    Parameters
    ----------
    path : str or os.PathLike
    most : int, bytes; a device may have no end
    expected : str, what it should be, for the message

    Raises
    ------
    UsageError
    """
    try:
        with open(path, "rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise UsageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > most:
        raise UsageError(f"{path}: more than {most >> 20} MB, expected {expected}")
    return data


_TO_GIVE = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
    "inference.pdiparams",
)
_IN_FOLDERS = (  # files that a folder is known by, and what to give instead of it
    (
        "checkpoint",
        "TensorFlow's checkpoints, which are not read; save the weights, model.save_weights('m.weights.h5')",
    ),
    (
        "saved_model.pb",
        "TensorFlow's SavedModel, whose graph is not read; save the weights, model.save_weights('m.weights.h5')",
    ),
    (
        ".metadata",
        "a distributed checkpoint of torch, which is not read; make a file of it: python -m "
        "torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER weights.pth",
    ),
    *((name, f"give the file {name} in it") for name in _TO_GIVE),
    ("Manifest.json", "a Core ML package, which is not read; give the file that it was made of, torch's or ONNX"),
    ("data.pkl", "an unpacked torch file; give the .pth itself"),
)


def _advice(path):
    found = next((f": {advice}" for name, advice in _IN_FOLDERS if os.path.exists(os.path.join(path, name))), None)
    return found or "; give the file itself"


def _open(path):
    """The opened file and its size; pipes and devices, which have none and may block, are refused unopened."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise WeightsError(f"{path}: a folder, not a file{_advice(path)}")
        if not stat.S_ISREG(mode):
            raise WeightsError(f"{path}: not a regular file")
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open(path, "rb"))
            size = os.fstat(file.fileno()).st_size
            stack.pop_all()
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise WeightsError(f"{path}: cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    return file, size
