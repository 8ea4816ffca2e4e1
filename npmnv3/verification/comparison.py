"""A port beside the reference: its tensors matched, and measured against what honest arithmetic gives."""

import copy
from dataclasses import replace

import numpy as np

from ..errors import UsageError
from ..network.steps import INPUT
from . import noise
from .agreement import acquitted, wrong_mappings
from .changes.rows import shape_evidence
from .fixed_point import FRACTION_BITS
from .inputs import check_batch, nothing_fits
from .matching import SURE, match
from .measure import decisions, measure, share
from .net import Net, with_probabilities
from .port_run import PortRun
from .readings import place_by_order
from .report import TensorReport
from .stages import compare_stages, split_stages
from .tensor_names import named_steps
from .tensors import relative_error

FIXED_FACTOR = 4.0  # of fixed point's rounding at most: ports that cut off what they should round have up to 3.6
REFUSALS = 3  # times that tensors are mapped again because what all else agrees on refutes the mapping


class Comparison:
    """The tensors of a port, matched with a network's steps and measured.

    One picture's tensors are looked at, that whose logits are furthest off; the logits of all.

    Parameters
    ----------
    model : Model
    given : inputs.Input, what the port was given
    tensors : list of PortTensor
    mapping : {port's name: step's name or None} or None
    precision : a key of `noise.PRECISIONS`, or "auto"
    factor : float, errors up to so many times that precision's rounding pass

    Attributes
    ----------
    net : Net, the reference, or a faulty one (see `under`)
    matching, views : see `matching.Matching`
    rows : list of TensorReport
    refuted : {port's name: step's name}, mappings that all else refutes
    port_run : PortRun
    precision, marked : what the port computes in, and whether its numbers bear the marks of it
    """

    def __init__(self, model, given, tensors, mapping, precision, factor):
        self.model, self.given, self.mapping, self.asked_factor = model, given, mapping, factor
        self.all_tensors, self.stages = split_stages(tensors)
        plan = model.plan_for(given.x.shape[2:])
        self.net = self.reference = Net(with_probabilities(plan), given.x.shape[1:])
        self.exact = self.model_arrays = model.arrays()
        self.arrays = {name: array.astype(np.float32) for name, array in self.exact.items()}
        self._whole = {}
        self.detailed = True  # see `measure.measure`; a search needs no more than the ratios
        check_batch(len(given.x), self.all_tensors, self.net.steps["logits"].shape[0])
        self._choose(0)
        self.marked = precision == "auto"
        self.precision = noise.precision_of(self._outputs()) if precision == "auto" else precision
        self._settle()
        self.logits = None  # of all pictures, where there are several: (the port's, the reference's)
        if len(given.x) > 1 and "logits" in self.views:
            self.logits = self._all_logits()
            worst = int(np.argmax(np.abs(np.nan_to_num(self.logits[0] - self.logits[1], nan=np.inf)).max(axis=1)))
            if worst:
                self._choose(worst)
                self._settle()

    @property
    def factor(self):
        """Errors up to so many times that precision's rounding pass."""
        return min(self.asked_factor, FIXED_FACTOR) if self.is_fixed else self.asked_factor

    @property
    def is_fixed(self):
        """Whether the port is in fixed point."""
        return self.precision in FRACTION_BITS

    def _outputs(self):
        """The port's tensors but its input."""
        return [t for t in self.tensors if not t.views(self.net.input_shape, 1)] or self.tensors

    def _choose(self, index):
        """Look at one picture's tensors."""
        n = len(self.given.x)
        self.index, self.x = index, np.ascontiguousarray(self.given.x[index : index + 1], np.float32)
        self.tensors = [
            replace(t, array=t.array[index : index + 1]) if n > 1 and t.array.ndim and len(t.array) == n else t
            for t in self.all_tensors
        ]
        self._whole.clear()

    def _settle(self):
        """Match, run along the port and measure; and again without the mappings that all else refutes."""
        barred, self.refuted = set(), {}
        for _ in range(REFUSALS):
            self._match(barred)
            self._measure()
            wrong = wrong_mappings(self)
            if not wrong:
                return
            barred |= wrong
            self.refuted |= dict(wrong)

    def _match(self, barred):
        known = {INPUT, *self.net.steps}
        given = self.mapping or {}
        if self.net is not self.reference:  # a fault may have dropped a step
            given = {port: step for port, step in given.items() if step is None or step in known}
        self.matching = match(
            self.net,
            self.arrays,
            self._input(),
            self.tensors,
            given,
            precision=self.precision,
            barred=frozenset(barred),
        )
        self.views = self.matching.views
        if not self.views and not self.shape_evidence():
            raise UsageError(nothing_fits(self.model, self.tensors, self.net))

    def other_finals(self):
        """list of PortTensor that have the logits' shape and are not the logits, their softmax, or copies."""
        return [t for t in self.matching.free if t.views(self.net.steps["logits"].shape, 1)]

    def under(self, net):
        """The same port against a faulty reference: a Comparison of its own."""
        other = copy.copy(self)
        other.net, other._whole, other.detailed = net, {}, False
        other.exact = dict(net.with_arrays(self.model_arrays))
        other.arrays = {name: array.astype(np.float32) for name, array in other.exact.items()}
        other._settle()
        return other

    def by_order(self, sure=False):
        """The same port, its free tensors given to steps by the port's own order; None if that places none.

        A guess: it locates what is wrong, and what is then found must stand by itself. `sure`: as `place_by_order`.
        """
        found = place_by_order(self.net, self.matching, sure)
        if not found:
            return None
        other = copy.copy(self)
        how = {**self.matching.how, **dict.fromkeys(found, "order")}
        other._take({**self.views, **found}, replace(self.matching, how=how))
        return other

    def in_precision(self, precision, factor):
        """The same port, taken for one that computes in another precision."""
        other = copy.copy(self)
        other.precision, other.asked_factor, other.marked = precision, factor, False
        other._settle()
        return other

    def of_input(self, given):
        """The same port, taken for one that was given another input."""
        tensors = [*self.all_tensors, *self.stages.values()]
        other = Comparison(self.model, given, tensors, self.mapping, self.precision, self.asked_factor)
        other.marked = self.marked
        return other

    def with_columns_first(self):
        """The same port, taken for one that stores its maps' columns first."""
        tensors = [replace(t, columns_first=True) for t in self.all_tensors]
        given = self.given.noted("the port stores its maps with their columns first")
        precision = "auto" if self.marked else self.precision
        return Comparison(
            self.model, given, [*tensors, *self.stages.values()], self.mapping, precision, self.asked_factor
        )

    def adopt(self, other):
        """Take over what another comparison matched: against the right fault a faulty step's tensor is known, too."""
        shapes = {INPUT: self.net.input_shape} | {name: step.shape for name, step in self.net.steps.items()}
        fits = {name: view for name, view in other.views.items() if view.data.shape[1:] == shapes.get(name)}
        self._take(fits, other.matching)

    def _take(self, views, matching):
        """Look at these views, and at what else a matching says."""
        self.views = {name: views[name] for name in (INPUT, *self.net.steps) if name in views}
        left_out = {name for name, step in (self.mapping or {}).items() if step is None}
        known = {view.tensor.name for view in self.views.values()} | matching.copies.keys() | left_out
        free = [t for t in self.tensors if t.name not in known]
        self.matching = replace(matching, views=self.views, free=free)
        self._measure()

    def _all_logits(self):
        """(port's, reference's float64) logits of all pictures."""
        view = self.views["logits"]
        tensor = next(t for t in self.all_tensors if t.name == view.tensor.name)
        n, shape = len(self.given.x), self.net.steps["logits"].shape
        found = next(v for v in tensor.views(shape, n) if v.layout == view.layout).data.astype(np.float64)
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
        if self.logits is not None:
            return decisions(*self.logits)
        if "logits" not in self.views:
            return None
        return decisions(self.views["logits"].data.astype(np.float64), self.oracle["logits"])

    def _input(self):
        return self.x if self.net.pictures is None else self.net.pictures

    def _measure(self):
        """The walk along the port, the float64 references (whole run, and with the port's own inputs), and the rows."""
        self.port_run = PortRun(
            self.net, self.arrays, self._input(), self.views, self.matching.free, SURE[self.precision]
        )
        self.keep = {INPUT, "logits", *self.views}
        self.oracle = self._whole_run("float64")
        forced = {name: v.data for name, v in self.views.items() if v.finite is None}
        if not self.port_run.forces_input:
            forced.pop(INPUT, None)
        self.forced = forced
        self.local = self._trace("float64", forced) if forced else self.oracle
        self.rows = self._rows()

    def _trace(self, precision, forced, keep=None):
        arrays = self.exact if precision == "float64" else noise.rounded_arrays(self.arrays, precision)
        return noise.trace(self.net, arrays, self._input(), precision, forced, keep or self.keep)

    def _whole_run(self, precision):
        """The network's own run in a precision, kept: what is matched may change, this does not."""
        if not self._whole.get(precision, {}).keys() >= self.keep:
            self._whole[precision] = self._trace(precision, {}, {INPUT, *self.net.steps})
        return self._whole[precision]

    def _noises(self):
        """{step's name: (C,) mean squared error of honest rounding} for the matched tensors: (local, accumulated).

        The local one is on the port's own tensors: a port that is given other numbers rounds otherwise.
        """
        whole = self._whole_run(self.precision)
        local = self._trace(self.precision, self._unprinted()) if self.forced else whole
        pairs = ((local, self.local), (whole, self.oracle))
        return [{name: self._noise(name, run[name], exact[name]) for name in self.views} for run, exact in pairs]

    def _unprinted(self):
        """What each step got, as it may have been before it was printed."""
        rng, found = np.random.default_rng(0), dict(self.forced)
        for name in found:
            if (steps := self.views[name].print_steps) is not None:
                found[name] = found[name] + (rng.uniform(-0.5, 0.5, steps.shape) * steps).astype(np.float32)
        return found

    def _logits_noise(self):
        """Squared relative error of the logits of an honest run; 0 where that overflows."""
        error = relative_error(self.oracle["logits"], self._whole_run(self.precision)["logits"])
        return error if error < 1 else 0.0

    def _noise(self, name, run, exact):
        with np.errstate(over="ignore", invalid="ignore"):
            error = np.square(run - exact)
        error[~np.isfinite(error)] = 0
        view = self.views[name]
        if view.print_steps is not None:
            error += np.square(view.print_steps) / 12
        fixed = 2.0**-view.tensor.fraction_bits if self.is_fixed and view.tensor.fraction_bits else 0.0
        return error.mean(axis=(0, *range(2, error.ndim))) + (view.scale or fixed) ** 2 / 12

    def _floor(self, name):
        """Mean squared error below which nothing is held against a port: half the last place of typical values."""
        return float(np.square(self.local[name]).mean()) * (noise.roundoff(self.precision) / 2) ** 2 + 1e-60

    def _rows(self):
        """list of TensorReport."""
        local_noise, whole_noise = self._noises()
        rows = []
        for name, view in self.views.items():
            floor, found = self._floor(name), view.data.astype(np.float64)
            local = measure(found, self.local[name], local_noise[name], floor, self.detailed)
            whole = measure(found, self.oracle[name], whole_noise[name], floor, self.detailed)
            how, shape = self.matching.how[name], view.tensor.array.shape
            passes = bool(local.ratio <= self.factor)
            rows.append(
                TensorReport(view.tensor.name, name, how, view.layout, shape, local, whole, passes, view.permutation)
            )
        # That the logits are right acquits nothing of a rounding so coarse.
        return rows if self.is_fixed or self.precision == "int8" else acquitted(rows, self.factor)

    def failing(self):
        """The rows that are off by more than rounding."""
        return [row for row in self.rows if not row.passes]

    def floors(self):
        """{port tensor's name: squared relative error of honest rounding}"""
        least = noise.roundoff(self.precision) ** 2
        floors = dict.fromkeys((t.name for t in self.matching.free), max(self._logits_noise(), least))
        return floors | {row.port: max(share(row.local.noise_db), least / 4) for row in self.rows}

    def named(self):
        """{port tensor's name: step's name} as far as names tell, for the tensors that fit nowhere."""
        return named_steps(self.net, self.matching.free)

    def shape_evidence(self):
        """See `changes.rows.shape_evidence`."""
        return shape_evidence(self.net, self.model.variant, self.matching.free, self.named())
