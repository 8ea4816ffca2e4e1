"""The registry of published checkpoints, and the table made of it."""

import csv
import hashlib
import re

import goldens
import pytest

from npmnv3.dumps.registry import COLUMNS, EXTRAS, REGISTRY, find_published, list_published, shipped_dump, table
from npmnv3.errors import UnknownModelError
from npmnv3.network.variants import TABLE, get_variant, list_models
from npmnv3.pictures.recipes import RECIPES, find_recipe

FILE = goldens.ROOT / "weights" / "registry.csv"


def test_the_table_is_what_the_code_says():
    assert FILE.read_text("utf-8") == table(), "run: python -m npmnv3.dumps.registry > weights/registry.csv"


def test_every_network_is_there():
    models = [entry.model for entry in REGISTRY.values()]
    published = [name for name in list_models() if get_variant(name).checkpoint or name.startswith("ppocr/")]
    assert list(dict.fromkeys(models)) == published
    assert [entry.name for entry in REGISTRY.values() if entry.tag] == [extra.name for extra in EXTRAS if extra.tag]
    assert len(REGISTRY) == len(TABLE) + 6 + 6 + len(EXTRAS)


@pytest.mark.parametrize("entry", REGISTRY.values(), ids=REGISTRY)
def test_entry(entry):
    assert re.fullmatch(r"https://[!-~]+", entry.url) or entry.shipped_as and not entry.url
    assert entry.licence and entry.file and "/" not in entry.file
    assert re.fullmatch(r"([0-9a-f]{8}|[0-9a-f]{64})?", entry.sha256) and re.fullmatch(r"([0-9a-f]{32})?", entry.md5)
    in_name = re.search(r"-([0-9a-f]{8})\.pth$", entry.file)
    assert not in_name or in_name[1] == entry.sha256, "the file's name has a hash that is not checked"
    if entry.preprocess:
        assert find_recipe(entry.preprocess) and entry.preprocess.name not in RECIPES


def test_files_have_names_of_their_own():
    for names in ([e.file for e in REGISTRY.values()], [e.dump_name for e in REGISTRY.values()]):
        assert len(set(names)) == len(names), "two checkpoints would overwrite each other"


def test_what_the_publishers_state():
    with open(FILE, newline="", encoding="utf-8") as file:
        rows = {row["model"] + "@" + row["tag"]: row for row in csv.DictReader(file)}
    assert tuple(next(iter(rows.values()))) == COLUMNS
    v2, miil = rows["torchvision/mobilenet_v3_large@V2"], rows["timm/mobilenetv3_large_100@miil"]
    assert (
        v2["url"].endswith("/mobilenet_v3_large-5c1a4163.pth")
        and v2["preprocess"] == '{"name": "torchvision-V2", "resize": 232}'
    )
    assert (v2["top1"], v2["top5"]) == ("75.274", "92.566")
    assert miil["sha256"] == "66471c13" and miil["top1"] == "77.92" and miil["licence"] == "Apache-2.0"
    recipe = find_published("timm/mobilenetv3_large_100@miil").preprocess
    assert (recipe.mean, recipe.std, recipe.interpolation, recipe.resize) == ((0, 0, 0), (1, 1, 1), "bilinear", 256)
    assert rows["keras/MobileNetV3Large@"]["md5"] == "59e551e166be033d707958cf9e29a6a7"
    assert rows["timm/mobilenetv3_rw@"]["file"] == "mobilenetv3_100-35495452.pth"
    assert rows["sqlai/mobilenetv3_small@"]["file"] == "450_act3_mobilenetv3_small.pth"
    assert rows["ppcls/MobileNetV3_large_x1_0_ssld@"]["url"].endswith(
        "/MobileNetV3_large_x1_0_ssld_pretrained.pdparams"
    )


def test_shipped_weights():
    entry = find_published("ppocr/text_direction")
    data = shipped_dump(entry).read_bytes()
    assert len(data) == entry.size and hashlib.sha256(data).hexdigest() == entry.sha256
    assert shipped_dump(find_published("timm/mobilenetv3_rw")) is None


def test_names():
    assert list_published("TorchVision/*") == [
        "torchvision/mobilenet_v3_small",
        "torchvision/mobilenet_v3_large",
        "torchvision/mobilenet_v3_large@V2",
    ]
    assert list_published("nothing*") == []
    assert find_published("timm/mobilenetv3_large_100").model == get_variant("timm/mobilenetv3_large_100").full_name
    with pytest.raises(UnknownModelError, match="nearest: torchvision/mobilenet_v3_large, .*@V2"):
        find_published("torchvision/mobilenet_v3_large@V3")
    with pytest.raises(UnknownModelError, match="npmnv3 fetch --list"):
        find_published("?")
