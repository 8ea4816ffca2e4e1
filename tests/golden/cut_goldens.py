"""Make tests/golden/networks and inputs.h5: a cut of the full golden set, small enough for a clone.

    python tests/golden/cut_goldens.py ../shared/golden

Kept whole: the logits, the state dict's names, shapes, kinds and hashes, and what the recipe does not draw (running
statistics, the classifier's bias). Of each tap VALUES evenly spaced ones of the 512 are kept, in float64.
"""

import pathlib
import sys

import h5py
import numpy as np

VALUES = 16
PACKED = {"compression": "gzip", "compression_opts": 9, "shuffle": True, "track_times": False}
CUT = pathlib.Path(__file__).resolve().parent


def cut_network(source, target):
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        for key in ("source", "variant", "framework", "num_classes", "recipe_version", "counts", "inputs_sha256"):
            new.attrs[key] = old.attrs[key]
        for group in ("state", "stored", "logits"):
            for key, dataset in old[group].items():
                copy_dataset(new, f"{group}/{key}", dataset)
        taps = old["taps"]
        for key in ("module", "role", "shape"):
            copy_dataset(new, f"taps/{key}", taps[key])
        index, values = taps["index"][...], taps["f64"][...]
        columns = [np.linspace(0, (row >= 0).sum() - 1, VALUES).round().astype(int) for row in index]
        rows = np.arange(len(index))[:, None]
        new.create_dataset("taps/index", data=index[rows, columns], **PACKED)
        new.create_dataset("taps/f64", data=values[rows, columns], **PACKED)


def copy_dataset(file, name, dataset):
    data = dataset.asstr()[...].astype("S") if dataset.dtype == object else dataset[...]
    file.create_dataset(name, data=data, **PACKED)


def cut_inputs(golden):
    with h5py.File(golden / "inputs.h5") as old, h5py.File(CUT / "inputs.h5", "w") as new:
        new.attrs["inputs_sha256"] = old.attrs["inputs_sha256"]
        new.create_dataset("crop224", data=np.stack([old[f"photo{i}/crop224"][...] for i in range(3)]), **PACKED)
        for i in range(3):
            photo = old[f"photo{i}/rgb"].attrs
            new.attrs[f"photo{i}"] = f"{photo['file']}: {photo['origin']}; {photo['licence']}"
        with h5py.File(golden / "preprocess.h5") as preprocess:
            new.create_dataset("lut", data=preprocess["lut/torch"][...], track_times=False)


def main(golden):
    (CUT / "networks").mkdir(parents=True, exist_ok=True)
    for source in sorted((golden / "goldens").glob("*.h5")):
        cut_network(source, CUT / "networks" / source.name)
    cut_inputs(golden)
    size = sum(file.stat().st_size for file in CUT.rglob("*") if file.is_file())
    print(f"{CUT}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
