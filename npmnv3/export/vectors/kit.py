"""What a set of test vectors holds, how large it is, and how it is written."""

import fnmatch
import json
import pathlib
from dataclasses import dataclass

import numpy as np

from ...dumps.writing import replacing_folder
from ...errors import UsageError
from ...network.steps import INPUT
from ...network.walk import apply
from ...ops import definitions
from .formats import NAMES, c_floats, c_kind, c_place, c_shape, c_tables, identifier, pick_format

DTYPES = ("float32", "float16", "int8")
#: What a manifest says of its fields, once for all steps
LAYOUT = "CHW, little-endian; weights OIHW, depthwise CHW, else OI"
PAD = "rows and columns of zeros: top, bottom, left, right"


@dataclass
class Vector:
    """One array of the kit: a tensor or a parameter.

    Attributes
    ----------
    key : str, unique: a step's name, or STEP/ROLE for a parameter
    array : as it is written, float32, float16 or int8
    scales : (1,) or (channels,) float32, what one step of an int8 is worth; None for floats
    """

    key: str
    array: np.ndarray
    scales: np.ndarray | None = None

    @property
    def value(self):
        """The numbers that it stands for, float64."""
        if self.scales is None:
            return self.array.astype(np.float64)
        axes = (-1, *(1,) * (self.array.ndim - 1))
        return self.array * (self.scales.reshape(axes) if len(self.scales) > 1 else self.scales).astype(np.float64)

    def described(self, file):
        """Its row of the manifest."""
        row = {"file": file, "shape": list(self.array.shape), "dtype": str(self.array.dtype)}
        if self.scales is not None:
            row |= {"scale": self.scales.tolist() if len(self.scales) > 1 else float(self.scales[0]), "zero_point": 0}
        return row


@dataclass
class Kit:
    """The vectors of a network in floats.

    Attributes
    ----------
    model, dtype : str
    steps : tuple of Step, those asked for
    vectors : {key: Vector}: the steps' inputs, parameters and outputs, each once
    tolerances : {step's name: largest absolute error that honest float arithmetic has}
    """

    model: str
    dtype: str
    steps: tuple
    vectors: dict
    tolerances: dict
    checker = "check.c"

    def c_tables(self, inline):
        """The tables of vectors.h, lines of C."""
        index = {key: i for i, key in enumerate(self.vectors)}
        scales = [
            f"static const float {identifier(key)}_scales[] = {{{c_floats(vector.scales)}}};"
            for key, vector in self.vectors.items()
            if vector.scales is not None
        ]
        tensors = [_c_tensor(vector, inline) for vector in self.vectors.values()]
        steps = [_c_step(step, index, self.tolerances[step.name]) for step in self.steps]
        return [*scales, *c_tables(tensors, steps)]

    def manifest(self, format):
        """What the files are: a dict for JSON."""
        form = pick_format(format, self.vectors.values())
        return {
            "format": "npmnv3-vectors",
            "version": 1,
            "model": self.model,
            "dtype": self.dtype,
            "layout": LAYOUT,
            "pad": PAD,
            "tolerance": "largest absolute error of a step run on these very inputs",
            "operations": _formulas(self.steps),
            "tensors": {key: vector.described(form.file(key)) for key, vector in self.vectors.items()},
            "steps": [self._described(step) for step in self.steps],
        }

    def _described(self, step):
        return {
            "name": step.name,
            "op": step.op,
            "inputs": list(step.inputs),
            "params": {p.role: f"{step.name}/{p.role}" for p in step.params if p.role != "count"},
            "output": step.name,
            "tolerance": self.tolerances[step.name],
            **{name: getattr(step, name) for name in ("kernel", "stride", "pad", "eps", "slope", "factor")},
        }


def _c_tensor(vector, inline):
    scales = f"{identifier(vector.key)}_scales, {len(vector.scales)}" if vector.scales is not None else "0, 0"
    file, data = c_place(vector.key, vector, inline)
    shape, size = c_shape(vector.array), vector.array.size
    return f'    {{"{vector.key}", {file}, {c_kind(vector)}, {{{shape}}}, {size}L, {scales}, {data}}},'


def _c_step(step, index, tolerance):
    inputs = [index[name] for name in step.inputs] + [-1]
    roles = ("gamma", "beta", "mean", "variance", "") if step.op == "batch_norm" else ("weight", "bias", "", "", "")
    params = ", ".join(str(index.get(f"{step.name}/{role}", -1)) for role in roles)
    numbers = ", ".join(repr(float(n)) for n in (step.eps, step.slope, step.factor, tolerance))
    head = f'"{step.name}", {step.op.upper()}, {{{inputs[0]}, {inputs[1]}}}, {index[step.name]}, {{{params}}}'
    sides = f"{{{step.stride[0]}, {step.stride[1]}}}, {{{', '.join(map(str, step.pad))}}}"
    return f"    {{{head}, {step.kernel}, {sides}, {numbers}}},"


