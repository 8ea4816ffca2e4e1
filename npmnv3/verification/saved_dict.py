"""A run's tensors as a dict that torch.save, safetensors, pickle or np.save wrote."""

import numpy as np

from ..dumps.npy import MAGIC, header_text
from ..dumps.reader import Reader
from ..errors import UsageError, WeightsError

ENDINGS = (".pt", ".pth", ".pkl", ".pickle", ".safetensors")
_OF_WEIGHTS = (".weight", ".running_mean", ".kernel")


def is_saved_dict(path):
    """Whether such a file is meant, by its ending; a .npy by what its head says."""
    if path.suffix.lower() != ".npy":
        return path.suffix.lower() in ENDINGS
    try:
        with Reader(path) as file:
            is_npy = file.read(len(MAGIC)) == MAGIC
            file.seek(0)
            return is_npy and "'|O'" in header_text(file, "")[0]
    except WeightsError:
        return False  # who reads its array says what is wrong


def read_saved_dict(path):
    """{name: array} of such a file.

    Raises
    ------
    UsageError
        It cannot be read whole, holds no dict of tensors, several, one of weights, or something that may be a tensor in it.
    """
    from ..conversion.formats import read_checkpoint

    try:
        checkpoint = read_checkpoint(path)
    except WeightsError as error:
        raise UsageError(
            f"{path}: no dict of a run's tensors, as torch.save({{'logits': y, ...}}, 'port.pt') keeps it: "
            f"{str(error).removeprefix(f'{path}: ')}"
        ) from error
    if checkpoint.modules or checkpoint.program or any(name.endswith(_OF_WEIGHTS) for name in checkpoint.arrays):
        raise UsageError(
            f"{path}: holds weights, not a run's tensors; give an .onnx file, which is run here, or what the port gives, or "
            "ask `npmnv3 identify` whose weights they are"
        )
    if checkpoint.others:
        kept = ", ".join((checkpoint.taken or "the outermost", *checkpoint.others)[:5])
        raise UsageError(f"{path}: holds several dicts of tensors ({kept}), expected one; save that alone")
    if checkpoint.unread:
        raise UsageError(f"{path}: {'; '.join(checkpoint.unread)}")
    if checkpoint.widened:
        few = ", ".join(checkpoint.widened[:5])
        raise UsageError(
            f"{path}: uint16 may be integers or bfloat16 ({few}); save floats as float32, integers in an .npz"
        )
    return checkpoint.arrays | _numbers(path, checkpoint.left_out)


def _numbers(path, others):
    """The plain numbers among the tensors, such as scales, as arrays; what may be a tensor is refused, texts are not."""
    strange = [name for name, item in others.items() if not isinstance(item, (int, float)) and not _is_text(item)]
    if strange:
        raise UsageError(
            f"{path}: holds what is neither a tensor nor a plain number ({', '.join(strange[:5])}); save each tensor of a list "
            "or a dict under a name of its own, a NumPy number as float(x)"
        )
    return {name: np.asarray(item) for name, item in others.items() if isinstance(item, (int, float))}


def _is_text(item):
    many = item if isinstance(item, (list, tuple)) else [item]
    return all(isinstance(one, (str, type(None))) for one in many)
