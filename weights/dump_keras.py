"""Dump a Keras network's weights for npmnv3.

    python weights/dump_keras.py keras/MobileNetV3Small OUT.h5                                  # ImageNet weights
    python weights/dump_keras.py keras/MobileNetV3Small OUT.h5 --weights F.h5 --num-classes 10  # your own

Needs keras 3 with any backend, and h5py. A dump has Keras 2's names, those of the published files ("Conv/kernel:0");
tf_keras and Keras 2 have them already: pass `dump` the dict {w.name: w.numpy() for w in model.weights}.
"""

import argparse
import re
from pathlib import Path

import h5py
import keras

WIDTHS = {"": 1.0, "_075": 0.75, "_minimalistic": 1.0}


def keras2_name(path):
    """The name that Keras 2 gave a weight of these networks: expanded_conv_1_expand_bn/gamma -> expanded_conv_1/..."""
    layer, _, weight = path.rpartition("/")
    layer = re.sub(r"_bn$", "/BatchNorm", layer)
    layer = re.sub(r"^(expanded_conv(?:_\d+)?)_([a-z])", r"\1/\2", layer)
    layer = layer.replace("squeeze_excite_conv", "squeeze_excite/Conv")
    layer = re.sub(r"^(conv|logits)\b|^conv(?=_)", lambda match: match[0].capitalize(), layer)
    return f"{layer}/{'depthwise_kernel' if layer.endswith('depthwise') else weight}:0"


def dump(arrays, path, variant, **attributes):
    """Write {Keras 2's name: array} as a dump: the lines to take along when the network is your own."""
    classes = len(arrays["Logits/bias:0"])
    with h5py.File(path, "w", libver="earliest") as file:
        file.attrs.update(format="npmnv3-dump", version=1, source="keras", variant=variant, num_classes=classes)
        file.attrs.update(attributes)
        for name, array in arrays.items():
            file.create_dataset(name, data=array, track_times=False)


def build(variant, weights, num_classes):
    """The network of keras.applications by npmnv3's name for it."""
    match = re.fullmatch(r"(MobileNetV3(?:Small|Large))(|_075|_minimalistic)", variant)
    if not match:
        raise SystemExit(f"expected MobileNetV3Small or ...Large, alone or with _075 or _minimalistic; found {variant}")
    network, kind = match.groups()
    return getattr(keras.applications, network)(
        alpha=WIDTHS[kind], minimalistic=kind == "_minimalistic", weights=weights, classes=num_classes
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="keras/VARIANT as npmnv3 names it, e.g. keras/MobileNetV3Small_075")
    parser.add_argument("out", help="the dump to write")
    parser.add_argument("--weights", default="imagenet", help="a weights file of Keras instead of the published one")
    parser.add_argument("--num-classes", type=int, default=1000)
    parser.add_argument("--licence", help="the licence of the weights, noted in the dump")
    args = parser.parse_args()

    source, _, variant = args.model.partition("/")
    if source != "keras":
        parser.error(f"expected keras/VARIANT, found {args.model}")
    model = build(variant, args.weights, args.num_classes)
    arrays = {keras2_name(weight.path): keras.ops.convert_to_numpy(weight) for weight in model.weights}
    notes = {"licence": args.licence} if args.licence else {}
    dump(arrays, args.out, variant, origin=f"Keras, weights {Path(args.weights).name}", **notes)


if __name__ == "__main__":
    main()
