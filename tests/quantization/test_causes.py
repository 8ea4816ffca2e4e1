"""Each known cause, put into a network, is named there, with its step; without it, it is not."""

from types import SimpleNamespace

import goldens
import numpy as np
import pytest

import npmnv3
from npmnv3.ops.grids import Grid
from npmnv3.quantization.causes import CHECKS
from npmnv3.quantization.ranges import BINS, Ranges, Statistics

EXAMPLES = goldens.ROOT / "weights" / "examples"


def weights():
    model = npmnv3.load("ppocr/text_direction", engine="numpy")
    return {name: np.array(array) for name, array in model.params.items()}


def one_channel_far_from_all_others(arrays):
    arrays["conv6_depthwise_weights"][3] *= 200
    return arrays


def a_squeeze_that_is_always_zero(arrays):
    arrays["conv5_se_1_offset"][:] = -1000
    return arrays


def weights_from_a_uint8_file(arrays):
    for name, array in arrays.items():
        if name.endswith("_weights"):
            low, high = float(array.min()), float(array.max())
            step = (high - low) / 255
            zero = round(-low / step) + (10 if round(-low / step) < 128 else -10)
            arrays[name] = ((np.clip(np.rint(array / step) + zero, 0, 255) - zero) * step).astype(np.float32)
    return arrays


def as_they_are(arrays):
    return arrays


# fmt: off
CASES = (
    (one_channel_far_from_all_others, {"per_tensor": True},     "per-tensor depthwise weights", "blocks.4.depthwise.conv"),
    (a_squeeze_that_is_always_zero,   {},                       "dead squeeze",                 "blocks.3.se.squeeze"),
    (weights_from_a_uint8_file,       {"per_tensor": True},     "requantised asymmetric file",  "stem.conv"),
    (as_they_are,                     {"scheme": "symmetric"},  "signed symmetric activations", "stem"),
    (as_they_are,                     {"scheme": "onnx"},       "AVX2 saturation",              "blocks.0.se.excite"),
)
# fmt: on


@pytest.fixture(scope="module", autouse=True)
def few():
    """What one tensor costs alone is told by one picture here, of some hundred tensors and layers, and no other recipe is
    tried: causes are those of what was asked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("npmnv3.quantization.alone.PICTURES", 1)
        patch.setattr("npmnv3.quantization.run.variations", lambda asked, plan: [asked])
        yield


@pytest.fixture(scope="module")
def plain():
    """The causes in the network as it is, with the plainest scheme."""
    report = npmnv3.quantize("ppocr/text_direction", EXAMPLES, shown=False)
    return {cause.name for cause in report.causes}


@pytest.mark.parametrize("change,options,name,where", CASES, ids=[row[2] for row in CASES])
def test_a_cause_is_named(change, options, name, where, plain):
    arrays = change(weights())
    report = npmnv3.quantize("ppocr/text_direction", EXAMPLES, weights=arrays, shown=False, **options)
    (cause,) = [cause for cause in report.causes if cause.name == name]
    assert where in cause.where and cause.remedy and cause.text in report.text()
    if change is not as_they_are or options:
        assert name not in plain
    if name == "dead squeeze":
        assert "7.84e-09" in cause.text and "XNNPACK" in cause.text


@pytest.mark.parametrize("method,outliers,named", [("minmax", 1, True), ("minmax", 0, False), ("mse", 1, False)])
def test_tails(method, outliers, named):
    counts = np.zeros(BINS, np.int64)
    counts[: BINS if not outliers else BINS // 8] = 100_000
    counts[-1] = max(outliers, counts[-1])
    seen = Statistics(0.0, 80.0, counts, np.float32([0]), np.float32([80]))
    evidence = SimpleNamespace(
        recipe=SimpleNamespace(ranges=Ranges(method)), calibration=SimpleNamespace(statistics={"last": seen})
    )
    (tails,) = [check for check in CHECKS if check.__name__ == "_tails"]
    cause = tails(evidence)
    assert (cause is not None) == named
    if named:
        assert cause.name == "range tails" and cause.where == ("last",) and cause.figures["ratio"] > 7


@pytest.mark.parametrize("level,named", [(5.0, True), (12.0, True), (25.0, False), (np.inf, False)])
def test_stem(level, named):
    """Named where it is the worst part, or nearly: the next is at 10 dB."""
    model = npmnv3.load("ppocr/text_direction", engine="numpy")
    network = SimpleNamespace(plan=model.plan_for(folded=True), arrays=model.arrays("float32", folded=True))
    parts = {"input": 1.0, "stem": level, "blocks.0": 10.0, "logits": 2.0}
    parameters = SimpleNamespace(grids={"stem": Grid(0.08, -123)})
    (stem,) = [check for check in CHECKS if check.__name__ == "_stem"]
    cause = stem(SimpleNamespace(network=network, parts=parts, parameters=parameters))
    assert (cause is not None) == named
    if named:
        assert cause.name == "stem" and "blocks.0 10.0 dB" in cause.text and cause.figures["snr_db"] == level
