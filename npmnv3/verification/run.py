"""`npmnv3.verify`: a port against the reference, from its tensors to the verdict."""

import os

import numpy as np

from ..engines.blas import one_thread
from ..errors import UsageError
from ..model import Model, load
from ..network.steps import INPUT
from . import noise
from .changes.inputs import input_changes
from .changes.rows import row_changes, shape_evidence
from .changes.table import CHANGES
from .explain import Explainer
from .inputs import pick_input
from .matching import Matching, match, with_probabilities
from .measure import decisions, measure
from .net import Net
from .port import load_port, runs
from .port_run import PortRun
from .report import TensorReport
from .stages import compare_stages, split_stages
from .tensor_names import named_steps
from .tensors import PortTensor, relative_error
from .verdict import judge

FACTOR = 10.0  # errors up to this many times honest rounding are fine


def verify(
    model, port, input=None, *, weights=None, map=None, precision="auto", factor=FACTOR, explain=True, num_classes=None
):
    """Compare a port of a network with the original, and say where and why they part.

    Parameters
    ----------
    model : Model, or a model's name or dump as `npmnv3.load` takes it
    port : path of an .npz, HDF5, .npy or .onnx file or of a folder of .npy or .bin files; mapping {name: array}; or
        callable: (N, 3, H, W) float32 -> logits, mapping or sequence of arrays. Any subset of the network's tensors,
        under any names, in any usual layout.
    input : what the port was given: a picture (path, bytes, PIL image, (H, W, 3) uint8), a path of an .npy, an array
        (N, 3, H, W) or (3, H, W) of floats, or a list of pictures; default the port's own input tensor or, where the port
        is run here, made-up numbers
    weights : dump or mapping, as for `npmnv3.load`
    map : {port's tensor: step's name, or None to leave it out}
    precision : "float32", "float16", "bfloat16", "int8", or "auto": what the port's numbers look like
    factor : errors up to this many times that precision's rounding are fine
    explain : bool, look for the cause

    Returns
    -------
    Report; true if the verdict is "fine"

    Raises
    ------
    UsageError, PictureError, and what `npmnv3.load` raises
    """
    if precision not in ("auto", *noise.PRECISIONS):
        raise UsageError(f"precision is {precision!r}, expected auto, {', '.join(noise.PRECISIONS)}")
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not factor >= 1:
        raise UsageError(f"factor is {factor!r}, expected a number from 1")
    model = model if isinstance(model, Model) else load(model, weights, num_classes, engine="numpy")
    given = pick_input(model, input, None if runs(port) else port)
    # A port may hold anything, also NaN and numbers whose squares overflow: what comes of them is measured, not warned of.
    with one_thread(), np.errstate(all="ignore"):
        tensors = load_port(port, given.x)
        if given.x is None:
            given = given.from_port(tensors)
        bench = _Bench(model, given, tensors, map)
        return judge(bench, _name(port), precision, float(factor), explain)


def _name(port):
    return os.fspath(port) if isinstance(port, (str, os.PathLike)) else getattr(port, "__name__", type(port).__name__)


