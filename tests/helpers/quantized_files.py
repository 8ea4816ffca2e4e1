"""Quantised dumps of the golden files in tests/golden/int8, and of random networks."""

import goldens
import numpy as np

from npmnv3.conversion import convert

FOLDER = goldens.CUT / "int8"
TEXT, SMALL = "ppocr--text_direction.int8", "timm--mobilenetv3_small_050.int8"


def dump(name, folder, **options):
    """The path of a golden .tflite as a quantised dump."""
    path = folder / f"{name}.npz"
    convert(FOLDER / f"{name}.tflite", path, **options)
    return path


def golden(name):
    """({step's place: integers} of the reference kernels, batch and channels first; the input, (1, C, H, W) float32)."""
    with np.load(FOLDER / f"{name}.npz") as file:
        tensors = {str(op): file[f"ref/{op}"] for op in file["ops"]}
        scale, zero = np.float32(file["input_scale"]), np.int32(file["input_zero_point"])
        x = ((file["input"].astype(np.int32) - zero).astype(np.float32) * scale).transpose(0, 3, 1, 2)
    return {op: q.transpose(0, 3, 1, 2) if q.ndim == 4 else q for op, q in tensors.items()}, np.ascontiguousarray(x)
