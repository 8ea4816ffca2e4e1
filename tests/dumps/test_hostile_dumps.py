"""Hostile and damaged dumps: refused by name, and they do no harm."""

import io
import json
import struct
import zipfile

import h5py
import numpy as np
import pytest
from states import random_state

import npmnv3
from npmnv3.dumps.dumps import load_weights, write_dump
from npmnv3.network.variants import get_variant

MODEL = "ppcls/MobileNetV3_small_x0_35"


def write_h5(path, change, libver=None):
    """A dump that `change(file)` has made hostile."""
    with h5py.File(path, "w", libver=libver) as file:
        file.attrs.update({"source": "ppcls", "variant": MODEL.split("/")[1]})
        for name, array in random_state(MODEL).items():
            file[name] = array
        change(file)


def external_storage(file):
    del file["fc.bias"]
    file.create_dataset("fc.bias", (1000,), "<f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def virtual_dataset(file):
    del file["fc.bias"]
    layout = h5py.VirtualLayout((1000,), "<f4")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "data", (1000,))
    file.create_virtual_dataset("fc.bias", layout)


def linked(link):
    def change(file):
        del file["fc.bias"]
        file["fc.bias"] = link

    return change


def group_in_itself(file):
    file["a"] = file["/"]


def absurd(file):
    file.create_dataset("huge", (1 << 40,), "<f4", chunks=(1 << 20,), compression="gzip")


def lzf(file):
    del file["fc.bias"]
    file.create_dataset("fc.bias", data=np.ones(1000, "f4"), chunks=True, compression="lzf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external_storage, "fc.bias takes its data from elsewhere"),
        (virtual_dataset, "fc.bias takes its data from elsewhere"),
        (linked(h5py.SoftLink("/conv.bn.weight")), "fc.bias is a soft or external link"),
        (linked(h5py.ExternalLink("other.h5", "/x")), "fc.bias is a soft or external link"),
        (group_in_itself, "contains itself"),
        (absurd, "huge claims .* more than a file of"),
        (lzf, "fc.bias is stored with filters"),
    ],
)
def test_hostile_hdf5_is_refused(change, message, tmp_path):
    path = tmp_path / "dump.h5"
    write_h5(path, change)
    with pytest.raises(npmnv3.WeightsError, match=message):
        load_weights(path)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("length", [1 << 21, 0x7FFFFFFF, 0xC0000000])
def test_a_text_that_claims_to_be_endless_is_refused(length, libver, tmp_path):
    """The HDF5 library would allocate what the text claims to have."""
    path, more = tmp_path / "dump.h5", {f"note{i}": i for i in range(9)}  # so many attributes are kept another way
    write_h5(path, lambda file: file.attrs.update(more, labels=[f"class {i:04}" for i in range(1000)]), libver=libver)
    data = bytearray(path.read_bytes())
    place = data.index(struct.pack("<IQ", len("class 0000"), data.index(b"GCOL\x01")), data.index(b"labels\0"))
    data[place : place + 4] = struct.pack("<I", length)
    path.write_bytes(data)
    with pytest.raises(npmnv3.WeightsError, match=r"dump.h5: attribute 'labels' claims \d+ bytes of text, more than"):
        load_weights(path)


def test_one_long_text_for_every_class_is_refused(tmp_path):
    """Small in the file, where every class may refer to the same text, but not in memory."""
    path = tmp_path / "dump.h5"
    write_h5(path, lambda file: file.attrs.update(labels=["x" * 50_000] + ["y"] * 999))
    data = bytearray(path.read_bytes())
    start = data.index(struct.pack("<I", 50_000), data.index(b"labels\0"))
    data[start : start + 16_000] = data[start : start + 16] * 1000
    path.write_bytes(data)
    with pytest.raises(
        npmnv3.WeightsError, match="attribute 'labels' claims 50000000 bytes of text, more than 1048576"
    ):
        load_weights(path)


