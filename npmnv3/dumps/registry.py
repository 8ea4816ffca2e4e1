"""Every published checkpoint of the known networks: where it lies, how it is checked, what it is good for.

The rows' own files stand in `variants`; here are the further ones. `weights/registry.csv` is the same as a table for
other programs, written by

    python -m npmnv3.dumps.registry > weights/registry.csv
"""

import atexit
import contextlib
import functools
from dataclasses import asdict
from typing import NamedTuple

from ..errors import UnknownModelError
from ..network.counts import plan_counts
from ..network.plan import make_plan
from ..network.spec import Preprocess
from ..network.variants import DEFAULT_MODEL, get_variant, list_models, nearest_names
from .folders import dump_stem

COLUMNS = ("model", "tag", "url", "file", "size", "sha256", "md5", "licence", "preprocess", "top1", "top5")


class PublishedFile(NamedTuple):
    """One published set of weights; its name is `source/variant`, or `source/variant@tag` for a further one."""

    model: str  # source/variant
    tag: str = ""  # of a network's further weights, beside its row's
    url: str = ""  # "": ships with npmnv3
    size: int | None = None  # bytes, where known
    sha256: str = ""  # of the file: whole, or its start where the file's name holds that, or "" where none is published
    md5: str = ""  # where the publisher's code holds it
    shipped_as: str = ""  # name of the dump in weights/
    preprocess: Preprocess | None = None  # None: the network's own
    top1: float | None = None  # percent, ImageNet-1k validation, as published
    top5: float | None = None

    @property
    def name(self):
        return f"{self.model}@{self.tag}" if self.tag else self.model

    @property
    def file(self):
        return self.shipped_as or self.url.rpartition("/")[2]

    @property
    def licence(self):
        return get_variant(self.model).source.licence

    @property
    def dump_name(self):
        """The file name of its dump."""
        return dump_stem(self.name) + ".h5"

    @property
    def about_bytes(self):
        """How large the published file is, as nearly as is known: it holds little but the network's numbers."""
        if self.size is not None:
            return self.size
        variant = get_variant(self.model)
        return 4 * plan_counts(make_plan(variant), variant.source).entries

    def row(self):
        """Its line of the table: {column: text}."""
        variant = get_variant(self.model)
        values = {column: getattr(self, column) for column in COLUMNS}
        values["preprocess"] = preprocess_text(self.preprocess) if self.preprocess else variant.preprocess
        return {column: "" if value is None else str(value) for column, value in values.items()}


def preprocess_text(recipe):
    """A recipe as a dump's attribute: JSON of its name and the fields that are not the default."""
    import json

    usual = asdict(Preprocess(recipe.name))
    return json.dumps({key: value for key, value in asdict(recipe).items() if key == "name" or value != usual[key]})


def _beside(model, file):
    """The URL of a file that is published in the same place as a row's own."""
    return get_variant(model).checkpoint.url.rpartition("/")[0] + "/" + file


_TV_LARGE, _TIMM_LARGE = "torchvision/mobilenet_v3_large", "timm/mobilenetv3_large_100"
_SQLAI_SMALL, _SQLAI_LARGE = "sqlai/mobilenetv3_small", "sqlai/mobilenetv3_large"

EXTRAS = (
    PublishedFile(
        _TV_LARGE,
        "V2",
        _beside(_TV_LARGE, "mobilenet_v3_large-5c1a4163.pth"),
        sha256="5c1a4163",
        preprocess=Preprocess("torchvision-V2", resize=232),
        top1=75.274,
        top5=92.566,
    ),
    PublishedFile(
        _TIMM_LARGE,
        "miil",
        "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-tresnet/"
        "mobilenetv3_large_100_1k_miil_78_0-66471c13.pth",
        sha256="66471c13",
        preprocess=Preprocess("timm-miil", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        top1=77.92,
    ),
    # Trained for 300 epochs; the rows' own for 450.
    PublishedFile(_SQLAI_SMALL, "300", _beside(_SQLAI_SMALL, "300_act3_mobilenetv3_small.pth")),
    PublishedFile(_SQLAI_LARGE, "300", _beside(_SQLAI_LARGE, "300_act3_mobilenetv3_large.pth")),
    PublishedFile(
        DEFAULT_MODEL,
        shipped_as="ppocr--text_direction.h5",
        size=560472,
        sha256="4eaa19c55d9dbb3a33e456c41530d77a70ac56877d8c79f18ae0a6bcd9f6c56a",
    ),
)


def _checkpoint_file(model):
    """A row's own file."""
    variant = get_variant(model)
    checkpoint, figures = variant.checkpoint, variant.published
    return PublishedFile(
        model,
        url=checkpoint.url,
        sha256=checkpoint.sha256_prefix,
        md5=checkpoint.md5,
        top1=figures.top1,
        top5=figures.top5,
    )


REGISTRY = {
    entry.name: entry
    for model in list_models()
    for entry in (
        *([_checkpoint_file(model)] if get_variant(model).checkpoint else []),
        *(extra for extra in EXTRAS if extra.model == model),
    )
}


def list_published(pattern="*"):
    """Names of the published checkpoints, in the table's order.

    Parameters
    ----------
    pattern : str, shell-style wildcards, matched against the whole name without regard to case ("*@*": further ones)

    Returns
    -------
    list of str, empty if nothing matches
    """
    import fnmatch

    return [name for name in REGISTRY if fnmatch.fnmatchcase(name.lower(), str(pattern).lower())]


def find_published(name):
    """The published checkpoint of this name, or UnknownModelError with the nearest names."""
    if isinstance(name, str) and name in REGISTRY:
        return REGISTRY[name]
    near = nearest_names(str(name), REGISTRY)
    hint = f"nearest: {', '.join(near)}" if near else "`npmnv3 fetch --list` prints them all"
    raise UnknownModelError(f"no published checkpoint is called {name!r}; {hint}")


def shipped_dump(entry):
    """The path of the dump that came with npmnv3, or None."""
    from importlib import resources  # slow to import, as `pathlib` is, and weights of one's own do without
    from pathlib import Path

    package = resources.files("npmnv3")
    beside = package.parent if isinstance(package, Path) else package  # a package in a zip has no such view of itself
    for place in (package / "weights", beside / "weights"):  # installed, or in a clone
        if (dump := place / entry.dump_name).is_file():
            return dump if isinstance(dump, Path) else _unpacked(dump)
    return None


@functools.cache
def _unpacked(resource):
    """A file of a package in a zip as one on the disk, until the process ends."""
    from importlib import resources

    keep = contextlib.ExitStack()
    atexit.register(keep.close)
    return keep.enter_context(resources.as_file(resource))


def table():
    """The registry as the text of weights/registry.csv."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(entry.row() for entry in REGISTRY.values())
    return out.getvalue()


if __name__ == "__main__":
    print(table(), end="")
