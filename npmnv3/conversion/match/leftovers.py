"""Entries beside the network: which of them are other modules' own affairs, and which would change the function."""

import functools
import re

# Parts of names of what stands beside a network while it is trained.
_BESIDE = set(
    "criterion criterions criteria loss losses lossfn metric metrics acc accuracy auroc f1 f1score precision recall "
    "confmat confusion normalize normalizer normalization preprocess preprocessing optimizer optimizers optim scheduler "
    "ema teacher swa queue centers center temperature augment augmentation augmentations total".split()
)
_NUMBERS = set("mean std pixel_mean pixel_std img_mean img_std class_weights class_weight pos_weight".split())
_PROFILER = ("total_ops", "total_params")  # buffers that a profiler leaves in every module
_SECONDARY = {"ema", "teacher", "swa", "averaged", "momentum", "shadow", "target", "k", "key", "old"}
_OF_NORMS = ("running_mean", "running_var", "_mean", "_variance", "moving_mean", "moving_variance", "gamma", "beta")
# What prepares pictures may be called so, but a norm layer, too: `batch_normalization`.
_PREPARES = {word for word in _BESIDE if word.startswith(("normaliz", "preprocess"))}
_CHANGES = {"temperature", "center"}  # of logits, and of pictures
_OF_LOSSES = ("class_weights", "class_weight", "pos_weight")
# What observers of quantisation leave in a module that is still in floats.
_OBSERVERS = ("activation_post_process", "weight_fake_quant", "fake_quant")


@functools.lru_cache(4096)  # every network asks after the same entries
def is_beside(name, shape, *, outside):
    """Whether an entry may be left out.

    Parameters
    ----------
    name : str
    shape : tuple
    outside : bool, it stands outside of the module that the network is in
    """
    module, _, last = name.replace("/", ".").rpartition(".")
    if last in _PROFILER or last.startswith("num_batches_tracked"):
        return True
    of_norm = last.partition(":")[0] in _OF_NORMS
    if not (_BESIDE - _PREPARES if of_norm else _BESIDE).isdisjoint(_words(module)):
        return True
    if any(part.startswith(_OBSERVERS) for part in name.split(".")):
        return True
    if last.startswith("ema_") or module.startswith("ema_"):  # mmcv's averages, beside what they are of
        return True
    if of_norm:
        return False
    if last in _NUMBERS and (not module or outside or not _BESIDE.isdisjoint(_words(module))):
        return True
    return outside and len(shape) <= 1 and last not in ("weight", "bias", "gamma", "beta", "kernel")


def may_be_used(name):
    """Whether an entry that may be left out may also change what the network computes: a temperature, a mean of pictures,
    a number that somebody's own module learnt."""
    module, _, last = name.replace("/", ".").rpartition(".")
    if last in _OF_LOSSES or last in _PROFILER or last.startswith(("num_batches_tracked", "ema_")):
        return False
    if module.startswith("ema_") or any(part.startswith(_OBSERVERS) for part in name.split(".")):
        return False
    return (_BESIDE - _PREPARES - _CHANGES).isdisjoint(_words(module))


def is_secondary(prefix):
    """Whether a prefix is that of an average or a teacher, which a file has beside the network itself."""
    return not _SECONDARY.isdisjoint(_words(prefix))


def _words(text):
    """`teacher_model.net2` -> teacher, model, net2, lossFn -> lossfn"""
    return {word.lower() for word in re.split(r"[._/]", text) if word}
