"""Inject every fault into ports of many networks and print how many are named right: a table in Markdown.

    PYTHONPATH=.:tests/helpers python tests/verification/fault_suite.py [MODEL ...] [--only FAULT,...] [--share 0.25]

Every port comes in float32 and float16 and in four disguises; a share of them is drawn if all take too long. With
`--results FILE` every outcome is a line of that file once it is known, and a run that was broken off goes on from there.
"""

import argparse
import collections
import itertools
import json
import pathlib
import sys
import time

import faulty_ports
import goldens
import numpy as np

import npmnv3
from npmnv3.verification.run import verify

MODELS = (
    "torchvision/mobilenet_v3_small",
    "torchvision/mobilenet_v3_large",
    "timm/mobilenetv3_rw",
    "timm/mobilenetv3_small_100",
    "ppcls/MobileNetV3_small_x1_0",
    "ppcls/MobileNetV3_large_x0_5",
    "showlo/mobilenetv3_small",
    "sqlai/mobilenetv3_small",
)
#: how a port hands its tensors over: (name, share of tensors kept, names kept, layout)
DISGUISES = (
    ("all tensors", 1.0, True, "nchw"),
    ("60%, other names", 0.6, False, "nhwc"),
    ("25%, other names", 0.25, False, "nchw"),
    ("logits alone", 0.0, False, "nchw"),
)
#: What cannot be told apart is right under either name. An input of bytes overflows float16: where all that is left of
#: that are logits of NaN, "overflow" is all that can be said.
SAME = {("other_source", "padding"), ("other_source", "norm_eps"), ("input_scale", "overflow")}


def picture():
    """A collage of the golden photographs, (448, 672, 3) uint8: large enough that ways of resizing differ."""
    import h5py

    with h5py.File(goldens.CUT / "inputs.h5") as file:
        a, b, c = file["crop224"][:3]
    return np.concatenate([np.concatenate(row, axis=1) for row in ((a, b, c), (c, a, b))])


ROUNDINGS = {"float32": np.float32, "float16": faulty_ports.half}


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--only", default="", metavar="FAULT,...", help="these faults; 'clean' for the clean ports")
    parser.add_argument("--share", type=float, default=1.0, help="of the cases, drawn at random (default all)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--results", type=pathlib.Path, metavar="FILE", help="outcomes, a line of JSON each; kept, and gone on from"
    )
    return parser.parse_args()


def ports(maker, args, rng):
    """(fault, what is wrong, disguise's name, rounding, the port's tensors) one after another."""
    makers = {("clean", ""): maker.clean, **maker.faults()}
    for ((fault, what), make), rounding in itertools.product(makers.items(), ROUNDINGS):
        if args.only and fault not in args.only.split(","):
            continue
        drawn = [disguise for disguise in DISGUISES if rng.random() < args.share]
        tensors = make(ROUNDINGS[rounding]) if drawn else {}
        for name, keep, names, layout in drawn:
            port = faulty_ports.disguise(tensors, maker.plan, rng, keep=keep, names=names, layout=layout)
            if not is_hidden(fault, port):
                yield fault, what, name, rounding, port


def is_hidden(fault, port):
    """Whether the only tensor that shows the fault is lost."""
    return fault == "overflow" and not any(np.isinf(tensor).any() for tensor in port.values())


def is_right(fault, report):
    if fault == "clean":
        return report.fine
    found = report.explained_by[0]["fault"] if report.explained_by else ""
    return found == fault or (fault, found) in SAME


def table(right, counted):
    """Markdown: a row a fault, a column a disguise and rounding."""
    columns = [(name, rounding) for name, *_ in DISGUISES for rounding in ROUNDINGS]
    yield "| fault |" + "".join(f" {name}, {rounding} |" for name, rounding in columns) + " all |"
    yield "|:--|" + "--:|" * (len(columns) + 1)
    faults = sorted({fault for fault, *_ in counted}, key=lambda fault: (fault == "clean", fault))
    for fault in (*faults, "all"):
        own = [key for key in counted if fault in (key[0], "all")]
        cells = [[k for k in own if k[1:] == column] for column in columns] + [own]
        sums = [(sum(right[k] for k in keys), sum(counted[k] for k in keys)) for keys in cells]
        yield f"| {fault} |" + "".join(f" {a} of {b} |" if b else " - |" for a, b in sums)


def outcome(reference, photo, fault, what, port):
    """A port's outcome, as a dictionary of what the table and a reader need."""
    start = time.process_time()
    report = verify(reference, port, photo)
    told = f"{what} ({len(port)} tensors): {report.sentence[:300]} [{time.process_time() - start:.0f} s]"
    return {"right": bool(is_right(fault, report)), "told": told}


def outcomes(args):
    """((model, fault, what, disguise, rounding), its outcome) of every case, known ones as the file has them."""
    known = {}
    if args.results and args.results.exists():
        known = {tuple(case): result for case, result in map(json.loads, args.results.read_text().splitlines())}
    photo = picture()
    for model in args.models:
        maker = faulty_ports.Maker(model, photo)
        reference = npmnv3.load(model, maker.state, engine="numpy")
        for fault, what, name, rounding, port in ports(maker, args, np.random.default_rng(args.seed)):
            case = (model, fault, what, name, rounding)
            if case not in known:
                known[case] = outcome(reference, photo, fault, what, port)
                if args.results:
                    with args.results.open("a") as file:
                        print(json.dumps([case, known[case]]), file=file)
            yield case, known[case]


def main():
    right, counted = collections.Counter(), collections.Counter()
    for (model, fault, _, name, rounding), result in outcomes(arguments()):
        right[fault, name, rounding] += result["right"]
        counted[fault, name, rounding] += 1
        if not result["right"]:
            print(f"{model} {rounding} {fault}, {name}: {result['told']}", file=sys.stderr, flush=True)
    print("\n".join(table(right, counted)))


if __name__ == "__main__":
    main()
