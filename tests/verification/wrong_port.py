"""Write the tensors of a port with one fault, as the example of npmnv3/verification/README.md has them.

    python tests/verification/wrong_port.py port.npz

The text-direction classifier with hard-sigmoid's slope 1/6 in place of 0.2: ten tensors, renamed, channels last.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import npmnv3
from npmnv3.network.folding import canonical_arrays
from npmnv3.network.plan import make_plan
from npmnv3.network.steps import INPUT
from npmnv3.network.walk import apply, walk
from npmnv3.ops import definitions

PICTURE = Path(__file__).parents[2] / "weights/examples/hello_upright.png"
KEPT = "input stem blocks.0.depthwise blocks.0.gate blocks.0 blocks.1 blocks.2 blocks.3.gate blocks.3 logits".split()


def port():
    """{name: array} as the port would write it."""
    model = npmnv3.load("ppocr/text_direction", engine="numpy")
    x = npmnv3.preprocess(PICTURE, model)[None]
    plan = make_plan(model.variant, model.num_classes, side=x.shape[2:])
    plan = tuple(replace(step, slope=1 / 6) if step.op == "hard_sigmoid" else step for step in plan)
    arrays = {name: np.asarray(a, np.float32) for name, a in canonical_arrays(plan, model.params).items()}
    tensors = {INPUT: x}
    for _ in walk(plan, tensors, lambda step, inputs: apply(step, inputs, arrays, definitions), keep=set(KEPT)):
        pass
    layouts = (np.moveaxis(tensors[name], 1, -1) for name in KEPT)
    return {f"layer_{number:02}": np.ascontiguousarray(tensor) for number, tensor in enumerate(layouts)}


if __name__ == "__main__":
    np.savez(sys.argv[1], **port())
