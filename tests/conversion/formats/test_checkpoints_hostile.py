"""Files made to do harm: refused, by name where a pickle asks for something, and nothing of them runs or grows."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import checkpoint_files as files
import numpy as np
import pytest
from checkpoint_files import Call, Name, Persistent, tensor

from npmnv3.conversion.formats import read_checkpoint
from npmnv3.errors import WeightsError

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
MEMORY = 64 << 20  # bytes; the files here have thousands, some a few millions


def as_zip(pickled):
    return files.torch_zip(pickled, {"0": WEIGHT})


def as_legacy(pickled):
    return files.torch_legacy(pickled, {"0": WEIGHT} if b"Storage" in pickled else {})


def as_first_pickle(pickled):
    return pickled


CONTAINERS = (as_zip, as_legacy, as_first_pickle)  # the last is what .pdparams are


@pytest.fixture(params=CONTAINERS, ids=lambda function: function.__name__)
def container(request):
    return request.param


def refused(data, message):
    """Read, expect WeightsError, and that it took no memory to speak of."""
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=message):
            read_checkpoint(data)
        assert tracemalloc.get_traced_memory()[1] < MEMORY + len(data)
    finally:
        tracemalloc.stop()


class Runs:
    """Pickles to a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call

    def __call__(self):
        """A call may be of what a call gives."""


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_pickle_would_run_is_refused_by_name(container, protocol, tmp_path):
    witness = tmp_path / "ran"
    command = f"echo > {witness}"
    calls = [
        (Runs(os.system, command), rf"asks for {os.system.__module__}\.system"),
        (Runs(eval, f"open({str(witness)!r}, 'w')"), r"asks for builtins\.eval"),
        (Runs(exec, f"open({str(witness)!r}, 'w')"), r"asks for builtins\.exec"),
        (Runs(getattr, Runs(open, str(witness), "w"), "x"), r"asks for (builtins.getattr|_?io.open)"),
        (Runs(Runs(getattr, Runs(__import__, "os"), "system"), command), r"builtins\.(getattr|__import__)"),
        ({"state_dict": {"w": [(Runs(os.mkdir, str(witness)),)]}}, rf"asks for {os.mkdir.__module__}\.mkdir"),
    ]
    for value, message in calls:
        refused(container(pickle.dumps(value, protocol)), message)
        assert not witness.exists(), "something ran"


@pytest.mark.parametrize(
    "text, name", ((b"(S'true'\nios\nsystem\n.", "os.system"), (b"c__builtin__\neval\n.", "builtins.eval"))
)
def test_old_opcodes_are_no_way_around(text, name):
    refused(text, f"asks for {name}")


@pytest.mark.parametrize("protocol", (2, 4))
@pytest.mark.parametrize(
    "full",
    (
        "os.system",
        "builtins.getattr",
        "codecs.open",
        "numpy.load",
        "numpy.core.multiarray.fromfile",
        "torch.load",
        "torch.hub.load",
        "torch._utils._rebuild_tensor_v2.__globals__",
        "collections.OrderedDict.__init__",
        "argparse.Namespace.__class__",
    ),
)
def test_only_the_listed_names_are_known(container, protocol, full):
    top = {"a": Call(full, "x"), "b": tensor("0", WEIGHT)}
    refused(container(files.pickled(top, protocol)), f"asks for {full.rpartition('.')[0]}")


def test_dotted_names_do_not_reach_attributes():
    body = files.emit("collections") + files.emit("OrderedDict.__reduce__") + b"\x93"
    refused(b"\x80\x04" + body + b".", r"asks for collections\.OrderedDict\.__reduce__")


def test_what_was_made_cannot_be_called_or_changed(container):
    known = files.emit(Call("collections.OrderedDict"))
    refused(container(b"\x80\x02" + known + b")R."), "calls a dict, which is no function")
    refused(container(b"\x80\x02U\x06system)R."), "calls a str, which is no function")
    refused(
        container(b"\x80\x02ccollections\nOrderedDict\n}(U\x08__call__U\x01xub."), "sets attributes of a Known: refused"
    )
    refused(
        container(b"\x80\x02cmine\nThing\n}(U\x08__call__U\x01xub."), "sets attributes of the class mine.Thing: refused"
    )
    refused(container(b"\x80\x02cmine\nThing\n)R."), "asks for mine.Thing, to call it, .*nothing was run")
    refused(container(files.pickled(Call("mine.make", "value"))), "asks for mine.make, to call it, .*nothing was run")
    refused(container(files.pickled(Call("mine.Popen", "value"))), "asks for mine.Popen, .*nothing was run")


