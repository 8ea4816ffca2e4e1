"""Dump a PyTorch network's weights for npmnv3.

    python weights/dump_torch.py timm/mobilenetv3_small_100 OUT.h5                    # the published weights
    python weights/dump_torch.py timm/mobilenetv3_small_100 OUT.h5 --checkpoint F.pth # your own
    python weights/dump_torch.py sqlai/mobilenetv3_small OUT.h5 --checkpoint checkpoint-best.pth --key model_ema

Needs torch and h5py; for published weights also torchvision or timm. A checkpoint of any source is read as it is,
without the network's code.
"""

import argparse
from pathlib import Path

import h5py
import torch

LAST_BIAS = {  # the entry whose length is the number of classes
    "torchvision": "classifier.3.bias",
    "timm": "classifier.bias",
    "showlo": "classifier.1.bias",
    "sqlai": "linear4.bias",
}


def dump(state, path, source, variant, **attributes):
    """Write a state dict as a dump: the lines to take along when the network is your own."""
    if LAST_BIAS[source] not in state:
        raise SystemExit(f"no {source} state dict: expected an entry {LAST_BIAS[source]}, found {list(state)[:6]}...")
    arrays = {name: tensor.cpu().numpy() for name, tensor in state.items()}
    classes = len(arrays[LAST_BIAS[source]])
    with h5py.File(path, "w", libver="earliest") as file:
        file.attrs.update(format="npmnv3-dump", version=1, source=source, variant=variant, num_classes=classes)
        file.attrs.update(attributes)
        for name, array in arrays.items():
            file.create_dataset(name, data=array, track_times=False)


def published(source, variant):
    """The state dict of the weights that the table's row measures; its package downloads them."""
    if source == "torchvision":
        from torchvision.models import get_model

        return get_model(variant, weights="IMAGENET1K_V1").state_dict()
    if source == "timm":
        import timm

        return timm.create_model(variant, pretrained=True).state_dict()
    raise SystemExit(f"{source} is no package: give its published file with --checkpoint")


def read(path, key):
    """The state dict in a checkpoint: the file's own, or the one under `key` in what a training loop saved."""
    with torch.serialization.safe_globals([argparse.Namespace]):  # the options that such a loop saves beside it
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    if key and key not in checkpoint:
        raise SystemExit(f"{path} has no entry {key}, only {list(checkpoint)[:6]}...")
    state = checkpoint[key] if key else checkpoint
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}  # DataParallel's prefix


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="SOURCE/VARIANT as npmnv3 names it, e.g. torchvision/mobilenet_v3_small")
    parser.add_argument("out", help="the dump to write")
    parser.add_argument("--checkpoint", help="a .pth file instead of the published weights")
    parser.add_argument("--key", help="the entry of the checkpoint that holds the state dict, e.g. model or model_ema")
    parser.add_argument("--licence", help="the licence of the weights, noted in the dump")
    args = parser.parse_args()

    source, _, variant = args.model.partition("/")
    if source not in LAST_BIAS or not variant:
        parser.error(f"expected SOURCE/VARIANT with a source of {', '.join(LAST_BIAS)}; found {args.model}")
    state = read(args.checkpoint, args.key) if args.checkpoint else published(source, variant)
    origin = Path(args.checkpoint).name if args.checkpoint else f"{source}, its published weights"
    notes = {"licence": args.licence} if args.licence else {}
    dump(state, args.out, source, variant, origin=origin, **notes)


if __name__ == "__main__":
    main()