@pytest.mark.parametrize(
    "value",
    [h5py.Empty("f4"), np.zeros(2, [("a", "i4"), ("b", "f4")]), np.array([b"ab"], "V2")],
    ids=["empty", "compound", "opaque"],
)
def test_attributes_are_numbers_or_texts(value, tmp_path):
    path = tmp_path / "dump.h5"
    write_h5(path, lambda file: file.attrs.create("more", value))
    with pytest.raises(npmnv3.WeightsError, match="dump.h5: attribute 'more' is neither numbers nor texts"):
        load_weights(path)


def npy(array=None, header=None):
    stream = io.BytesIO()
    if header is None:
        np.lib.format.write_array(stream, array, allow_pickle=True)
    else:
        np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (npy(np.array([{"a": 1}], dtype=object)), "claims .* object"),
        (npy(header={"shape": (1 << 50,), "fortran_order": False, "descr": "<f4"}), "claims .* which is not what its"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': __import", "damaged"),
        (b"nothing of the sort", "damaged"),
        (bytes(50_000_000), "claims to expand|damaged"),
    ],
)
def test_hostile_npz_is_refused(entry, message, tmp_path):
    path = tmp_path / "dump.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fc.bias.npy", entry)
    with pytest.raises(npmnv3.WeightsError, match=message):
        load_weights(path, get_variant(MODEL))


def test_a_damaged_zip_is_told_shortly(tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.npy", npy(np.zeros(20_000)))
    data = bytearray(stream.getvalue())
    data[26:28] = b"\0\xf0"  # the length of the member's name, where it stands
    (tmp_path / "dump.npz").write_bytes(data)
    with pytest.raises(npmnv3.WeightsError, match="damaged or not a weight dump: BadZipFile: File name in") as error:
        load_weights(tmp_path / "dump.npz")
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("order", "<>")
def test_a_text_of_no_characters_is_refused(order, tmp_path):
    path, text = tmp_path / "dump.npz", np.array('{"format": "x"}', f"{order}U15")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__npmnv3__.npy", npy(text)[: -text.nbytes] + b"\x7f" * text.nbytes)
    with pytest.raises(npmnv3.WeightsError, match="__npmnv3__: damaged: a text with numbers that are no characters"):
        load_weights(path)


@pytest.mark.parametrize(
    "attributes",
    [
        {"version": 99},
        {"format": "other"},
        {"source": "ppcls", "variant": "none"},
        {"num_classes": 2.5},
        {"num_classes": -1},
        {"labels": ["one"]},
        {"labels": 5},
        {"preprocess": "[1, 2]"},
        {"preprocess": 3},
    ],
)
def test_wrong_attributes_are_named(attributes, tmp_path):
    path, state = tmp_path / "dump.npz", random_state(MODEL)
    said = {"source": "ppcls", "variant": MODEL.split("/")[1], **attributes}
    np.savez(path, __npmnv3__=np.array(json.dumps(said)), **state)
    with pytest.raises(
        npmnv3.WeightsError, match=str(next(iter(attributes)) if "format" not in attributes else "other")
    ):
        npmnv3.load(path)


def damaged(data, rng):
    """A copy with a few bytes changed, cut short, or with a stretch repeated or zeroed."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        kind, place = rng.integers(5), int(rng.integers(len(data)))
        if kind < 2:
            data[place] = rng.integers(256)
        elif kind == 2:
            del data[max(place, 64) :]
        elif kind == 3:
            data[place : place + 16] = bytes(16)
        else:
            data[place : place + 8] = rng.bytes(8)
    return bytes(data)


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_damaged_files_give_only_our_errors(suffix, tmp_path):
    model, path = "ppocr/text_direction", tmp_path / f"dump{suffix}"
    write_dump(path, random_state(model), model=model, labels=["a", "b"])
    whole, rng = path.read_bytes(), np.random.default_rng(5)
    head = whole[:60_000] if suffix == ".h5" else whole  # most of HDF5's structure lies at the front
    refused = 0
    for _ in range(150):
        path.write_bytes(damaged(head, rng) + whole[len(head) :])
        try:
            load_weights(path)
        except npmnv3.Npmnv3Error as error:
            refused += str(path) in str(error)
    assert refused > 20
