"""Run the compiled engines, and compare them with the golden rows and with themselves.

    python check_engines.py [NETWORK...]

Needs NumPy, h5py, pillow, tqdm, llvmlite and numba. Prints a table: for each network and engine the largest error of its
logits. Exit code 1 if one is out of the goldens' bounds, or if the engine llvm gives other bits in a batch than alone,
with several threads than with one, or from call to call.
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

import goldens
import numpy as np

import npmnv3
from npmnv3.engines.llvm import engine as llvm_engine
from npmnv3.engines.llvm.compiler import library

#: The small ones of each source's kind: with and without squeeze-and-excitation, 5 x 5 kernels, other paddings, the gates
#: of both slopes; half vectors of channels.
NETWORKS = (
    "torchvision/mobilenet_v3_small",
    "timm/mobilenetv3_small_050",
    "ppcls/MobileNetV3_small_x0_35",
    "keras/MobileNetV3Small_minimalistic",
    "ppocr/text_direction",
)

THREADS = (1, 2, 3)

#: Times that threads share a small picture.
CALLS = 100


def golden_row(network):
    """(arguments for npmnv3.load, pictures, their logits in float64)."""
    if network != "ppocr/text_direction":
        logits = goldens.logits(network)
        return (network, goldens.state(network)), goldens.inputs(), logits.get("exact", logits["f64"])
    folder = goldens.CUT / "ppocr_cls"
    expected = json.loads((folder / "expected.json").read_text())["expected"]
    pictures = np.stack([npmnv3.preprocess(folder / name, "ppocr") for name in expected])
    return (network,), pictures, np.array([golden["logits_f64"] for golden in expected.values()])


def judge(found, golden, dtype):
    """(a table's cell, whether all is well)."""
    error = np.abs(found - golden)
    well = bool((error <= goldens.bounds(golden, dtype)).all())
    return f"{error.max():.1e}" if well else f"WRONG: off by {error.max():.3g}", well


def same_bits(load, x):
    """(a table's cell, whether all is well) of batches, threads, and many calls."""
    networks = {threads: load(threads) for threads in THREADS}
    whole, small = networks[1](x), np.ascontiguousarray(x[-1:, :, :48, :48])
    alone = networks[1](small)
    for threads, network in networks.items():
        if not np.array_equal(network(x), whole):
            return f"WRONG: other bits with {threads} threads", False
        if not np.array_equal(np.concatenate([network(x[i : i + 1]) for i in range(len(x))]), whole):
            return f"WRONG: other bits one by one, with {threads} threads", False
        others = sum(not np.array_equal(network(small), alone) for _ in range(CALLS if threads > 1 else 1))
        if others:
            return f"WRONG: other bits in {others} of {CALLS} calls with {threads} threads", False
    return "the same", True


def row(network):
    """(a table's cells, whether all is well) of one network."""
    args, x, golden = golden_row(network)
    results = [judge(npmnv3.load(*args, engine="llvm", threads=1)(x), golden, "float32")]
    results.append(same_bits(lambda threads: npmnv3.load(*args, engine="llvm", threads=threads), x))
    for dtype in ("float32", "float64"):
        results.append(judge(npmnv3.load(*args, engine="numba", dtype=dtype)(x), golden, dtype))
    return [cell for cell, _ in results], all(well for _, well in results)


def main(*networks):
    llvm_engine.SHARED_MACS = 0  # threads share every picture, be it never so small,
    llvm_engine.TEAM.learn = lambda stalled: None  # and go on to when they hold each other up, as emulated ones will
    machine = library().machine
    print(
        f"Engines on LLVM's {library().processor!r}: {machine.width} floats in a vector, {machine.registers} registers"
    )
    print("| network | llvm | its bits by batch, threads, call | numba float32 | numba float64 |")
    print("|:--|--:|:--|--:|--:|")
    wrong = False
    for network in networks or NETWORKS:
        cells, well = row(network)
        print(f"| {' | '.join([network, *cells])} |", flush=True)
        wrong |= not well
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
