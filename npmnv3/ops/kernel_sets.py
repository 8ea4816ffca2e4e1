"""Kernel sets: the rules by which an engine makes a stored integer of an accumulator, by name, as data.

Engines agree on the products of a quantised network, which are exact, and on nothing else: each rounds them in its own way,
and a network that has lost accuracy answers otherwise with each of them. So integers mean nothing without a kernel set.
"""

from dataclasses import dataclass

from ..errors import UsageError


@dataclass(frozen=True)
class KernelSet:
    """An engine's rules. `requantize` and `integers` hold what the words mean.

    layers : of convolutions and linear layers, but those below: "double", "up", "single", "float", "reciprocal" or "truncate"
    depthwise : of depthwise convolutions: the same words, or "up_by_8"
    depthwise_uint8 : of those of uint8: the same words
    fully_connected : of TensorFlow Lite's operation of this name: the same words, or "real"
    fully_connected_factor : "float32" or "float64", in which its input's scale meets the weights', where these have one
    mul : "double", "single", "float", "reciprocal" or "float_offset"
    mul_factor : how its factor is made of the scales: in "float32" or "float64", or with a "reciprocal" in float32
    add : "double", "single", "shift", "shift_away" or "fused"
    mean : "double", "single", "twice", "offset", "float_offset" or "float"
    mean_to_vector : of TensorFlow Lite's MEAN without keep_dims: the same words
    hard_swish : "fixed" (16-bit fixed point, a table), "float" (in float32 between two grids) or "sixth" (the same,
        divided by 6), by which hard-sigmoids are made too
    saturates : pairs of products of uint8 by int8 are added with saturation to 16 bits
    fused_picture : the picture is multiplied by the reciprocal of its scale, its zero point added before it is rounded once
    """

    name: str
    layers: str
    depthwise: str
    depthwise_uint8: str
    fully_connected: str
    fully_connected_factor: str
    mul: str
    mul_factor: str
    add: str
    mean: str
    mean_to_vector: str
    hard_swish: str = "fixed"
    saturates: bool = False
    fused_picture: bool = False


# fmt: off
KERNEL_SETS = {kernels.name: kernels for kernels in (
    #         name                layers        depthwise     depthwise_uint8  fully_connected  its factor  mul             its factor    add           mean            mean_to_vector
    KernelSet("tflite-reference", "double",     "double",     "double",        "real",          "float64",  "double",       "float32",    "double",     "double",       "double"),
    KernelSet("tflite-optimized", "up",         "up_by_8",    "double",        "up",            "float32",  "double",       "float32",    "double",     "offset",       "double"),  # x86-64, one thread
    KernelSet("xnnpack",          "float",      "float",      "double",        "float",         "float32",  "float",        "float32",    "shift",      "float_offset", "float_offset"),  # TFLite's delegate, x86-64
    KernelSet("tflite-micro",     "double",     "double",     "double",        "double",        "float64",  "double",       "float64",    "double",     "double",       "double"),  # its portable kernels, and CMSIS-NN
    KernelSet("onnxruntime",      "float",      "float",      "float",         "float",         "float32",  "float_offset", "float32",    "fused",      "float",        "float", "float"),
    KernelSet("onnxruntime-avx2", "float",      "float",      "float",         "float",         "float32",  "float_offset", "float32",    "fused",      "float",        "float", "float", True),  # no VNNI
    KernelSet("qnnpack",          "reciprocal", "reciprocal", "reciprocal",    "reciprocal",    "float32",  "reciprocal",   "reciprocal", "shift_away", "float",        "float", "sixth", fused_picture=True),  # PyTorch's, x86-64
    KernelSet("single-rounding",  "single",     "single",     "single",        "single",        "float64",  "single",       "float64",    "single",     "single",       "single"),  # TFLite's and CMSIS-NN's macro
)}
# fmt: on

#: How a network was quantised -> the kernel set that is taken first where nobody names one. No engine here quantises to
#: scales that are powers of two: those run by the rules of portable C, TensorFlow Lite Micro's.
USUAL = {"tflite": "tflite-reference", "onnx": "onnxruntime", "symmetric": "onnxruntime", "pow2": "tflite-micro"}
#: The same of files, which come from more engines than are quantised for here.
USUAL_OF_FILES = {**USUAL, "torch": "qnnpack"}


def get_kernel_set(name):
    """The kernel set of this name.

    Raises
    ------
    UsageError
        The name is None, or no kernel set's.
    """
    if name in KERNEL_SETS:
        return KERNEL_SETS[name]
    known = ", ".join(KERNEL_SETS)
    if name is None:
        raise UsageError(
            f"whose int8? Integers differ from engine to engine: name a kernel set with kernels=, or --kernels on the "
            f"command line, one of {known}"
        )
    raise UsageError(f"kernels is {name!r}, expected one of {known}")