THING = Name("mine.Thing")


@pytest.mark.parametrize(
    "arguments",
    [(THING,), (THING, "load"), (THING, "__reduce__"), (THING, "a.b"), (Name("builtins.dict"), "x"), ("", "upper")],
)
def test_attributes_are_those_of_foreign_classes_alone(container, arguments):
    refused(container(files.pickled(Call("builtins.getattr", *arguments))), "asks for .*nothing was run")


def test_methods_and_members_of_foreign_classes_are_passed_over():
    """As mmengine's histories and enumerations pickle themselves; a method may still not be called."""
    beside = {"history": Call("builtins.getattr", THING, "mean"), "mode": Call("mine.Mode", 1)}
    found = read_checkpoint(as_zip(files.pickled({"meta": beside, "net": {"w": tensor("0", WEIGHT)}})))
    assert list(found.arrays) == ["w"]
    called = b"\x80\x02" + files.emit(Call("builtins.getattr", THING, "mean")) + b"(tR."
    refused(as_zip(called), "asks for mine.Thing.mean, to call it")


@pytest.mark.parametrize("opcode", (b"\x82\x01", b"\x83\x01\x00", b"o", b"\x97", b"P0\n"))
def test_other_opcodes_are_refused(container, opcode):
    refused(container(b"\x80\x04(]))}" + opcode + b"."), "uses the opcode [A-Z0-9_]+, which state dicts do not need")


def test_depth_is_no_danger(container):
    depth = 100_000
    for body in (b"]" * depth + b"a" * (depth - 1), b"(" * depth + b"l" * depth, b"N" * depth):
        refused(container(b"\x80\x02" + body + b"."), "nested deeper than 10000")
    tuples = b"\x80\x02)" + b"\x85" * depth + b"."
    refused(container(tuples), "holds no dict of tensors, but a tuple")


def test_a_dict_within_itself():
    within = b"}q\x00X\x01\x00\x00\x00ah\x00s"
    refused(b"\x80\x02" + within + b".", "holds no dict of tensors")


def test_laughing_a_billion_times_is_free(container):
    doubled = b"]q\x00" + b"".join(b"](h\x00h\x00eq\x00" for _ in range(64))
    refused(container(b"\x80\x02" + doubled + b"."), "holds no dict of tensors, but a list")
    refused(b"\x80\x02].", "a state dict is expected: torch.save.* or paddle.save")
    wide = b"}q\x00"  # dicts of a thousand names, five deep: 10^15 paths
    for _ in range(5):
        wide += b"}(" + b"".join(files.emit(f"n{i}") + b"h\x00" for i in range(1000)) + b"uq\x00"
    refused(container(b"\x80\x02" + wide + b"."), "holds no dict of tensors")
    shape = Call("torch._utils._rebuild_tensor_v2", Persistent("storage", Name("torch.FloatStorage"), "0", "cpu", 6), 0)
    head = files.emit(shape.function) + b"(" + files.emit(shape.arguments[0]) + b"K\x00"
    refused(
        as_zip(b"\x80\x02" + b")q\x00" + b"h\x00h\x00\x86q\x00" * 64 + head + b"h\x00h\x00\x89}tR."),
        "shape that is not a list",
    )


def test_recalled_lists_and_texts_do_not_multiply():
    pairs = b"](" + b"".join(b"](" + files.emit(f"n{i}") + b"K\x01e" for i in range(2000)) + b"eq\x010"
    again = b"".join(b"ccollections\nOrderedDict\nh\x01\x85R0" for _ in range(5_000))
    refused(b"\x80\x02" + pairs + again + b"}.", "holds no dict of tensors")
    text = files.emit("x" * 1_000_000) + b"q\x010"
    again = b"".join(b"c_codecs\nencode\nh\x01X\x06\x00\x00\x00latin1\x86R0" for _ in range(5_000))
    refused(b"\x80\x02" + text + again + b"}.", "holds no dict of tensors")


