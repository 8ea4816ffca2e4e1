"""Resampling, byte for byte: against what OpenCV and Pillow gave, and against them themselves where they are here."""

import zlib

import numpy as np
import pytest
from picture_material import assert_same

from npmnv3.pictures import resample
from npmnv3.pictures.resample import FILTERS, opencv_linear, pillow, pillow_passes

# fmt: off
DIGESTS = {  # (height, width) -> (height, width): CRC-32 by OpenCV 5.0.0, Pillow 13.0.0 bilinear, and bicubic
    (1, 1, 1, 1): (0x3fec0201, 0x3fec0201, 0x3fec0201),
    (1, 1, 3, 5): (0x3046e8c7, 0x3046e8c7, 0x3046e8c7),
    (2, 2, 1, 1): (0xc9151832, 0xbe1228a4, 0xbe1228a4),
    (2, 1, 1, 2): (0x4fd2a3db, 0x4fd2a3db, 0x4fd2a3db),
    (1, 7, 1, 3): (0xb78beef9, 0xb8dacc8c, 0x0f86225d),
    (7, 1, 3, 1): (0x0c26def1, 0xb8dacc8c, 0x0f86225d),
    (5, 5, 5, 5): (0x24142f8f, 0x24142f8f, 0x24142f8f),
    (8, 8, 4, 4): (0x3e23ec9b, 0x73259d54, 0x1598ccb6),
    (8, 6, 4, 3): (0x3dd3fa46, 0x4fcd6d80, 0x862245df),
    (8, 8, 4, 5): (0xf727e555, 0xf6b59188, 0x8a5ee5f6),
    (8, 9, 4, 4): (0xc4379fa7, 0xe16d8370, 0x1feca4d8),
    (4, 4, 8, 8): (0x071cdc4b, 0x01c2b423, 0xa1a1827a),
    (5, 3, 17, 11): (0x9be713a3, 0x5c7a98c9, 0xcd0e0ea9),
    (17, 11, 5, 3): (0x8fac08aa, 0xc3aa629f, 0x1667c3d2),
    (60, 40, 20, 10): (0xf4c2e928, 0xa525121f, 0x9a1a0f91),
    (40, 60, 10, 20): (0xcd6142e0, 0x567fb508, 0x8f05d116),
    (64, 48, 64, 12): (0xe94e3a9f, 0x23dd7f48, 0xd7b8c23c),
    (64, 48, 16, 48): (0x567c301d, 0x8ebefcd7, 0x347db41e),
    (33, 75, 256, 582): (0xc3273e11, 0x1887d5a8, 0xb55ab7ef),
    (100, 20, 13, 9): (0xe92fe13c, 0x515a27e9, 0x6201d35b),
    (500, 7, 20, 6): (0xbd86b539, 0x46f4faf1, 0xeb7de9b7),
    (7, 500, 6, 20): (0x590ad600, 0xb9ae39ba, 0x0b1e8e5a),
    (97, 64, 33, 31): (0xccb26d29, 0x1f4c7068, 0xd18a98ac),
    (300, 2, 100, 2): (0xd89efc13, 0xe0df6c8f, 0x05050a37),
    (31, 200, 48, 192): (0xd2c3030e, 0x0aa55b8b, 0xcb863fa5),
    (256, 341, 224, 299): (0xf32ff1cb, 0xd45f4b11, 0x591164dc),
}
# fmt: on


def noise(height, width):
    """The same bytes everywhere, whatever NumPy draws."""
    hashed = np.arange(height * width * 3, dtype=np.uint64) * 2654435761 % 2**32 >> 24
    return hashed.astype(np.uint8).reshape(height, width, 3)


