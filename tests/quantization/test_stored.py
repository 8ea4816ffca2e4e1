"""Which tensors an engine stores."""

import pathlib

import pytest
import tflite_integers

from npmnv3.errors import UsageError
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import BEYOND, TABLE, get_variant
from npmnv3.quantization.schemes import SCHEMES
from npmnv3.quantization.stored import named_parts, stored_tensors

PAD, RESHAPE = 34, 22


def stored(model, scheme="tflite", **options):
    return stored_tensors(make_plan(get_variant(model), folded=True, **options), SCHEMES[scheme])


# fmt: off
BLOCK = (  # of timm/tf_mobilenetv3_small_100: after the stem, scheme by scheme
    ("tflite", ("input", "stem.conv", "stem", "blocks.0.depthwise", "blocks.0.se.pool", "blocks.0.se.squeeze",
                "blocks.0.se.excite", "blocks.0.gate", "blocks.0.se", "blocks.0.project", "blocks.1.expand")),
    ("onnx",   ("input", "stem.conv", "stem.hard_sigmoid", "stem", "blocks.0.depthwise", "blocks.0.se.pool",
                "blocks.0.se.squeeze", "blocks.0.se.excite", "blocks.0.gate", "blocks.0.se", "blocks.0.project")),
    ("symmetric", ("input", "stem.conv", "stem.hard_sigmoid", "stem", "blocks.0.depthwise")),  # as ActivationSymmetric
    ("pow2",      ("input", "stem.conv", "stem", "blocks.0.depthwise", "blocks.0.se.pool", "blocks.0.se.squeeze")),
)
# fmt: on


@pytest.mark.parametrize("scheme,names", BLOCK)
def test_the_first_tensors(scheme, names):
    found = stored("timm/tf_mobilenetv3_small_100", scheme)
    assert tuple(tensor.name for tensor in found[: len(names)]) == names
    forms = {tensor.name: tensor.form for tensor in found}
    assert forms["blocks.0.se.excite"] == ("relu6" if scheme == "tflite" else "")


@pytest.mark.parametrize("variant", [v.full_name for v in TABLE + BEYOND])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_network_has_names_of_its_own(variant, scheme):
    found = stored(variant, scheme)
    names = [tensor.name for tensor in found]
    assert len(set(names)) == len(names) and names[0] == "input" and names[-1] == "logits"


def test_as_many_as_a_real_file_stores(shared):
    path = pathlib.Path(shared) / "golden" / "int8" / "ppocr--text_direction.int8.tflite"
    outputs = [out for kind, _, out in tflite_integers.operators(path) if kind not in (PAD, RESHAPE)]
    quantised = [out for out in outputs if len(out.scale)]
    assert len(stored("ppocr/text_direction")) - 1 == len(quantised)


def test_a_max_pool_keeps_its_inputs_grid():
    assert {t.name: t.like for t in stored("ppocr/text_direction") if t.like} == {"max_pool": "last"}


@pytest.mark.parametrize("names,found", [(["stem"], ("stem.conv", "stem")), (["logits", "input"], ("input", "logits"))])
def test_named_parts(names, found):
    assert named_parts(names, stored("ppocr/text_direction")) == found


@pytest.mark.parametrize("name,near", [("steam", "stem"), ("blocks.99", "blocks"), ("", "input"), ("ogits", "logits")])
def test_parts_that_are_none(name, near):
    with pytest.raises(UsageError, match=f"`wide={name}`: no stored tensor is called '{name}'; nearest: .*{near}"):
        named_parts([name], stored("ppocr/text_direction"))
