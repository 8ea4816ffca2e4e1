"""Make tests/golden/preprocess.h5 and tests/golden/photos: a cut of the full golden set, small enough for a clone.

    python tests/golden/cut_preprocess.py ../shared/golden

The thirteen pictures are copied. Of what each pipeline made of them the sizes, offsets and sha256 are kept, not the
pixels; the tables that normalize bytes are kept whole.
"""

import hashlib
import json
import pathlib
import shutil
import sys

import h5py

CUT = pathlib.Path(__file__).resolve().parent
PIPELINES = ("torchvision", "timm", "ppcls")
README = """# Pictures

Thirteen pictures of many pixel formats; ../preprocess.h5 has what torchvision, timm and PaddleClas make of them.

| file | what | origin | licence |
|:--|:--|:--|:--|
| astronaut.png | RGB | scikit-image 0.26.0, skimage/data; NASA | public domain |
| camera.png | gray | scikit-image 0.26.0, skimage/data; Lav Varshney | CC0 |
| chelsea.png | RGB, with EXIF | scikit-image 0.26.0, skimage/data; Stefan van der Walt | CC0 |
| coffee.png | RGB | scikit-image 0.26.0, skimage/data; Rachel Michetti, courtesy of Pikolo Espresso Bar | CC0 |
| rocket.jpg | RGB | scikit-image 0.26.0, skimage/data; SpaceX | public domain |
| made_cmyk.jpg | CMYK | derived from the above | as the above |
| made_exif6.jpg | EXIF orientation 6 | derived from the above | as the above |
| made_graya.png | gray and alpha | derived from the above | as the above |
| made_palette.png | palette with a transparent index | derived from the above | as the above |
| made_rgba.png | RGB and alpha | derived from the above | as the above |
| made_short256.jpg | 341 x 256, progressive | derived from the above | as the above |
| made_tiny.jpg | 75 x 56 | derived from the above | as the above |
| made_wide.jpg | 1200 x 100 | derived from the above | as the above |
"""


def digest(dataset):
    return hashlib.sha256(dataset[...].tobytes()).hexdigest()


def cut_picture(old, new):
    for key in ("sha256", "rgb_sha256"):
        new.attrs[key] = old.attrs[key]
    for pipeline in PIPELINES:
        made, kept = old[pipeline], new.create_group(pipeline)
        for key in ("resized_wh", "crop_xy", "tensor_sha256"):
            kept.attrs[key] = made.attrs[key]
        kept.attrs["rgb_sha256"] = digest(made["rgb"] if "rgb" in made else old["rgb"])
        kept.attrs["crop_sha256"] = digest(made["crop"])


def main(golden):
    with h5py.File(golden / "preprocess.h5") as old, h5py.File(CUT / "preprocess.h5", "w") as new:
        versions = json.loads(old.attrs["versions"])
        new.attrs["versions"] = json.dumps({key: versions[key] for key in sorted(versions) if key != "cv2_compared"})
        for name, group in old.items():
            if name == "lut":
                for pipeline, table in group.items():
                    new.create_dataset(f"lut/{pipeline}", data=table[...], compression="gzip", track_times=False)
            else:
                cut_picture(group, new.create_group(name))
    shutil.rmtree(CUT / "photos", ignore_errors=True)
    (CUT / "photos").mkdir()
    for photo in sorted((golden / "photos").iterdir()):
        shutil.copyfile(photo, CUT / "photos" / photo.name)
    (CUT / "photos" / "README.md").write_text(README)
    size = sum(file.stat().st_size for file in [CUT / "preprocess.h5", *(CUT / "photos").iterdir()])
    print(f"{CUT}: preprocess.h5 and photos, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
