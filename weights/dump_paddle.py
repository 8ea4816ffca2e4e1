"""Dump a PaddleClas network's weights for npmnv3.

    python weights/dump_paddle.py ppcls/MobileNetV3_small_x0_35 MobileNetV3_small_x0_35_pretrained.pdparams OUT.h5

Needs paddlepaddle and h5py. For a network in memory pass `dump` its state_dict().
"""

import argparse
from pathlib import Path

import h5py
import numpy as np
import paddle


def dump(state, path, source, variant, **attributes):
    """Write a state dict as a dump: the lines to take along when the network is your own."""
    # a file holds one entry that is no array: a dict of paddle's internal names
    arrays = {name: np.asarray(tensor) for name, tensor in state.items() if name != "StructuredToParameterName@@"}
    if "fc.bias" not in arrays:
        raise SystemExit(f"no ppcls state dict: expected an entry fc.bias, found {list(arrays)[:6]}...")
    classes = len(arrays["fc.bias"])
    with h5py.File(path, "w", libver="earliest") as file:
        file.attrs.update(format="npmnv3-dump", version=1, source=source, variant=variant, num_classes=classes)
        file.attrs.update(attributes)
        for name, array in arrays.items():
            file.create_dataset(name, data=array, track_times=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="ppcls/VARIANT as npmnv3 names it, e.g. ppcls/MobileNetV3_small_x0_35")
    parser.add_argument("params", help="the .pdparams file")
    parser.add_argument("out", help="the dump to write")
    parser.add_argument("--licence", help="the licence of the weights, noted in the dump")
    args = parser.parse_args()

    source, _, variant = args.model.partition("/")
    if source != "ppcls" or not variant:
        parser.error(f"expected ppcls/VARIANT, found {args.model}")
    notes = {"licence": args.licence} if args.licence else {}
    dump(paddle.load(args.params, return_numpy=True), args.out, source, variant, origin=Path(args.params).name, **notes)


if __name__ == "__main__":
    main()
