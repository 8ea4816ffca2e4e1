"""The forms in which test vectors are written: .npy, raw .bin, C with a checker, and hexadecimal for $readmemh."""

import importlib.resources
import io
import math
import re
from dataclasses import dataclass

import numpy as np

INLINE = 500_000  # numbers in all that C headers hold; above that the checker reads .bin files
_C_TYPES = {
    "float32": ("float", "F32"),
    "float16": ("uint16_t", "F16"),
    "int8": ("int8_t", "I8"),
    "uint8": ("uint8_t", "U8"),
    "int16": ("int16_t", "I16"),
    "uint16": ("uint16_t", "U16"),
    "int32": ("int32_t", "I32"),
}


def _file_name(key):
    return key.replace("/", ".")


def identifier(key):
    """A C name for a key."""
    return "v_" + re.sub(r"\W", "_", key)


def _little(array):
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def is_inline(vectors):
    return sum(vector.array.size for vector in vectors) <= INLINE


@dataclass(frozen=True)
class Format:
    """A way of writing a kit: what writes it all, the suffix of an array's file, and the bytes that a number takes."""

    write: object  # (kit, folder) -> None
    suffix: str
    bytes_of: object = lambda size: size  # (bytes of the number) -> bytes in the file, about

    def file(self, key):
        return _file_name(key) + self.suffix

    def size(self, vectors):
        """Bytes of all the files, about."""
        return sum(v.array.size * self.bytes_of(v.array.itemsize) for v in vectors)


def _write_npy(kit, folder):
    for key, vector in kit.vectors.items():
        stream = io.BytesIO()  # NumPy itself does not say why a file cannot be written
        np.save(stream, _little(vector.array), allow_pickle=False)
        (folder / f"{_file_name(key)}.npy").write_bytes(stream.getvalue())


def _write_bin(kit, folder):
    for key, vector in kit.vectors.items():
        (folder / f"{_file_name(key)}.bin").write_bytes(_little(vector.array).tobytes())


def _write_hex(kit, folder):
    """One number a line, most significant digit first, as Verilog's $readmemh reads it."""
    for key, vector in kit.vectors.items():
        size = vector.array.itemsize
        words = _little(vector.array).reshape(-1).view(f"<u{size}")
        text = "\n".join(f"{word:0{2 * size}x}" for word in words.tolist())
        (folder / f"{_file_name(key)}.hex").write_text(text + "\n", "ascii")


def _write_c(kit, folder):
    """vectors.h with the tables, check.c, and the numbers: in headers if they are few, else in .bin files."""
    inline = is_inline(kit.vectors.values())
    if not inline:
        _write_bin(kit, folder)
    lines = [
        f"/* Test vectors of {kit.model}, {kit.dtype}; see manifest.json. */",
        "#ifndef VECTORS_H",
        "#define VECTORS_H",
        "",
    ]
    for key, vector in kit.vectors.items():
        if inline:
            (folder / f"{_file_name(key)}.h").write_text(_c_array(key, vector), "ascii")
            lines.append(f'#include "{_file_name(key)}.h"')
    lines += [*kit.c_tables(inline), "", "#endif"]
    (folder / "vectors.h").write_text("\n".join(lines) + "\n", "ascii")
    checker = importlib.resources.files(__package__) / kit.checker
    (folder / "check.c").write_bytes(checker.read_bytes())


def c_tables(tensors, steps):
    """The tables of tensors and steps that the checkers read, of their rows: lines of C."""
    return ["", "static const tensor tensors[] = {", *tensors, "};", "", "static const step steps[] = {", *steps, "};"]


def c_kind(vector):
    """The name that the checkers have for a vector's dtype."""
    return _C_TYPES[str(vector.array.dtype)][1]


def c_place(key, vector, inline):
    """Where the checkers find a vector: its file, and its array in a header or 0."""
    return f'"{_file_name(key)}.{"h" if inline else "bin"}"', identifier(key) if inline else "0"


def c_shape(array):
    return ", ".join(map(str, (*array.shape, 1, 1, 1, 1)[:4]))


def _c_array(key, vector):
    kind = _C_TYPES[str(vector.array.dtype)][0]
    flat = vector.array.reshape(-1)
    if kind == "float":
        numbers = c_floats(flat)
    else:
        numbers = _wrapped(str(n) for n in (flat.view(np.uint16) if kind == "uint16_t" else flat).tolist())
    shape = " x ".join(map(str, vector.array.shape))
    return f"/* {key}: {shape} */\nstatic const {kind} {identifier(key)}[{flat.size}] = {{\n{numbers}\n}};\n"


def c_floats(numbers):
    """Hexadecimal: exact."""
    return _wrapped(_c_float(float(n)) for n in numbers)


def _c_float(number):
    if math.isfinite(number):
        return f"{number.hex()}f"
    return "NAN" if math.isnan(number) else "INFINITY" if number > 0 else "-INFINITY"


def _wrapped(words, per_line=8):
    words = list(words)
    return ",\n".join(", ".join(words[i : i + per_line]) for i in range(0, len(words), per_line))


NAMES = ("npy", "bin", "c", "hex")
_FORMATS = {
    "npy": Format(_write_npy, ".npy"),
    "bin": Format(_write_bin, ".bin"),
    "hex": Format(_write_hex, ".hex", lambda size: 2 * size + 1),
    "c": Format(_write_c, ".bin"),
    "c inline": Format(_write_c, ".h", {4: 23, 2: 7, 1: 5}.get),
}


def pick_format(name, vectors):
    """The Format of that name for these vectors: C has few of them in its headers, and else in files."""
    return _FORMATS["c inline" if name == "c" and is_inline(vectors) else name]
