"""ONNX models whose data lie in another file."""

import numpy as np
import pytest
from onnx_files import CONV, TensorProto, helper

from npmnv3.conversion.formats import read_checkpoint
from npmnv3.errors import WeightsError


def beside(path, location="m.onnx.data", offset=0, length=None, values=None):
    """A model whose convolution's weight lies in the file m.onnx.data beside it."""
    values = CONV if values is None else values
    tensor = TensorProto(name="w", data_type=1, dims=values.shape, data_location=TensorProto.EXTERNAL)
    told = {"location": location, "offset": str(offset), "length": None if length is None else str(length)}
    for key, value in told.items():
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    node = helper.make_node("Conv", ["x", "w"], ["c"])
    graph = helper.make_graph([node], "g", [], [], [tensor])
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def test_data_in_a_file_beside(tmp_path):
    values = CONV
    (tmp_path / "m.onnx.data").write_bytes(b"12345678" + values.tobytes())
    found = read_checkpoint(beside(tmp_path / "m.onnx", offset=8, length=values.nbytes))
    np.testing.assert_array_equal(found.arrays["w"], values)
    with pytest.raises(WeightsError, match="give the model's path, not its bytes"):
        read_checkpoint((tmp_path / "m.onnx").read_bytes())


@pytest.mark.parametrize(
    "change, message",
    [
        ({"location": "/etc/passwd"}, "refused, it does not lie beside"),
        ({"location": "../m.onnx.data"}, "refused, it does not lie beside"),
        ({"location": "a\\b"}, "refused, it does not lie beside"),
        ({"location": ""}, "refused, it does not lie beside"),
        ({"location": "nothing.data"}, "which is not beside it: put it there"),
        ({"offset": 1 << 40}, "damaged or cut off"),
        ({"offset": 10**15}, "would be 432 bytes from 1000000000000000, but the file has 432: damaged or cut off"),
        ({"offset": 10**45}, "expected a whole number"),
        ({"offset": -1}, "at offset '-1', expected a whole number"),
        ({"length": 3}, "has 3 bytes in 'm.onnx.data', expected"),
    ],
)
def test_data_that_are_not_simply_beside(change, message, tmp_path):
    (tmp_path / "m.onnx.data").write_bytes(CONV.tobytes())
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(beside(tmp_path / "m.onnx", **change))
