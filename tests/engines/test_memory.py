"""What the NumPy engine holds: the weights once, and about three of the largest tensors."""

import math
import tracemalloc

import numpy as np
import pytest
from random_networks import plan_maker, random_params

from npmnv3.engines.memory import peak_bytes
from npmnv3.engines.plan_engine import PlanEngine
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant, list_models
from npmnv3.ops import definitions

# NumPy's own buffers, two of 8192 numbers where an operand is broadcast (before NumPy 2.3 up to three more), and Python's
# objects for the tensors.
BUFFERS = 2 if np.lib.NumpyVersion(np.__version__) >= "2.3.0" else 5
SLACK = BUFFERS * 8192 * 4 + 16_384  # bytes


def largest(plan):
    return 4 * max(math.prod(step.shape) for step in plan)


@pytest.mark.parametrize("name", list_models())
def test_three_of_the_largest_tensors_are_enough(name):
    plan = make_plan(get_variant(name))
    assert peak_bytes(plan) <= 3 * largest(plan)
    assert peak_bytes(plan, 8) == 2 * peak_bytes(plan)


OTHER_SIDES = (
    "ppocr/text_direction",
    "timm/mobilenetv3_small_050",
    "sqlai/mobilenetv3_small",
    "keras/MobileNetV3Small",
)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        *((name, None) for name in list_models()),
        *((name, side) for name in OTHER_SIDES for side in ((48, 200), (97, 64))),
    ],
)
def test_computed_peak_is_the_measured_one(name, side):
    variant = get_variant(name)
    plan = make_plan(variant, side=side)
    params = random_params(plan, np.random.default_rng(0))
    engine = PlanEngine(plan_maker(variant), params, np.float32)
    x = np.random.default_rng(1).standard_normal((1, 3, *(side or variant.side))).astype(np.float32)
    engine.run(x)  # what is made once and kept
    tracemalloc.start()
    engine.run(x)
    measured = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    computed = peak_bytes(plan)
    assert measured <= 3 * largest(plan) + SLACK, f"measured {measured:,}, largest tensor {largest(plan):,} bytes"
    assert 0.9 * computed <= measured <= computed + SLACK, f"measured {measured:,}, computed {computed:,} bytes"


@pytest.mark.parametrize(
    "name", ["timm/mobilenetv3_small_050", "ppcls/MobileNetV3_small_x0_35", "keras/MobileNetV3Small"]
)
def test_weights_are_held_once(name):
    variant = get_variant(name)
    params = random_params(make_plan(variant), np.random.default_rng(0))
    tracemalloc.start()
    engine = PlanEngine(plan_maker(variant), params, np.float32)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 0.05 * sum(array.nbytes for array in params.values()), f"{held:,} bytes beside the parameters"
    assert engine.run(np.zeros((1, 3, 32, 32), np.float32)).shape == (1, 1000)


@pytest.mark.parametrize("room", [1, 500, 1 << 18])
def test_room_changes_no_bit_of_a_depthwise_convolution(room, monkeypatch):
    rng = np.random.default_rng(2)
    x, weight = rng.standard_normal((2, 9, 13, 11)), rng.standard_normal((9, 5, 5))
    for stride in ((1, 1), (2, 1), (2, 2)):
        expected = definitions.depthwise_conv2d(x, weight, stride=stride, pad=(2, 2, 1, 3))
        with monkeypatch.context() as patched:
            patched.setattr(definitions, "ROOM", room)
            found = definitions.depthwise_conv2d(x, weight, stride=stride, pad=(2, 2, 1, 3))
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("room", [1, 500, 1 << 18])
def test_bands_of_a_convolution_meet(room, monkeypatch):
    """Small whole numbers: every order of the sums is exact."""
    monkeypatch.setattr(definitions, "ROOM", room)
    rng = np.random.default_rng(3)
    x, weight = rng.integers(-9, 9, (2, 3, 13, 11)).astype(float), rng.integers(-9, 9, (4, 3, 3, 3)).astype(float)
    for stride in ((1, 1), (2, 2)):
        for pad in ((1, 1, 1, 1), (0, 1, 0, 1), (5, 4, 0, 2)):
            found = definitions.conv2d(x, weight, stride=stride, pad=pad)
            padded = np.pad(x, ((0, 0), (0, 0), pad[:2], pad[2:]))
            taps = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[
                :, :, :: stride[0], :: stride[1]
            ]
            assert np.array_equal(found, np.einsum("ncijkl,ockl->noij", taps, weight))
