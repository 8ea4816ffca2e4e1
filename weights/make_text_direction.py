"""Make ppocr--text_direction.h5 from the ONNX file that the wheel of rapidocr-onnxruntime 1.4.4 holds.

    pip download --no-deps rapidocr-onnxruntime==1.4.4
    python weights/make_text_direction.py rapidocr_onnxruntime-1.4.4-py3-none-any.whl weights/ppocr--text_direction.h5

Needs h5py and onnx. Equal input gives an equal file, byte for byte, under the same versions of HDF5 and zlib.
"""

import argparse
import hashlib
import os
import zipfile
from pathlib import Path

import h5py
import onnx

MEMBER = "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"
SHA256 = "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c"
ATTRIBUTES = {
    "format": "npmnv3-dump",
    "version": 1,
    "source": "ppocr",
    "variant": "text_direction",
    "num_classes": 2,
    "labels": ["0", "180"],
    "preprocess": "ppocr",
    "origin": f"PaddleOCR's ch_ppocr_mobile_v2.0_cls; from rapidocr-onnxruntime 1.4.4, {MEMBER}, sha256 {SHA256}",
    "licence": "Apache-2.0",
}


def read_model(path):
    """The bytes of the ONNX file, from the wheel or the file itself; any other file is refused."""
    data = zipfile.ZipFile(path).read(MEMBER) if zipfile.is_zipfile(path) else Path(path).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{path}: expected the model whose sha256 is {SHA256}, found {found}")
    return data


def weights(model):
    """{name: array}. The exporter wrote all constants as nodes; the layers' own are named conv... and fc_..."""
    constants = {node.output[0]: node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"}
    return {n: onnx.numpy_helper.to_array(t) for n, t in constants.items() if n.startswith(("conv", "fc_"))}


def new_file(path):
    """An HDF5 file of the format of version 1.10: older ones take more room than packing saves. It does not note the time."""
    creation, access = h5py.h5p.create(h5py.h5p.FILE_CREATE), h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    creation.set_obj_track_times(False)  # h5py.File has no word for it before 3.15
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    return h5py.File(h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_TRUNC, fapl=access, fcpl=creation))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", help="the wheel, or the .onnx file out of it")
    parser.add_argument("out", help="the dump to write")
    args = parser.parse_args()

    arrays = weights(onnx.load_from_string(read_model(args.wheel)))
    with new_file(args.out) as file:
        file.attrs.update(ATTRIBUTES)
        for name, array in arrays.items():
            packing = {"chunks": array.shape, "compression": 9, "shuffle": True} if array.nbytes > 500 else {}
            file.create_dataset(name, data=array, track_times=False, **packing)


if __name__ == "__main__":
    main()
