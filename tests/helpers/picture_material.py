"""Pictures for the tests: the golden photos, noise, files of it, and exact comparison."""

import hashlib
import io

import goldens
import numpy as np

PHOTOS = goldens.CUT / "photos"
NAMES = sorted(photo.name for photo in PHOTOS.glob("*.*") if photo.suffix in (".png", ".jpg"))


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def assert_same(got, expected, what):
    assert got.shape == expected.shape and got.dtype == expected.dtype, (what, got.shape, expected.shape, got.dtype)
    off = np.abs(got.astype(float) - expected)
    worst = np.unravel_index(off.argmax(), off.shape)
    message = f"{what}: {np.count_nonzero(off)} differ, at {worst} {got[worst]} instead of {expected[worst]}"
    assert not off.any(), message


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height=23, width=31, channels=3, seed=0):
    return np.random.default_rng([height, width, channels, seed]).integers(
        0, 256, (height, width, channels), dtype=np.uint8
    )
