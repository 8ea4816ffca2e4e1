"""Ports with one fault each, made without the verifier's own table of faults.

A port is a network of its own making (another `Source`, other parameters, another input) run in float32 or rounded to
float16 throughout, whose tensors are then renamed, shuffled, put in other layouts and partly lost.
"""

from dataclasses import replace

import goldens
import numpy as np

from npmnv3.network.folding import canonical_arrays
from npmnv3.network.plan import make_plan
from npmnv3.network.spec import HARD_SWISH, RELU
from npmnv3.network.steps import Step
from npmnv3.network.variants import get_variant
from npmnv3.network.walk import apply
from npmnv3.ops import definitions
from npmnv3.pictures import recipes


def half(x):
    with np.errstate(over="ignore"):
        return np.asarray(x, np.float32).astype(np.float16).astype(np.float32)


def run(plan, arrays, x, rounding):
    """{step: tensor} of a plan; every parameter and tensor goes through `rounding`."""
    arrays = {name: rounding(array.astype(np.float32)) for name, array in arrays.items()}
    tensors = {"input": rounding(x)}
    with np.errstate(all="ignore"):
        for step in plan:
            tensors[step.name] = rounding(apply(step, [tensors[i] for i in step.inputs], arrays, definitions))
    return tensors


class Maker:
    """Makes ports of one model; `side` cuts what the network gets to fewer pixels, for searches that are long."""

    def __init__(self, model, picture, side=None):
        self.variant = get_variant(model)
        self.recipe = recipes.RECIPES[self.variant.preprocess]
        self.state, self.picture = goldens.state(model), picture
        self.x = recipes.preprocess(picture, self.recipe)[None]
        if side is not None:
            self.x = np.ascontiguousarray(self.x[:, :, :side, :side])
        self.side = self.x.shape[2:]
        self.plan = make_plan(self.variant, side=self.side)
        self.arrays = canonical_arrays(self.plan, self.state, np.float64)

    def clean(self, rounding):
        return run(self.plan, self.arrays, self.x, rounding)

    def faults(self):
        """{(fault, what): function (rounding) -> tensors}, those that this model can have."""
        found = {}
        for make in (self._sources, self._plans, self._parameters, self._inputs, self._outputs):
            found |= make()
        return found

    def of(self, plan, arrays=None, x=None):
        return lambda rounding: run(plan, self.arrays | (arrays or {}), self.x if x is None else x, rounding)

    def _sources(self):
        """Another rule of the source."""
        source, found = self.variant.source, {}
        has_se = any(block.se for block in self.variant.table)

        def other(fault, what, **fields):
            plan = make_plan(self.variant._replace(source=source._replace(**fields)), side=self.side)
            named = {s.name: s for s in self.plan}
            # a moved step may be called otherwise, but its parameters keep their names
            known = {p.name for s in self.plan for p in s.params}
            if plan != self.plan and all(p.name in known for s in plan for p in s.params) and named:
                found[fault, what] = self.of(plan)

        if has_se:
            other("hard_sigmoid_slope", "the other slope", gate_slope=0.2 if source.gate_slope < 0.19 else 1 / 6)
            other("se_order", "the other order", se_before_act=not source.se_before_act)
            other("se_activation", "hard-swish", se_act=HARD_SWISH)
            other("se_activation", "relu", se_act=RELU)
        other("dropout_scale", "toggled", head_gain=1.0 if source.head_gain != 1 else 0.8)
        other("norm_eps", "the other", norm_eps=1e-5 if source.norm_eps > 5e-4 else 1e-3)
        other("padding", "the other", padding="same" if source.padding == "symmetric" else "symmetric")
        other("skip_path", "activation after addition", act_after_add=not source.act_after_add)
        return found

    def _plans(self):
        """A change of single steps."""
        edit, found, steps = self.edit, {}, {s.name: s for s in self.plan}
        adds = [s for s in self.plan if s.op == "add" and ".shortcut" not in s.inputs[1]]
        if adds:
            found["residual", "none"] = edit({s.name: [replace(s, op="identity", inputs=s.inputs[:1])] for s in adds})
            last = adds[-1]
            found["residual", "one missing"] = edit({last.name: [replace(last, op="identity", inputs=last.inputs[:1])]})
        for what, ops, op in (
            ("relu for hard-swish", (HARD_SWISH,), RELU),
            ("hard-swish for relu", (RELU,), HARD_SWISH),
        ):
            main = [s for s in self.plan if s.op in ops and ".se." not in s.name]
            if main:
                found["activation", what] = edit({s.name: [replace(s, op=op)] for s in main})
        swish = [s for s in self.plan if s.op == HARD_SWISH]
        found["activation", "hard-sigmoid for hard-swish"] = edit(
            {s.name: [replace(s, op="hard_sigmoid", slope=1 / 6)] for s in swish if ".se." not in s.name}
        )
        if "head.fc" in steps:
            act = steps["head"]
            early = Step("early", act.op, steps["head.fc"].inputs, steps["head.fc"].shape)
            found["head_order", "activation first"] = edit(
                {
                    "head.fc": [early, replace(steps["head.fc"], inputs=("early",))],
                    "head": [replace(act, op="identity")],
                }
            )
        pool, lasts = steps["pool"], [s for s in self.plan if s.name.startswith("last")]
        moved = [
            replace(s, op="linear" if s.params and s.op != "batch_norm" else s.op, shape=s.shape[:1]) for s in lasts
        ]
        early = replace(pool, inputs=lasts[0].inputs, shape=steps[lasts[0].inputs[0]].shape[:1])
        plan = [s for s in self.plan if s not in lasts and s is not pool]
        at = next(i for i, s in enumerate(plan) if "pool" in s.inputs)
        plan[at] = replace(plan[at], inputs=("last",))
        found["head_order", "pool first"] = self.of(
            tuple([*plan[:at], early, replace(moved[0], inputs=("pool",)), *moved[1:], *plan[at:]])
        )
        found["stride", "on the 1x1"] = self._stride_on_expand()
        return found

    def edit(self, edits):
        return self.of(tuple(new for s in self.plan for new in edits.get(s.name, [s])))

    def _stride_on_expand(self):
        """The first strided block with an expand convolution strides there; slicing is what a stride on a 1x1 does."""
        steps = {s.name: s for s in self.plan}
        depthwise = next(
            s
            for s in self.plan
            if s.op == "depthwise_conv2d" and s.stride == (2, 2) and s.name.replace("depthwise", "expand") in steps
        )
        expand = steps[depthwise.name.replace("depthwise", "expand")]

        def make(rounding):
            arrays = {name: rounding(a.astype(np.float32)) for name, a in self.arrays.items()}
            tensors = {"input": rounding(self.x)}
            for step in self.plan:
                inputs = [tensors[i] for i in step.inputs]
                if step is expand:
                    inputs = [inputs[0][:, :, ::2, ::2]]
                step = replace(step, stride=(1, 1)) if step is depthwise else step
                tensors[step.name] = rounding(apply(step, inputs, arrays, definitions))
            return tensors

        return make

    def _parameters(self):
        """Parameters lost on the way."""
        found = {}
        se = [p for s in self.plan if ".se." in s.name and s.op == "linear" for p in s.params if p.role == "bias"]
        if se:
            found["se_bias_missing", "all"] = self.of(self.plan, {p.name: np.zeros(p.canonical) for p in se})
        norms = [s for s in self.plan if ".se." in s.name and s.op == "batch_norm"]
        if norms:
            found["se_norm", "none"] = self.edit({s.name: [replace(s, op="identity", params=())] for s in norms})
        widths = [s for s in self.plan if ".se." in s.name and s.op == "linear"]
        cut = {}
        for step in widths:
            weight = step.param("weight")
            axis = 0 if "squeeze" in step.name else 1
            new = weight.canonical[axis] * 3 // 4
            for param in step.params:
                if axis < len(param.canonical):
                    cut[param.name] = self.arrays[param.name].take(range(new), axis)
        norm_params = {
            p.name: self.arrays[p.name][: len(self.arrays[p.name]) * 3 // 4]
            for s in norms
            for p in s.params
            if p.role != "count"
        }
        if widths:
            found["se_width", "three quarters"] = self.of(self.plan, cut | norm_params)
        return found

    def _inputs(self):
        """Another way from the picture to the network."""
        r, x = self.recipe, self.x
        mean, std = (np.array(v)[:, None, None] for v in (r.mean, r.std))
        unit = x * std + mean

        def by(**fields):
            return recipes.preprocess(self.picture, replace(r, **fields))[None]

        noise = np.random.default_rng(5).integers(-2, 3, x.shape) / 255 / std
        given = {
            ("channel_order", "BGR"): x[:, ::-1],
            ("input_scale", "no normalization"): unit,
            ("input_scale", "bytes"): (255 * unit - mean) / std,
            ("input_scale", "normalized twice"): (x - mean) / std,
            ("mean_std", "half"): unit * 2 - 1,
            ("resize", "other size"): by(resize=240),
            ("resize", "no antialias"): by(
                interpolation="cv2_linear" if r.interpolation != "cv2_linear" else "bilinear"
            ),
            ("interpolation", "the other"): by(interpolation="bicubic" if r.interpolation != "bicubic" else "bilinear"),
            ("squash", "to 224"): by(fit="squash", resize=224),
            ("decoder", "off by 2"): x + noise,
        }
        if r.mean == (0.5,) * 3:
            del given["mean_std", "half"]
        return {key: self.of(self.plan, x=np.ascontiguousarray(value, np.float32)) for key, value in given.items()}

    def _outputs(self):
        """What happens to a tensor afterwards, and another row's network."""

        def shifted(rounding):
            tensors = self.clean(rounding)
            return tensors | {"logits": np.roll(tensors["logits"], 1, axis=1)}

        def background(rounding):
            tensors = self.clean(rounding)
            return tensors | {"logits": np.concatenate([tensors["logits"][:, :1] - 3, tensors["logits"]], axis=1)}

        def overflown(rounding):
            tensors = self.clean(rounding)
            name = next(s.name for s in self.plan if s.name == "blocks.4.depthwise")
            tensors[name] = np.where(
                tensors[name] >= np.partition(tensors[name].ravel(), -5)[-5], np.inf, tensors[name]
            )
            return tensors

        found = {
            ("class_shift", "by one"): shifted,
            ("class_shift", "1001"): background,
            ("overflow", "inf"): overflown,
        }
        donor = {
            "torchvision": "timm/tf_mobilenetv3_small_100",
            "timm": "keras/MobileNetV3Small",
            "showlo": "keras/MobileNetV3Small",
        }
        if self.variant.name in ("mobilenet_v3_small", "mobilenetv3_small_100"):
            found["other_source", donor[self.variant.source.name]] = self._as_row(donor[self.variant.source.name])
        return found

    def _as_row(self, name):
        other = make_plan(get_variant(name), side=self.side)
        mine = {s.name: s for s in self.plan}
        plan = tuple(
            replace(s, params=tuple(p for p in mine[s.name].params if s.param(p.role)) if s.params else ())
            for s in other
        )
        return self.of(plan)


def disguise(tensors, plan, rng, *, keep=0.6, names=True, layout="nchw"):
    """The tensors as somebody else would hand them over: renamed, some of them lost, in another layout.

    The logits are always kept, and of the others a share of `keep`.
    """
    found = {}
    for i, (name, tensor) in enumerate(tensors.items()):
        if name != "logits" and rng.random() > keep:
            continue
        if layout == "nhwc" and tensor.ndim == 4:
            tensor = np.ascontiguousarray(tensor.transpose(0, 2, 3, 1))
        found[name if names else f"tensor_{i:03d}"] = tensor
    return found
