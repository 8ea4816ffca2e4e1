"""Inject every fault into ports of many networks and print how many are named right: a table in Markdown.

    PYTHONPATH=. python tests/fault_suite.py [MODEL ...] [--only FAULT,...]
"""

import argparse
import collections
import sys
import time

import faulty_ports
import goldens
import numpy as np

import npmnv3
from npmnv3.verification.run import verify

MODELS = (
    "torchvision/mobilenet_v3_small", "torchvision/mobilenet_v3_large", "timm/mobilenetv3_rw", "timm/mobilenetv3_small_100",
    "ppcls/MobileNetV3_small_x1_0", "ppcls/MobileNetV3_large_x0_5", "showlo/mobilenetv3_small", "sqlai/mobilenetv3_small",
)  # fmt: skip
#: how a port hands its tensors over: (name, share of tensors kept, names kept, layout)
DISGUISES = (
    ("all tensors", 1.0, True, "nchw"), ("60%, other names", 0.6, False, "nhwc"), ("25%, other names", 0.25, False, "nchw"),
    ("logits alone", 0.0, False, "nchw"),
)  # fmt: skip
#: What cannot be told apart is right under either name. An input of bytes overflows float16: where all that is left of
#: that are logits of NaN, "overflow" is all that can be said.
SAME = {("other_source", "padding"), ("other_source", "norm_eps"), ("input_scale", "overflow")}


def picture():
    """A collage of the golden photographs, (448, 672, 3) uint8: large enough that ways of resizing differ."""
    import h5py

    with h5py.File(goldens.CUT / "inputs.h5") as file:
        a, b, c = file["crop224"][:3]
    return np.concatenate([np.concatenate(row, axis=1) for row in ((a, b, c), (c, a, b))])


def cases(model, picture):
    maker = faulty_ports.Maker(model, picture)
    return maker, {("", "clean"): maker.clean, **maker.faults()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--only", default="")
    parser.add_argument("--disguise", type=int, nargs="*")
    parser.add_argument("--rounding", choices=("float32", "float16"), nargs="*", default=("float32", "float16"))
    args = parser.parse_args()
    photo, right, all_ = picture(), collections.Counter(), collections.Counter()
    for model in args.models:
        maker, ports = cases(model, photo)
        reference = npmnv3.load(model, maker.state, engine="numpy")
        rng = np.random.default_rng(1)
        for rounding in args.rounding:
            for (fault, what), make in ports.items():
                if args.only and fault not in args.only.split(","):
                    continue
                tensors = make(faulty_ports.half if rounding == "float16" else np.float32)
                for i, (name, keep, names, layout) in enumerate(DISGUISES):
                    if args.disguise and i not in args.disguise:
                        continue
                    port = faulty_ports.disguise(tensors, maker.plan, rng, keep=keep, names=names, layout=layout)
                    if (
                        fault == "overflow"
                        and "blocks.4.depthwise" not in port
                        and not any(np.isinf(t).any() for t in port.values())
                    ):
                        continue  # the only tensor that shows it is lost
                    start = time.process_time()
                    report = verify(reference, port, photo)
                    found = report.explained_by[0]["fault"] if report.explained_by else ""
                    ok = report.fine if not fault else found == fault or (fault, found) in SAME
                    right[fault, name, rounding] += ok
                    all_[fault, name, rounding] += 1
                    if not ok:
                        print(
                            f"{model} {rounding} {fault}: {what}, {name} ({len(port)}): {report.sentence[:300]} [{time.process_time() - start:.0f} s]",
                            file=sys.stderr,
                            flush=True,
                        )
    columns = [(name, rounding) for name, *_ in DISGUISES for rounding in args.rounding]
    print("| fault |" + "".join(f" {name}, {rounding} |" for name, rounding in columns))
    print("|:--|" + "--:|" * len(columns))
    for fault in sorted({key[0] for key in all_}):
        print(
            f"| {fault or 'clean: no false alarm'} |"
            + "".join(f" {right[(fault, *c)]} of {all_[(fault, *c)]} |" for c in columns)
        )
    print(
        "| all |"
        + "".join(
            f" {sum(v for k, v in right.items() if k[1:] == c)} of {sum(v for k, v in all_.items() if k[1:] == c)} |"
            for c in columns
        )
    )


if __name__ == "__main__":
    main()