def test_memo_and_lengths_cost_nothing(container):
    refused(container(b"\x80\x02}r\xff\xff\xff\x7f."), "remembers .* as number 2147483647")
    for opcode in (
        b"X\xff\xff\xff\x7f",
        b"\x8d" + struct.pack("<Q", 1 << 60),
        b"\x8e" + struct.pack("<Q", 1 << 62),
        b"B\xff\xff\xff\xff",
    ):
        refused(container(b"\x80\x04}" + opcode + b"abc."), "the pickle is damaged")
    refused(
        container(b"\x80\x02\x8b" + struct.pack("<i", 1_000_000) + b"\x01" * 1_000_000 + b"."),
        "whole number of 7999993 bits",
    )


def test_opcodes_without_end():
    refused(b"\x80\x02}" + b"N0" * 300_000 + b".", "more than 500000 opcodes")


def test_storages_larger_than_the_file(container):
    for kind, count in (("Float", 1 << 60), ("Byte", 1 << 40), ("Double", 10_000_000)):
        top = {"a": tensor("0", WEIGHT, kind=kind, count=count)}
        expected = f"storage '0' claims {count} elements" if container is not as_first_pickle else "data outside of it"
        refused(container(files.pickled(top)), expected)


def test_storage_keys_lead_nowhere():
    top = {"a": tensor("../../../../etc/passwd", WEIGHT, kind="Byte")}
    refused(files.torch_zip(top, {"0": WEIGHT}), "storage '../../../../etc/passwd' is missing")


@pytest.mark.parametrize("name", ("../evil", "/etc/passwd", "archive/../../evil", "archive\\evil"))
def test_paths_that_lead_out_of_the_zip(name):
    data = files.torch_zip({"a": tensor("0", WEIGHT)}, {"0": WEIGHT}, extra=[(name, b"x")])
    refused(data, "whose path leads out of it: refused")


def test_zip_bombs():
    zeros = np.zeros(20_000_000, np.float32)
    data = files.torch_zip({"a": tensor("0", zeros)}, {"0": zeros}, compression=zipfile.ZIP_DEFLATED)
    assert len(data) < 200_000
    refused(data, "would become 80000[0-9]+: refused")
    encrypted = bytearray(files.torch_zip({"a": tensor("0", WEIGHT)}, {"0": WEIGHT}))
    encrypted[encrypted.find(b"PK\x01\x02") + 8] |= 1
    refused(bytes(encrypted), "is encrypted")


def _stretch(data, factor):
    """Multiply the sizes that the zip's directory gives for the last storage."""
    data = bytearray(data)
    position = data.find(b"PK\x01\x02", data.find(b"PK\x01\x02") + 1)
    for offset in (20, 24):
        (size,) = struct.unpack_from("<L", data, position + offset)
        struct.pack_into("<L", data, position + offset, min(size * factor, 0xFFFFFFF0))
    return bytes(data)


def test_zip_entries_that_overlap_or_reach_beyond():
    data = files.torch_zip({"a": tensor("0", WEIGHT)}, {"0": WEIGHT})
    refused(_stretch(data, 3), "overlaps another")
    refused(_stretch(data, 1 << 28), "overlaps another|beyond its end")


def test_zip_entries_twice():
    data = bytearray(files.torch_zip({"a": tensor("0", WEIGHT), "b": tensor("1", WEIGHT)}, {"0": WEIGHT, "1": WEIGHT}))
    data = bytes(data).replace(b"archive/data/1", b"archive/data/0")
    refused(data, "an entry twice")


def test_zip_with_two_pickles():
    data = files.torch_zip({}, {}, extra=[("other/data.pkl", b"x")])
    refused(data, "2 entries NAME/data.pkl, expected one")


def test_zips_of_other_kinds_get_advice():
    for name, advice in (
        ("a.npy", "which npmnv3 loads as it is"),
        ("weights/best.weights.h5", "unpack it and give weights/best.weights.h5"),
    ):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr(name, b"x")
        refused(stream.getvalue(), advice)


def test_numpy_arrays_of_objects(container):
    dtype = Call("numpy.dtype", "O8", False, True, state=(3, "|", None, None, None, -1, -1, 63))
    make = Call(
        "numpy.core.multiarray._reconstruct", Name("numpy.ndarray"), (0,), b"b", state=(1, (1,), dtype, False, [1])
    )
    refused(container(files.pickled({"a": make})), "holds no dict of tensors, but a dict with 'a'")
