"""A file's card, in it or in config.json beside it: which network it is, how pictures are prepared, names of classes."""

import contextlib
import json
import os

from ...dumps.reader import Reader
from ...errors import UsageError, WeightsError
from ...network.spec import Preprocess
from ...pictures.recipes import find_recipe

NAME = "config.json"
MAX_BYTES = 4 << 20
_FITS = {"center": "short", "squash": "squash"}


def read_card(path):
    """What is written beside a file.

    Parameters
    ----------
    path : str, of the checkpoint

    Returns
    -------
    (claims, card) as `Checkpoint` has them; both empty where there is no such file, or it is another program's

    Raises
    ------
    WeightsError
        It says how pictures are prepared, but in a way that cannot be followed.
    """
    beside = os.path.join(os.path.dirname(path), NAME)
    if not os.path.isfile(beside):
        return (), {}
    with Reader(beside) as reader:
        if reader.size > MAX_BYTES:
            return (), {}
        try:
            config = json.loads(reader.read())
        except (ValueError, RecursionError):
            return (), {}
    named = config.get("architecture") if isinstance(config, dict) else None
    if not isinstance(named, str):
        return (), {}
    card, cfg = {}, config.get("pretrained_cfg")
    try:
        if isinstance(cfg, dict) and {"mean", "std", "input_size"} <= cfg.keys():
            card["preprocess"] = _preprocess(named, cfg)
        card |= _labels(config.get("label_names") or (isinstance(cfg, dict) and cfg.get("label_names")))
    except (TypeError, ValueError, KeyError, ZeroDivisionError, OverflowError) as error:
        raise WeightsError(
            f"{NAME} beside it has a pretrained_cfg that is none ({type(error).__name__}: {error})"
        ) from error
    return ((f"{NAME} beside it", named[:100]),), card


def exported_card(metadata):
    """The card, as `Checkpoint` has it, of the metadata {key: text} that npmnv3's own ONNX files have."""
    if not {"source", "variant"} <= metadata.keys():
        return {}
    card = {"licence": metadata["licence"]} if metadata.get("licence") else {}
    with contextlib.suppress(ValueError, TypeError, AttributeError, RecursionError, UsageError):
        card |= _labels(json.loads(metadata.get("labels", "null")))
        fields = json.loads(metadata.get("preprocess", "null"))
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
        card["preprocess"] = find_recipe(Preprocess(**values))
    return card


def _labels(labels):
    """The card's part on names of classes, empty where these are none."""
    names = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    return {"labels": tuple(labels)} if names else {}


def _preprocess(name, cfg):
    """timm's settings as a recipe. Source: timm 1.0, data/transforms_factory.py, transforms_imagenet_eval."""
    planes, *side = (int(n) for n in cfg["input_size"])
    fit = _FITS.get(cfg.get("crop_mode") or "center")
    interpolation = cfg.get("interpolation") or "bilinear"
    if fit is None or interpolation not in ("bilinear", "bicubic") or len(side) != 2 or side[0] != side[1]:
        raise WeightsError(
            f"{NAME} beside it prepares pictures as is not done here: interpolation {interpolation!r}, crop_mode "
            f"{cfg.get('crop_mode')!r}, input_size {cfg['input_size']}"
        )
    mean, std = (tuple(float(n) for n in cfg[key])[:planes] for key in ("mean", "std"))
    return Preprocess(
        name[:100],
        fit=fit,
        resize=int(side[0] / float(cfg.get("crop_pct") or 0.875)),
        side=tuple(side),
        interpolation=interpolation,
        mean=mean,
        std=std,
        channels="RGB" if planes == 3 else "L",
    )
