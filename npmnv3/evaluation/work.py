"""What a worker does, in a thread here or on another machine: read a batch of pictures, decode, run the networks."""

import hashlib
import os
import platform
import threading
from dataclasses import dataclass, replace

import numpy as np

from ..dumps.labels import top_k
from ..dumps.registry import REGISTRY
from ..errors import PictureError, UsageError
from ..model import load
from ..pictures.recipes import preprocess
from .files import read_picture

TOP = 5


@dataclass(frozen=True)
class Network:
    """Which network to run; small enough to be sent anywhere.

    model : a model's name, or the path of a dump that says which it is
    weights : path of a dump, or None
    engine, kernels, weight_dtype : as for `npmnv3.load`
    title : what results call it; filled in by `identify`
    fingerprint : eight hexadecimal digits that stand for its very bits; filled in by `identify`
    """

    model: str
    weights: str | None = None
    engine: str = "auto"
    title: str = ""
    fingerprint: str = ""
    kernels: str | None = None
    weight_dtype: str = "float32"


_kept = {}  # {networks: their models}, the latest alone
_loading = threading.Lock()


def identify(networks):
    """Load networks and fill in what tells each from every other.

    Parameters
    ----------
    networks : sequence of Network or str

    Returns
    -------
    tuple of Network, with titles, fingerprints, absolute paths and the engine that was chosen

    Raises
    ------
    Npmnv3Error, as `npmnv3.load` does; UsageError if there is no network
    """
    networks = tuple(n if isinstance(n, Network) else Network(os.fspath(n)) for n in networks)
    if not networks:
        raise UsageError("no model to evaluate")
    models = tuple(_load(network) for network in networks)
    found = tuple(
        replace(
            network,
            model=network.model if _is_name(network) else os.path.abspath(network.model),
            weights=network.weights and os.path.abspath(network.weights),
            engine=network.engine if model.kernels else model.engine,  # which integers do not depend on
            kernels=model.kernels,
            title=title,
            fingerprint=fingerprint(model),
        )
        for network, model, title in zip(networks, models, _titles(networks, models))
    )
    with _loading:
        _keep(found, models)
    return found


def _is_name(network):
    return network.weights is not None or network.model in REGISTRY


def _not_usual(model):
    """What gives a model other logits than its weights give by default."""
    if model.kernels:
        return model.kernels
    return f"{model.weight_dtype} weights" if model.weight_dtype != "float32" else ""


def _titles(networks, models):
    """What results call the networks: by their weights' files too, or these by their paths, where names are the same."""
    names = [n.model if n.model in REGISTRY else model.name for n, model in zip(networks, models)]
    names = [f"{name} [{how}]" if (how := _not_usual(model)) else name for name, model in zip(names, models)]
    files = [n.weights if _is_name(n) else n.model for n in networks]

    def titles(written):
        return [
            f"{name} ({written(file)})" if file and names.count(name) > 1 else name for name, file in zip(names, files)
        ]

    brief = titles(os.path.basename)
    return brief if len(set(brief)) == len(brief) else titles(os.fspath)


def published(network, model):
    """(top-1, top-5) in percent as published for what is run, each None where nothing is."""
    entry = REGISTRY.get(network.model, model.variant and model.variant.published)
    return (entry.top1, entry.top5) if entry else (None, None)


def load_all(networks):
    """The models of identified networks, kept for the next batch.

    Raises
    ------
    UsageError
        Here a network gives other bits than where `identify` saw it: other weights, versions or kind of processor.
    """
    with _loading:
        if networks not in _kept:
            _keep(networks, tuple(_checked(network) for network in networks))
        return _kept[networks]


def _checked(network):
    model = _load(network)
    if network.fingerprint != fingerprint(model):
        raise UsageError(
            f"{network.title} gives other bits on {platform.node()} than on the machine that gives out the work; "
            f"all need the same weights file, versions of npmnv3 and its packages, and kind of processor"
        )
    return model


def _load(network):
    # One thread each: there are as many workers as cores.
    asked = {name: getattr(network, name) for name in ("engine", "kernels", "weight_dtype")}
    return load(network.model, network.weights, threads=1, **asked)


def _keep(networks, models):
    _kept.clear()
    _kept[networks] = models


def fingerprint(model):
    """Eight hexadecimal digits of a model: its logits for one fixed picture, its preprocessing and its classes.

    The logits' bits depend on every weight, on the engine, the decoder and the machine, and so do the results.
    """
    if model.preprocess is None:
        raise UsageError(f"{model.name}: nothing says how its pictures are prepared, so none can be evaluated")
    height, width = 300, 400
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    picture = preprocess(b"P6 %d %d 255\n" % (width, height) + noise.tobytes(), model.preprocess)
    digest = hashlib.sha256(model(picture[None]).tobytes())
    digest.update(repr((model.name, model.preprocess, model.labels)).encode())
    return digest.hexdigest()[:8]


def top_answers(networks, root, pictures):
    """The most probable classes of each picture by each network.

    Parameters
    ----------
    networks : tuple of Network
    root : folder that the pictures' names start from
    pictures : sequence of Picture

    Returns
    -------
    list, for each picture a list, for each network either a list of (class index, label, probability), the most
    probable first, or a str: why the picture cannot be used
    """
    return _answers(networks, root, pictures, lambda model, logits: top_k(logits, TOP, model.labels))


def both_logits(networks, root, pictures):
    """As `top_answers`, with the logits (classes,) in place of the most probable classes."""
    return _answers(networks, root, pictures, lambda model, logits: logits)


def _answers(networks, root, pictures, judge):
    """For each picture, for each network, what `judge` (model, logits of some pictures) says of it, or why nothing.

    A picture is decoded once for each recipe, whatever the number of models that share it.
    """
    models = load_all(networks)
    if not os.path.isdir(root):  # else all pictures would count as unreadable
        raise UsageError(f"{root}: no such folder on {platform.node()}, which has pictures of it to work on")
    answers = [[None] * len(models) for _ in pictures]
    for recipe in dict.fromkeys(model.preprocess for model in models):
        sharing = [number for number, model in enumerate(models) if model.preprocess == recipe]
        batch, readable = np.empty((len(pictures), len(recipe.channels), *recipe.side), np.float32), []
        for i, picture in enumerate(pictures):
            try:
                batch[len(readable)] = preprocess(read_picture(root, picture), recipe)
                readable.append(i)
            except PictureError as error:
                for number in sharing:  # in one line that says the same wherever the data lie
                    answers[i][number] = " ".join(str(error).split())
        if readable:
            for number in sharing:
                logits = models[number](batch[: len(readable)])
                for i, answer in zip(readable, judge(models[number], logits)):
                    answers[i][number] = answer
    return answers
