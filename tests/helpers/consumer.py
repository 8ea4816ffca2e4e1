"""A program that uses npmnv3, as a type checker in its strictest mode reads it; it is not run."""

import pathlib

import numpy as np
import numpy.typing as npt

import npmnv3
from npmnv3.testing import assert_matches


def classify(path: pathlib.Path) -> str:
    model = npmnv3.load(npmnv3.fetch("ppocr/text_direction", progress=False).resolve(), engine="numpy")
    results = model.predict([path], top=1)
    index, label, probability = results[0][0]
    for result in model.predict_each(path.iterdir()):
        if not isinstance(result, npmnv3.PictureError):
            probability = max(probability, result[0][2])
    return f"{index + 1} {label.upper()} {probability:.1f} {' '.join(npmnv3.list_models('timm/*'))}"


def logits(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating]:
    model = npmnv3.load("mine.h5", dtype="float64", threads=1)
    assert isinstance(model, npmnv3.Model)
    x = npmnv3.preprocess(picture, model)[None]
    names = [step.name for step in model.plan if step.op == "add"]
    height, width = model.side
    print(names, height * width, model.trace(x)["logits"].shape, model.features(x).mean(), model.labels[0].lower())
    weights: dict[str, npt.NDArray[np.floating]] = model.arrays()
    npmnv3.write_dump("out.h5", weights, model=model.name, labels=["a", "b"])
    npmnv3.freeze(model, pathlib.Path("out.pyz"), "float32")
    npmnv3.export_onnx(model, "out.onnx", side=(64, 64))
    return model(x)


def check(port: npt.NDArray[np.float32]) -> bool:
    integers = npmnv3.load("integers.npz", kernels="xnnpack")
    print(integers.kernels.upper(), integers.trace(port, integers=True)["logits"].dtype)
    report = npmnv3.verify("timm/mobilenetv3_small_100", {"logits": port}, "cat.png", weights="mine.h5")
    print(report.sentence.upper(), report.text().splitlines()[0], report.junit().encode(), report.as_json()["verdict"])
    assert_matches("mine.h5", port)
    npmnv3.testing.assert_matches("mine.h5", port)
    return report.fine and bool(report)


def cost() -> float:
    recipe = npmnv3.Preprocess("mine", side=(64, 64))
    shapes: dict[str, tuple[int, ...]] = npmnv3.param_shapes("timm/mobilenetv3_small_100", 10)
    done = npmnv3.convert("mine.pth", "mine.h5")
    report = npmnv3.quantize(done.path, ["cat.png"], wide=["stem"], out=None)
    pictures = npmnv3.evaluation.open_dataset("labelled")
    npmnv3.evaluation.evaluate([npmnv3.evaluation.Network("mine.h5")], pictures)
    return report.outcome.agreement + len(shapes) + recipe.side[0] + len(report.advice)
