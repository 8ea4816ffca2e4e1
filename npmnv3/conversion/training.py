"""What a training program kept beside its network: the names of its classes, and how it prepared pictures."""

import math
from dataclasses import replace

from ..dumps.labels import label_set
from ..pictures.recipes import RECIPES, for_planes

_SIZES = ("img_size", "image_size", "input_size", "crop_size", "val_crop_size")
_RESIZES = ("resize_size", "val_resize_size")
# What these programs keep, all of it, whether it was given to them or not.
_TIMM = {"input_size", "crop_pct", "interpolation", "mean", "std"}  # timm's train.py, and its pretrained_cfg
_TORCHVISION = {"val_crop_size", "val_resize_size", "interpolation"}  # torchvision's references/classification
LARGEST = 1 << 14  # pixels of a side
_SHOWN = 3  # names of classes in a sentence
_CLOSE = 2e-3  # between means, deviations and shares that are written with fewer digits


def class_names(checkpoint, num_classes):
    """(tuple of the classes' names, or None; notes). None are taken that are too few or many, or of which there are two;
    ImageNet's own have names that say more than the ids of its folders."""
    found = {}
    for where, value in checkpoint.settings:
        names = _names(value) if _last(where) not in _PREPARING else ()
        if names:
            found.setdefault(names, where)
    fitting = [names for names in found if len(names) == num_classes]
    if fitting == [tuple(label.synset for label in label_set("imagenet"))]:
        return None, (f"{found[fitting[0]]} names ImageNet's classes by their synset ids",)
    if len(fitting) == 1:
        shown = ", ".join(repr(name[:40]) for name in fitting[0][:_SHOWN]) + (", ..." if num_classes > _SHOWN else "")
        return fitting[0], (f"{found[fitting[0]]} names the classes: {shown}",)
    if fitting:
        return None, (f"{' and '.join(found[names] for names in fitting)} name the classes differently: none is taken",)
    return None, tuple(
        f"{where} has {len(names)} names for {num_classes} classes: not taken" for names, where in found.items()
    )


def preparation(checkpoint, variant):
    """(Preprocess, or None for the network's usual one; notes; warnings), by what the training program was set to."""
    usual = for_planes(RECIPES[variant.preprocess], variant.in_channels)
    said = [(where, value) for where, value in checkpoint.settings if _differs(_last(where), value, usual)]
    if not said or "preprocess" in checkpoint.card:
        return None, (), ()
    listed = ", ".join(f"{where} {value!r:.60}" for where, value in said[:6])
    kept = {_last(where) for where, _ in checkpoint.settings}
    own = {_last(where): value for where, value in said}
    recipe = None
    if kept >= _TIMM and variant.source.name == "timm":
        recipe = _timms(own, usual)
    elif kept >= _TORCHVISION and variant.source.name == "torchvision":
        recipe = _torchvisions(own, usual)
    if recipe is not None and all(side <= recipe.resize < LARGEST for side in recipe.side):
        return recipe, (f"pictures are prepared as the file says: {listed}",), ()
    warning = (
        f"the file says {listed}, but the dump prepares pictures by the recipe {usual.name} ({usual.side[0]}x{usual.side[1]}, "
        f"mean {usual.mean}, deviation {usual.std}): where that is not the network's, give the dump another `preprocess`"
    )
    return None, (), (warning,)


def _timms(own, usual):
    """timm's recipe with what its train.py was given, None where that is another's. Source: timm 1.0, data/config.py,
    resolve_data_config."""
    side = _side(own.get("img_size") or own.get("input_size")) or usual.side
    share = own.get("crop_pct") or usual.side[0] / usual.resize
    way = own.get("interpolation") or usual.interpolation
    if side[0] != side[1] or way not in ("bilinear", "bicubic"):
        return None
    mean, std = (
        _spread(own[name], len(usual.mean)) if name in own else getattr(usual, name) for name in ("mean", "std")
    )
    if max(mean) > 1 or not min(std):
        return None
    resize = math.floor(side[0] / share + 1e-9)
    return replace(
        usual, name="timm, as the file says", side=side, resize=resize, interpolation=way, mean=mean, std=std
    )


def _torchvisions(own, usual):
    """torchvision's recipe with what its references' train.py was given, None where that is another's."""
    way = own.get("interpolation", usual.interpolation)
    if way not in ("bilinear", "bicubic") or own.keys() - _TORCHVISION:
        return None
    side, resize = _side(own.get("val_crop_size")) or usual.side, own.get("val_resize_size", usual.resize)
    if type(resize) is not int:
        return None
    return replace(usual, name="torchvision, as the file says", side=side, resize=resize, interpolation=way)


def _differs(name, value, usual):
    """Whether a setting is one of how pictures are prepared, and another than the usual one."""
    if name in ("mean", "std"):
        numbers = _spread(value, len(usual.mean))
        scale = 255 if numbers and max(numbers) > 1 else 1
        return bool(numbers) and any(abs(a / scale - b) > _CLOSE for a, b in zip(numbers, getattr(usual, name)))
    if name in _SIZES:
        return _side(value) not in (None, usual.side)
    if name in _RESIZES:
        return _is_number(value) and value != usual.resize
    if name == "crop_pct":
        return _is_number(value) and abs(value - usual.side[0] / usual.resize) > _CLOSE
    return name == "interpolation" and value in ("bilinear", "bicubic") and value not in _WAYS[usual.interpolation]


_PREPARING = {*_SIZES, *_RESIZES, *_TIMM, *_TORCHVISION}
_WAYS = {"bilinear": ("bilinear",), "bicubic": ("bicubic",), "cv2_linear": ("bilinear",)}


def _names(value):
    """Names of classes in their order, () where the value has none: a list, {name: index} or {index: name}."""
    if isinstance(value, dict):
        pairs = [
            (key, index) if isinstance(key, str) and type(index) is int else (index, key)
            for key, index in value.items()
        ]
        by_index = {int(index): name for name, index in pairs if str(index).isdecimal() and len(str(index)) < 9}
        value = [by_index.get(i) for i in range(len(value))]
    is_list = isinstance(value, (list, tuple)) and value and all(isinstance(name, str) and name for name in value)
    return tuple(value) if is_list else ()


def _side(value):
    """(height, width) of a size as programs keep it: one number, two, or planes and two; None where it is none of these."""
    sides = (value, value) if _is_number(value) else tuple(value)[-2:] if isinstance(value, (list, tuple)) else ()
    whole = len(sides) == 2 and all(type(side) is int and 1 < side < LARGEST for side in sides)
    return sides if whole else None


def _spread(value, planes):
    """As many numbers, none negative, as there are planes, () where there are others."""
    numbers = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not all(number == 0 or _is_number(number) for number in numbers):
        return ()
    return numbers * planes if len(numbers) == 1 else numbers if len(numbers) == planes else ()


def _is_number(value):
    return type(value) in (int, float) and 0 < value < math.inf


def _last(where):
    return where.rpartition(".")[2]