def _formulas(steps):
    """{operation: what it computes}, in the words of its definition; a field that these do not name means nothing to it."""
    docs = {step.op: getattr(definitions, step.op).__doc__ or "" for step in steps}  # none under python -OO
    return {op: doc.strip().split("\n\n")[0] for op, doc in docs.items()}


def make_kit(model, x=None, *, dtype="float32", only="*"):
    """Compute the vectors.

    Each step's expected output is computed in float64 from the very inputs and parameters that the kit holds, rounded
    to its type, and then rounded itself: so a step can be checked by itself, to half a unit in the last place.

    Parameters
    ----------
    model : Model
    x : (1, 3, H, W) float32; default standard normal numbers
    dtype : "float32", "float16" or "int8" (symmetric; a scale a tensor, for weights a scale an output channel; biases
        and norms stay float32)
    only : str, shell-style pattern of step names, several parted by commas

    Returns
    -------
    Kit

    Raises
    ------
    UsageError
    """
    if dtype not in DTYPES:
        raise UsageError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    if model.kernels:
        raise UsageError(f"{model.name} is quantised: its vectors are integers, of make_integer_kit")
    if x is None:
        shape = (1, model.in_channels, *model.side)
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    plan = model.plan_for(x.shape[2:])
    wanted = select([step.name for step in plan], only)
    arrays = model.arrays()
    tensors, vectors, tolerances = {INPUT: _stored(INPUT, x[0], dtype)}, {}, {}
    for step in plan:
        params = {
            p.name: _stored(f"{step.name}/{p.role}", arrays[p.name], dtype) for p in step.params if p.role != "count"
        }
        exact = apply(
            step,
            [tensors[name].value[None] for name in step.inputs],
            {name: v.value for name, v in params.items()},
            definitions,
        )[0]
        tensors[step.name] = _stored(step.name, exact, dtype)
        if step.name in wanted:
            vectors |= {v.key: v for v in (*(tensors[n] for n in step.inputs), *params.values(), tensors[step.name])}
            tolerances[step.name] = _tolerance(tensors[step.name], exact)
    steps = tuple(step for step in plan if step.name in wanted)
    return Kit(model.variant.full_name, dtype, steps, vectors, tolerances)


def select(names, only):
    """The names that a pattern asks for.

    Raises
    ------
    UsageError
        If there are none.
    """
    patterns = [p.strip() for p in only.split(",")]
    found = {name for name in names if any(fnmatch.fnmatchcase(name, p) for p in patterns)}
    if not found:
        raise UsageError(f"no step fits {only!r}; steps are called {', '.join(names[:4])}, ... {names[-1]}")
    return found


def _stored(key, value, dtype):
    if dtype != "int8":
        with np.errstate(over="ignore"):
            return Vector(key, np.ascontiguousarray(value, dtype))
    role = key.rpartition("/")[2]
    if "/" in key and role != "weight":
        return Vector(key, np.ascontiguousarray(value, np.float32))
    axes = tuple(range(1, value.ndim)) if role == "weight" and "/" in key else None
    largest = np.atleast_1d(np.abs(value).max(axis=axes)).astype(np.float32)
    scales = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
    along = scales.reshape(-1, *(1,) * (value.ndim - 1)) if len(scales) > 1 else scales
    return Vector(key, np.clip(np.round(value / along), -127, 127).astype(np.int8), scales)


def _tolerance(vector, exact):
    """The rounding of the stored output, and what float32 arithmetic may add."""
    largest = float(np.abs(exact).max(initial=0.0))
    if vector.scales is not None:
        return 0.5 * float(vector.scales.max()) + 1e-6 * largest
    return {"float32": 2e-6, "float16": 2.0**-11 * 1.01}[str(vector.array.dtype)] * max(largest, 1e-3)


def kit_size(kit, format):
    """(files, bytes) that `write_kit` will write, about."""
    vectors = kit.vectors.values()
    return len(vectors) + 1, pick_format(format, vectors).size(vectors)


def write_kit(kit, folder, format):
    """Write the kit to a new folder: its arrays, manifest.json and, for C, the checker; all or nothing.

    Parameters
    ----------
    kit : Kit or IntegerKit
    folder : path, must not exist or be empty
    format : "npy", "bin", "c" or "hex"

    Raises
    ------
    UsageError
    """
    if format not in NAMES:
        raise UsageError(f"format is {format!r}, expected one of {', '.join(NAMES)}")
    folder = pathlib.Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: is there already and not an empty folder; give a new one")
    with replacing_folder(folder) as temporary:
        place = pathlib.Path(temporary)
        pick_format(format, kit.vectors.values()).write(kit, place)
        (place / "manifest.json").write_text(json.dumps(kit.manifest(format), indent=1) + "\n", "utf-8")