def random_cases(count, largest, seed):
    """(picture, height, width) of many kinds: tiny, whole factors, thin, saturated, flat."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        old, new = rng.integers(1, largest, (2, 2))
        if i % 4 == 1:
            old, new = rng.integers(1, 6, (2, 2))
        if i % 4 == 2:
            old = new * rng.integers(1, 5, 2)
        if i % 4 == 3:
            thin = rng.integers(2)
            old[thin], new[thin] = rng.integers(1, 4, 2)
        picture = rng.integers(0, 256, (*old, 3), dtype=np.uint8)
        if i % 5 == 0:
            picture = np.where(picture < 128, 0, 255).astype(np.uint8)
        if i % 5 == 1:
            picture[:] = picture[0, 0]
        yield picture, int(new[0]), int(new[1])


@pytest.mark.parametrize("case", DIGESTS, ids=lambda case: "{}x{}-{}x{}".format(*case))
def test_digests(case):
    picture = noise(*case[:2])
    made = [opencv_linear(picture, *case[2:]), *(pillow(picture, *case[2:], name) for name in FILTERS)]
    assert [image.shape for image in made] == 3 * [(*case[2:], 3)]
    assert [zlib.crc32(np.ascontiguousarray(image).tobytes()) for image in made] == list(DIGESTS[case])


def test_opencv_looks_at_two_pixels_only():
    ramp = np.array([0, 255], np.uint8)[None, :, None]
    assert opencv_linear(ramp, 1, 4).ravel().tolist() == [0, 64, 191, 255]
    dot = np.zeros((1, 90, 1), np.uint8)
    dot[0, 45] = 255
    assert opencv_linear(dot, 1, 10).max() == 0  # no antialias: the places it looks at are 4, 13, ..., 40, 49, ...
    assert pillow(dot, 1, 10, "bilinear").max() > 0


def test_opencv_halves_by_the_mean_of_four():
    picture = noise(6, 10)
    four = picture.reshape(3, 2, 5, 2, 3).astype(int).sum(axis=(1, 3))
    assert_same(opencv_linear(picture, 3, 5), ((four + 2) // 4).astype(np.uint8), "half")


@pytest.mark.parametrize("channels", (1, 2, 4))
def test_channels_do_not_mix(channels):
    picture = np.random.default_rng(channels).integers(0, 256, (9, 14, channels), dtype=np.uint8)
    for name, resize in {"cv2": opencv_linear, **{key: lambda *a, key=key: pillow(*a, key) for key in FILTERS}}.items():
        alone = [resize(picture[..., [c]], 5, 31) for c in range(channels)]
        assert_same(resize(picture, 5, 31), np.concatenate(alone, axis=2), name)


def test_layout_does_not_matter():
    picture = noise(30, 44)
    views = picture[::-1, ::2], np.asfortranarray(picture), picture.transpose(1, 0, 2)
    for view in views:
        packed = np.ascontiguousarray(view)
        assert_same(opencv_linear(view, 11, 13), opencv_linear(packed, 11, 13), "cv2")
        assert_same(pillow(view, 11, 13, "bicubic"), pillow(packed, 11, 13, "bicubic"), "bicubic")


def test_bands_do_not_show(monkeypatch):
    picture = noise(70, 50)
    ways = {"cv2": opencv_linear, **{name: lambda *a, name=name: pillow(*a, name) for name in FILTERS}}
    whole = {name: resize(picture, 41, 63) for name, resize in ways.items()}
    for band in 1, 500, 1 << 30:
        monkeypatch.setattr(resample, "BAND", band)
        for name, resize in ways.items():
            assert_same(resize(picture, 41, 63), whole[name], f"{name}, {band} bytes a band")


@pytest.mark.parametrize(
    ("old", "new", "passes"),
    [
        ((5, 7), (5, 7), []),
        ((5, 7), (5, 3), [(5, 3)]),
        ((5, 7), (9, 7), [(9, 7)]),
        ((100, 50), (80, 40), [(100, 40), (80, 40)]),  # 20 rows less, which is not more than twice 10 columns
        ((101, 50), (80, 40), [(80, 50), (80, 40)]),
        ((30, 10), (29, 20), [(29, 10), (29, 20)]),
        ((30, 10), (31, 20), [(30, 20), (31, 20)]),
    ],
)
def test_pillow_passes(old, new, passes):
    assert pillow_passes(old, new) == passes


def test_same_as_pillow():
    image_module = pytest.importorskip("PIL.Image")
    for i, (picture, height, width) in enumerate(random_cases(2000, 60, seed=7)):
        for name in FILTERS:
            image = image_module.fromarray(picture)
            for size in pillow_passes(picture.shape[:2], (height, width)):
                image = image.resize(size[::-1], image_module.Resampling[name.upper()])
            what = f"case {i}, {picture.shape} to {(height, width)}, {name}"
            assert_same(pillow(picture, height, width, name), np.asarray(image), what)


def test_order_of_passes_is_pillows():
    image_module = pytest.importorskip("PIL.Image")
    version = pytest.importorskip("PIL").__version__
    if int(version.split(".")[0]) < 13:
        pytest.skip(f"Pillow {version} takes its passes in another order")
    rng = np.random.default_rng(3)
    for i in range(300):
        old_width, width = rng.integers(2, 40, 2)
        height = rng.integers(2, 40)
        old_height = max(2, height + 2 * (old_width - width) + rng.integers(-2, 4))  # around where the order changes
        picture = rng.integers(0, 256, (old_height, old_width, 3), dtype=np.uint8)
        expected = np.asarray(image_module.fromarray(picture).resize((width, height), image_module.Resampling.BICUBIC))
        what = f"case {i}, {picture.shape} to {(height, width)}"
        assert_same(pillow(picture, int(height), int(width), "bicubic"), expected, what)


def test_same_as_opencv():
    cv2 = pytest.importorskip("cv2")
    for i, (picture, height, width) in enumerate(random_cases(2000, 120, seed=8)):
        expected = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
        assert_same(opencv_linear(picture, height, width), expected, f"case {i}, {picture.shape} to {(height, width)}")
