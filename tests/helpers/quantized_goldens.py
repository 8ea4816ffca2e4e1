"""The golden quantised models with what real engines gave for them, and quantised networks of random weights."""

import pathlib
from types import SimpleNamespace

import goldens
import numpy as np

from npmnv3.network.integer_plan import LAYERS, SAME_GRID, IntegerPlan
from npmnv3.network.lowering import lower
from npmnv3.ops.grids import Grid
from npmnv3.verification.quantized.cost import float_trace
from npmnv3.verification.quantized.weights import real_layers

_FOLDERS = (goldens.CUT / "int8", goldens.SHARED / "golden" / "int8")
FOLDER = next((folder for folder in _FOLDERS if folder.is_dir()), pathlib.Path("nowhere"))
SMALL, TEXT, KERAS = ("timm--mobilenetv3_small_050", "ppocr--text_direction", "keras--MobileNetV3Small-to-blocks.4")
NETWORKS = {SMALL: "timm/mobilenetv3_small_050", TEXT: "ppocr/text_direction", KERAS: "keras/MobileNetV3Small"}
TFLITE = (f"{SMALL}.int8", f"{SMALL}.int8_per_tensor", f"{TEXT}.int8", f"{KERAS}.int8", f"{KERAS}.int8_per_tensor")
ONNX = (
    f"{SMALL}.qdq_u8s8_per_channel",
    f"{SMALL}.qoperator_u8u8_per_tensor",
    f"{TEXT}.qdq_u8s8_per_channel_reduce_range",
)
#: Kernel set -> where a golden .npz has what is to be added to the reference's integers.
CHANGED = {"tflite-reference": None, "tflite-micro": None, "tflite-optimized": "opt-ref", "xnnpack": "xnn-ref"}


def model_of(name):
    """The network of a golden file."""
    return next(network for start, network in NETWORKS.items() if name.startswith(start))


def path(name):
    """A golden model's file."""
    return next(FOLDER / f"{name}{end}" for end in (".tflite", ".onnx") if (FOLDER / f"{name}{end}").exists())


def tensors(name, kernels="tflite-reference"):
    """{name: integers} that an engine gave for a golden model, as the engine lays them out: NHWC, or NCHW of an .onnx.

    Of text_direction only the reference's are whole; of the others the means and the last tensor alone are kept.
    """
    with np.load(FOLDER / f"{name}.npz") as file:
        entries = {entry: file[entry] for entry in file.files}
    if name in ONNX:
        return {entry[7:]: array for entry, array in entries.items() if entry.startswith("tensor/")}
    found, changes = {"input": entries["input"]}, CHANGED[kernels]
    for operation in map(str, entries["ops"]):
        array = entries[f"ref/{operation}"].astype(np.int16)
        array = array + entries.get(f"{changes}/{operation}", 0)
        found[operation] = array.astype(np.int8)
    return found


def quantized(model, x, scheme="tflite"):
    """An IntegerPlan of a float network by the ranges of one run: the tests' own, plain quantiser.

    model : Model; x : (N, C, H, W)
    """
    folded = model.plan_for(x.shape[2:], folded=True)
    shape = x.shape[1:]
    steps, _ = lower(folded, scheme, shape)
    real, grids, arrays = float_trace(model, x), {"input": _grid(x.min(), x.max())}, {}
    layers = real_layers(model, SimpleNamespace(steps=steps, input_shape=shape))
    for step in steps:
        if step.op in SAME_GRID:
            grids[step.name] = grids[step.inputs[0]]
        elif step.name in real and step.act != "relu6":
            grids[step.name] = _grid(real[step.name].min(), real[step.name].max())
        else:
            grids[step.name] = _grid(0, 6 if step.act == "relu6" else 1)
        if step.op in LAYERS:
            arrays |= {
                f"{step.name}.{role}": a for role, a in _layer(*layers[step.name], grids[step.inputs[0]]).items()
            }
        elif step.op == "scale":
            parts = np.array(127), np.array([1 / 1530], np.float32), np.array([-128])
            arrays |= {
                f"{step.name}.{role}": a for role, a in zip(("constant", "weight_scale", "weight_zero_point"), parts)
            }
    return IntegerPlan(steps, grids, arrays, shape)


def _grid(low, high):
    low, high = min(float(low), 0.0), max(float(high), 1e-3)
    scale = float(np.float32((high - low) / 255))
    return Grid(scale, int(np.clip(round(-128 - low / scale), -128, 127)))


def _layer(weight, bias, grid):
    along = (-1, *(1,) * (weight.ndim - 1))
    scale = (np.abs(weight).reshape(len(weight), -1).max(1) / 127).astype(np.float32)
    return {
        "weight": np.rint(weight / scale.reshape(along)).astype(np.int8),
        "bias": np.rint(bias / (np.float64(grid.scale) * scale)).astype(np.int32),
        "weight_scale": scale,
        "weight_zero_point": np.zeros(1, np.int32),
    }
