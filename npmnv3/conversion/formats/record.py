"""What a checkpoint file was found to hold."""

from dataclasses import dataclass, field, replace

import numpy as np

_LARGEST = 1 << 14  # pixels
INFERRED = "inferred"  # attribute of a Relu that no node is: quantisation clips at zero


@dataclass(frozen=True)
class Layer:
    """One node of an ONNX graph that computes, with its constants; plumbing (shapes, identities, casts) is left out.

    params : {role: array}: Conv, Gemm and MatMul have weight, (O, I / groups, KH, KW) or (O, I) whichever way the graph
        stores it, and maybe bias, (O,), also where a separate Add brings it; BatchNormalization has gamma, beta, mean
        and variance, (C,); an Add, Sub, Mul or Div with a constant has it as constant; Clip, Min and Max have least and
        most, where constant; a Pad has the number it pads with as value; the others have nothing.
    attributes : {name: int, float, str or tuple}, as ONNX names them: strides, pads (top, left, bottom, right), group,
        epsilon, alpha, ...; and constant_first where the constant is what something is taken from, or divided by it
    inputs : places, in the list of layers, of those whose values it reads
    """

    op: str  # ONNX's name of the operation
    name: str  # of its output
    params: dict[str, np.ndarray] = field(default_factory=dict)
    attributes: dict = field(default_factory=dict)
    inputs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Operation:
    """One operation of paddle's program, or of torch's.

    kind : str, as paddle 3 calls it: conv2d, batch_norm, hardswish, ...
    inputs, outputs : names of values; parameters have their own
    attributes : {name: int, float, str, bool, tuple or None}
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file's arrays.

    format : "torch", "torch-legacy", "torch-frozen", "safetensors", "paddle", "paddle-inference", "keras-legacy",
        "keras-weights", "onnx", "tflite", "numpy" (np.save's) or "dump" (HDF5 or .npz)
    arrays : {name: array} in the file's order, read-only, maybe views of shared memory, of the file's dtypes except
        that bfloat16 became float32 (exactly). paddle-inference: paddle's internal names, in the program's order of
        use; torch-frozen: CONSTANTS.c0, ..., in the code's. keras-weights: LAYER/kernel, LAYER/gamma, ... as Keras 3's
        legacy writer spells them, class by class. onnx: the weights as the graph stores them, in its order of use. While a
        file is open, `containers.Entry` in place of arrays: shape and dtype, nothing read yet.
    taken : where in the file the arrays lay ("model", "state_dict", ...), "" if they were all there is
    others : further state dicts of the file; `key` takes one of them instead
    notes : what a user should know: prefixes taken off, entries left out, ...
    unread : sentences on tensors that are in the file and are none of the arrays
    left_out : {name: what it is} of what lies among the arrays and is none: numbers, texts, lists, stand-ins of objects
    quantized : of what PyTorch quantised or prepared for that: {name: `torch_pickles.Quantized`} of weights that are
        integers, whose real numbers are among the arrays, and {name: Entry} of scales, zero points and observed ranges,
        which are not
    widened : names of arrays that the file has as uint16, which were taken for bfloat16
    warnings : what the dump does otherwise than the file, or what is only assumed
    metadata : what the file says about itself
    layers : onnx and tflite only, the graph in `graph_order`'s order; names are no help there
    sides : of graphs and Keras's configurations, (height, width) of the pictures that they take, None where any
    program : of paddle-inference, TorchScript, exported programs and Keras's configurations, the operations in order
    claims : (where, name) of each place where the file names its network
    settings : (where, value) of what a training program kept beside the network under the names of `states.TOLD`: texts,
        numbers, lists and dicts of them, whatever it was
    modules : whole modules only, {dotted name: {"class": str, "eps": ..., ...}}: what each of them is and is set to
    card : what is written in the file, or beside it, of how pictures are prepared and what the classes are called: some of
        "preprocess" (Preprocess), "labels" (tuple of str) and "licence" (str)
    """

    format: str
    arrays: dict[str, np.ndarray]
    taken: str = ""
    others: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    metadata: dict = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    sides: tuple[int, int] | None = None
    program: tuple[Operation, ...] = ()
    claims: tuple[tuple[str, str], ...] = ()
    settings: tuple[tuple[str, object], ...] = ()
    card: dict = field(default_factory=dict)
    modules: dict = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    left_out: dict = field(default_factory=dict)
    widened: tuple[str, ...] = ()
    quantized: dict = field(default_factory=dict)

    def renamed(self, rename):
        """The checkpoint with other names: `rename` is a function of a dotted name, which for a module ends in a dot."""
        names = {name: rename(name) for name in self.arrays}
        inputs = (tuple(names.get(name, name) for name in made.inputs) for made in self.program)
        return replace(
            self,
            arrays={names[name]: array for name, array in self.arrays.items()},
            modules={rename(f"{name}.")[:-1]: settings for name, settings in self.modules.items()},
            program=tuple(replace(made, inputs=its) for made, its in zip(self.program, inputs)),
        )


def known_sides(sides):
    """(height, width) of a graph's pictures, None where it leaves them open or they are impossible."""
    return tuple(sides) if all(1 < side < _LARGEST for side in sides) else None