class _Bench:
    """The reference set up beside a port: matched tensors, and what the reference gives for them.

    One picture's tensors are looked at, that whose logits are furthest off; the logits of all.
    """

    def __init__(self, model, given, tensors, mapping):
        self.model, self.given = model, given
        self.all_tensors, self.stages = split_stages(tensors)
        plan = model.plan_for(given.x.shape[2:])
        self.net = Net(with_probabilities(plan), given.x.shape[1:])
        self.exact = model.arrays()
        self.arrays = {name: array.astype(np.float32) for name, array in self.exact.items()}
        self.mapping = mapping
        self.logits = None
        self._check_batch(len(given.x))
        self._settle(0)
        if len(given.x) > 1 and "logits" in self.views:
            self.logits = self._all_logits()
            worst = int(np.argmax(np.abs(np.nan_to_num(self.logits[0] - self.logits[1], nan=np.inf)).max(axis=1)))
            if worst:
                self._settle(worst)

    def _check_batch(self, n):
        sizes = {t.array.shape[0] for t in self.all_tensors if t.array.ndim}
        if n > 1 and n not in sizes:
            raise UsageError(
                f"{n} inputs were given, but no tensor of the port has {n} pictures (first axes: {sorted(sizes)[:8]})"
            )

    def _settle(self, index):
        """Match the tensors of one picture."""
        n = len(self.given.x)
        self.index, self.x = index, np.ascontiguousarray(self.given.x[index : index + 1], np.float32)
        self.tensors = [
            (
                PortTensor(t.name, t.array[index : index + 1], t.scale, t.index)
                if n > 1 and t.array.ndim and len(t.array) == n
                else t
            )
            for t in self.all_tensors
        ]
        self.matching = match(self.net, self.arrays, self.x, self.tensors, self.mapping)
        self.views = self.matching.views
        if not self.views and not shape_evidence(self.net, self.model.variant, self.matching.free, self.named()):
            raise UsageError(_nothing_fits(self.model, self.tensors, self.net))

    def adopt(self, net):
        """Match once more, against the reference with the faults that explain the port: then a faulty step's tensor, too,
        is just what that step gives.
        """
        arrays = self.arrays | {name: make(self.arrays) for name, make in net.arrays.items()}
        given = {port: step for port, step in (self.mapping or {}).items() if step is None or step in net.steps}
        found = match(net, arrays, self.x if net.pictures is None else net.pictures, self.tensors, given)
        shapes = {INPUT: self.net.input_shape} | {name: step.shape for name, step in self.net.steps.items()}
        views = {name: found.views[name] for name in shapes if name in found.views}
        views = {name: view for name, view in views.items() if view.data.shape[1:] == shapes[name]}
        known = {view.tensor.name for view in views.values()} | set(found.copies)
        self.matching = Matching(views, found.how, [t for t in self.tensors if t.name not in known], found.copies)
        self.views = views
        self.prepare()

    def _all_logits(self):
        """(port's, reference's float64) logits of all pictures."""
        view = self.views["logits"]
        tensor = next(t for t in self.all_tensors if t.name == view.tensor.name)
        found = tensor.array.reshape(len(self.given.x), -1).astype(np.float64)
        expected = [self._logits(i) for i in range(len(found))]
        return found, np.concatenate(expected)

    def _logits(self, i):
        return noise.trace(self.net, self.exact, self.given.x[i : i + 1], keep=("logits",))["logits"]

    def stage_notes(self):
        """How the port's preprocessing stages, if it gave any, differ: list of str."""
        picture = self.given.pictures[0] if self.given.pictures and len(self.given.x) == 1 else None
        return compare_stages(self.stages, picture, self.model.preprocess)

    def decisions(self):
        """See `measure.decisions`; None without logits."""
        if self.logits is None and "logits" in self.views:
            self.logits = self.views["logits"].data.astype(np.float64), self.oracle["logits"]
        return decisions(*self.logits) if self.logits else None

    def prepare(self):
        """The walk along the port, and the float64 references: whole run, and with the port's own inputs."""
        unsure = [name for name, how in self.matching.how.items() if how in ("likeness", "use")]
        self.port_run = PortRun(self.net, self.arrays, self.x, self.views, self.matching.free, unsure)
        self.keep = {INPUT, "logits", *self.views}
        self.oracle = noise.trace(self.net, self.exact, self.x, keep=self.keep)
        forced = {name: v.data for name, v in self.views.items() if v.finite is None}
        if not self.port_run.forces_input:
            forced.pop(INPUT, None)
        self.forced = forced
        self.local = noise.trace(self.net, self.exact, self.x, "float64", forced, self.keep)

    def noises(self, precision):
        """{step's name: (C,) mean squared error of honest rounding} for the matched tensors: (local, accumulated).

        The local one is on the port's own tensors: a port that is given other numbers rounds otherwise.
        """
        arrays = noise.rounded_arrays(self.arrays, precision)
        result = []
        for forced, exact in ((self.forced, self.local), ({}, self.oracle)):
            run = noise.trace(self.net, arrays, self.x, precision, forced, self.keep)
            result.append({name: self._noise(name, run[name], exact[name]) for name in self.views})
        self.logits_noise = relative_error(self.oracle["logits"], run["logits"])
        return result

    def _noise(self, name, run, exact):
        with np.errstate(over="ignore", invalid="ignore"):
            error = np.square(run - exact)
        error[~np.isfinite(error)] = 0
        step_size = self.views[name].tensor.scale
        return error.mean(axis=(0, *range(2, error.ndim))) + step_size**2 / 12

    def floor(self, name, precision):
        """Mean squared error below which nothing is held against a port: half the last place of typical values."""
        return float(np.square(self.local[name]).mean()) * (noise.PRECISIONS[precision] / 2) ** 2 + 1e-60

    def jittered(self, name):
        """Squared relative error at a step of an input that is off by up to 2 of 255, as decoders differ."""
        levels = np.random.default_rng(0).integers(-2, 3, self.x.shape) / 255
        x = self.x + levels / np.asarray(self.model.preprocess.std)[:, None, None]
        return relative_error(self.oracle[name], noise.trace(self.net, self.exact, x, keep=(name,))[name])

    def measures(self, precision, factor):
        """list of TensorReport."""
        local_noise, whole_noise = self.noises(precision)
        rows = []
        for name, view in self.views.items():
            floor, found = self.floor(name, precision), view.data.astype(np.float64)
            local = measure(found, self.local[name], local_noise[name], floor)
            whole = measure(found, self.oracle[name], whole_noise[name], floor)
            shape = view.tensor.array.shape
            rows.append(
                TensorReport(
                    view.tensor.name,
                    name,
                    self.matching.how[name],
                    view.layout,
                    shape,
                    local,
                    whole,
                    bool(local.ratio <= factor),
                    view.permutation,
                )
            )
        return rows

    def explainer(self, rows, precision, factor):
        """An Explainer over all faults."""
        least = noise.PRECISIONS[precision] ** 2
        floors = {t.name: max(self.logits_noise, least) for t in self.matching.free}
        floors |= {row.port: max(10 ** (-row.local.noise_db / 10), least / 4) for row in rows}
        pictures = [self.given.pictures[self.index]] if self.given.pictures else ()
        changes = (
            *CHANGES,
            *input_changes(self.x, self.model.preprocess, pictures),
            *row_changes(self.net, self.model.variant),
        )
        return Explainer(self.port_run, floors, factor, changes)

    def named(self):
        """{port tensor's name: step's name} as far as names tell, for the tensors that fit nowhere."""
        return named_steps(self.net, self.matching.free)


def _nothing_fits(model, tensors, net):
    shapes = ", ".join(f"{t.name} {t.array.shape}" for t in tensors[:5])
    return (
        f"none of the port's {len(tensors)} tensors has the shape of a step of {model.variant.full_name} "
        f"({shapes}{', ...' if len(tensors) > 5 else ''}); its logits are {net.steps['logits'].shape}"
    )
