"""`npmnv3.verify` of a quantised port: from its file and its integers to the verdict."""

import copy
import os
from dataclasses import replace

import numpy as np

from ...engines.blas import one_thread
from ...engines.integer_engine import IntegerEngine
from ...errors import MissingWeightsError, UsageError
from ...model import Model, load
from ...network.steps import INPUT
from ...network.variants import get_variant
from ...ops.kernel_sets import KERNEL_SETS, USUAL_OF_FILES, get_kernel_set
from ...pictures import recipes
from ...progress import progress_bar
from .at_once import explain_at_once
from .because import FEW, because_text
from .cost import MADE_UP, measure_cost
from .explain import explain
from .forced import KINDS, Forced
from .given import compare_input, float_input, given_input, made_up
from .matching import match
from .port import OtherNetwork, is_quantized_port, read_port
from .report import QuantizedReport, TensorRow
from .tensors import read_tensors
from .ties import BIAS_IN_FLOATS, ON_A_TIE, numbers_on_ties, ties_text
from .weights import check_weights

_MAY_FLOAT = ("onnx", "torch")  # schemes of which some engines compute layers in floats, or add biases so


def verify_quantized(
    model, port, tensors=None, input=None, *, weights=None, kernels=None, explain=True, num_classes=None
):
    """Hold a quantised port against the float network and against each kernel set's exact integers.

    Parameters
    ----------
    model : as for `npmnv3.verify`; or a quantised dump or model, whose integers `port` then are
    port : path of a quantised .tflite, .onnx or dump; or, for a quantised model, the tensors
    tensors : a device's integers, see `read_tensors`; default none, only the file is judged
    input : as for `npmnv3.verify`; what the device was given, or what the cost is measured on
    weights, num_classes : of the float network
    kernels : str, one kernel set; default all of them
    explain : bool, look for the rule that explains what is not equal

    Returns
    -------
    QuantizedReport

    Raises
    ------
    UsageError, WeightsError, and what `npmnv3.load` raises
    """
    sets = [get_kernel_set(kernels)] if kernels else list(KERNEL_SETS.values())
    network, notes, weights_named = None, [], weights is not None or isinstance(model, Model)
    if is_quantized_port(model):
        if tensors is not None:
            raise UsageError(f"{model} is quantised itself, so {port!r} is its tensors: {tensors!r} is one too many")
        found, tensors, title = read_port(model, None), port, _title(model)
    else:
        network, variant, notes = _float_network(model, weights, num_classes)
        weights_named, title = weights_named or os.path.exists(model), variant.full_name
        try:
            found = read_port(port, variant)
        except OtherNetwork as error:
            return QuantizedReport(title, _title(port), "diverges", str(error))
    shown = _title(port) + (f" and {_title(tensors)}" if tensors is not None and tensors is not port else "")
    with one_thread(), np.errstate(all="ignore"), progress_bar(100, title="rules", unit="%") as tell:
        verification = _Verification(network, found, sets, notes, weights_named)
        return verification.run(title, shown, tensors, input, explain, lambda done, text: tell(round(100 * done), text))


def _title(path):
    return os.fspath(path) if isinstance(path, (str, os.PathLike)) else f"the {type(path).__name__}"


def _float_network(model, weights, num_classes):
    """(Model or None, Variant, notes)."""
    if isinstance(model, Model):
        return model, model.variant, []
    try:
        network = load(model, weights, num_classes, engine="numpy")
    except MissingWeightsError:
        variant = get_variant(model.partition("@")[0])
        note = f"the weights of {variant.full_name} are not here (--weights): not held against the float network"
        return None, variant, [note]
    return network, network.variant, []


def _at_side(network, plan):
    """The float network that prepares pictures at the port's input size."""
    if network is not None and network.preprocess is not None:
        network = copy.copy(network)
        network.preprocess = recipes.at_side(network.preprocess, plan.input_shape[1:])
    return network


class _Verification:
    """One port; `weights_named` is whether somebody said whose weights it has."""

    def __init__(self, network, port, sets, notes, weights_named):
        self.network, self.port, self.plan, self.sets = _at_side(network, port.plan), port, port.plan, sets
        self.notes, self.weights_named, self.named_input = [*notes, *port.plan.notes], weights_named, False
        if not port.whole and port.variant is not None:
            self.notes.append(f"ends at {port.plan.steps[-1].name}: it is the beginning of the network")
        if port.variant is None:
            self.notes.append("its graph is no network that is known: tensors have the file's names")

    @property
    def usual(self):
        """The kernel set that speaks for the file where nothing else does."""
        if len(self.sets) == 1:
            return self.sets[0]
        return get_kernel_set(self.port.kernels or USUAL_OF_FILES.get(self.port.scheme, "tflite-reference"))

    def run(self, title, shown, tensors, given, explains, tell):
        layers = self._layers()
        x, on, matching = self._inputs(tensors, given)
        report = QuantizedReport(title, shown, "fine", "", notes=self.notes, layers=layers)
        base = self.usual
        if matching is not None:
            base = self._judge(report, matching, explains, tell)
        if self.network is not None and not self._strange(layers):
            report.cost = self._cost(matching, x, on, base)
            rows = report.cost.snr_db
            report.tensors = [replace(row, snr_db=rows.get(row.step)) for row in report.tensors]
        self._decide(report, matching)
        return report

    def _layers(self):
        if self.network is None:
            return []
        if self.port.whole and self.network.num_classes != self.port.num_classes:
            self.notes.append(
                f"the port has {self.port.num_classes} classes, the float network {self.network.num_classes}"
            )
        return check_weights(self.network, self.plan)

    def _strange(self, layers):
        """Whether the float network has nothing to do with the port: every layer is another."""
        return bool(layers) and all(layer.wrong for layer in layers)

    def _inputs(self, tensors, given):
        """(x or None, which input that is, Matching or None)."""
        integers, floats = read_tensors(tensors) if tensors is not None else ([], {})
        x, on = given_input(given, self.network, self.port), "the input given"
        if x is None:
            x, on = float_input(floats, self.plan.input_shape)
        matching = None
        if tensors is not None:
            matching = match(self.plan, self.port.aliases, integers, lambda count, q: self._reference(q, x))
            seen = matching.values.get(INPUT)
            if x is not None and len(x) != matching.count:
                raise UsageError(f"{on} is of {len(x)} pictures, the tensors are of {matching.count}")
            if seen is None and x is not None:
                fused = self.usual.fused_picture
                matching.values[INPUT], self.named_input = self.plan.grids[INPUT].quantize(x, fused=fused), True
                self.notes.append(f"the port has no input of integers: {on} was quantised here, halves to even")
            elif seen is None:
                self.notes.append("nothing says what the port was given: steps before its first tensors are not judged")
            elif x is not None:
                self.notes += compare_input(seen, self.plan.grids[INPUT], x, on, self.usual)
            if x is None and seen is not None:
                x, on = self.plan.grids[INPUT].dequantize(seen), "the port's own input"
        if x is None:
            x, on = made_up(self.plan), MADE_UP
        return x, on, matching

    def _reference(self, q, x):
        """{step: integers} of a run by the usual kernels, to know tensors by what they hold; None without an input."""
        if q is not None:
            x = self.plan.grids[INPUT].dequantize(q)
        return None if x is None else IntegerEngine(self.plan, self.usual).trace(x, integers=True)

    def _judge(self, report, matching, explains, tell):
        """Fill in what the integers are; the kernel set that they are held against."""
        forced = Forced(self.plan, matching.values)
        fits = [forced.fit(kernels) for kernels in self._ordered()]
        if not fits[0].exact:
            raise UsageError(
                "none of the tensors can be judged: what goes into them is not there. Give the input's integers, under the name "
                "input, or `input=`"
            )
        report.kernel_sets = [
            {"name": fit.kernels.name, "exact": fit.count, "of": len(fit.exact), "first": fit.first} for fit in fits
        ]
        whole = [fit for fit in fits if fit.whole]
        best, ties = (whole[0], {}) if whole else self._nearest(forced, fits)
        report.kernels = tuple(fit.kernels.name for fit in whole) or (best.kernels.name,)
        report.unmatched = matching.unmatched
        if not whole and explains:
            at_once = explain_at_once(forced, best, self.named_input, self.usual)
            report.causes = at_once or explain(forced, best, tell, ties)
        rows = [_row(name, forced, best, matching, report.causes, ties) for name in best.exact]
        report.tensors = [replace(row, exact_of=_exact_of(row.step, fits)) for row in rows]
        unjudged = matching.values.keys() - best.exact.keys() - {INPUT}
        if unjudged:
            self.notes.append(f"{len(unjudged)} tensors are not judged: what goes into them is not there")
        return best.kernels

    def _ordered(self):
        return sorted(self.sets, key=lambda kernels: kernels.name != self.usual.name)

    def _nearest(self, forced, fits):
        """(of fits that are not whole the one that the port is held against, {tensor: its numbers on ties}): the usual
        one, or its twin that saturates, if ties are all that it leaves."""
        may_float = self.port.scheme in _MAY_FLOAT
        twins = [fit for fit in fits[1:] if fit.kernels.name.startswith(self.usual.name)]
        for fit in (fits[0], *twins) if may_float else ():
            ties = numbers_on_ties(forced, fit)
            if all(exact or name in ties for name, exact in fit.exact.items()):
                return fit, ties
        best = min(fits, key=lambda fit: self._misfit(forced, fit))
        self._say_near(forced, fits, best)
        return best, numbers_on_ties(forced, best) if may_float else {}

    def _misfit(self, forced, fit):
        """Few kinds of steps that are not exact; then what is usual for the file; then few tensors: what is left to
        explain."""
        off = [name for name, exact in fit.exact.items() if not exact]
        return len({KINDS[forced.steps[name].op][0] for name in off}), fit.kernels.name != self.usual.name, len(off)

    def _say_near(self, forced, fits, best):
        """Name the kernel sets that leave as few kinds of steps, and fewer tensors, to explain."""
        kinds, _, many = self._misfit(forced, best)
        for fit in fits:
            other, _, fewer = self._misfit(forced, fit)
            if fit is not best and (other, fewer) < (kinds, many):
                self.notes.append(
                    f"by {fit.kernels.name} fewer tensors are off, {fewer} of {len(fit.exact)}, first {fit.first}"
                )

    def _cost(self, matching, x, on, kernels):
        if matching is not None and "logits" in matching.values:
            return measure_cost(self.network, self.plan, matching.values, x, "the port", on)
        values = IntegerEngine(self.plan, kernels).trace(x, integers=True)
        return measure_cost(self.network, self.plan, values, x, kernels.name, on)

    def _decide(self, report, matching):
        # Of a port with some other weights, its integers are what it is judged by.
        strangers = self._strange(report.layers) and not self.weights_named
        wrong = [layer for layer in report.layers if layer.wrong and not (strangers and matching is not None)]
        off = [row for row in report.tensors if not row.right]
        report.verdict = "diverges" if off or wrong else "fine"
        sentences = [self._integers_sentence(report, matching, off), self._weights_sentence(report, wrong)]
        if strangers:
            but = "" if wrong else "but "
            sentences.append(
                f"{but}its weights have nothing to do with the published ones: name their checkpoint (--weights)"
            )
        report.sentence = "; ".join(filter(None, sentences))

    def _integers_sentence(self, report, matching, off):
        if matching is None:
            return ""
        many, names = len(report.tensors), report.kernels
        if not off and (tied := [row for row in report.tensors if row.tied]):
            return f"all {many} tensors are {names[0]}'s, {many - len(tied)} exactly; {ties_text(tied)}"
        if not off:
            others = f", and {', '.join(names[1:])}'s as well: they do not tell them apart" if len(names) > 1 else ""
            return f"{'all ' if many > 1 else ''}{many} tensor{'s are' if many > 1 else ' is'} exactly {names[0]}'s{others}"
        text = f"{off[0].step} is the first of {many} tensors that is not {names[0]}'s ({many - len(off)} are)"
        if report.causes:
            text += f"; {because_text(report.causes[0], FEW)}"
        return text

    def _weights_sentence(self, report, wrong):
        if wrong:
            first = f"{wrong[0].name} {wrong[0].wrong}"
            return f"{len(wrong)} of {len(report.layers)} layers do not have the float network's weights, first {first}"
        if report.tensors:
            return ""
        name = self.port.variant.full_name if self.port.variant else "a quantised network"
        if not report.layers:
            return f"the network is {name}, quantised; neither weights nor integers to hold it against"
        cost = f"; quantising costs: {report.cost.text()}" if report.cost and not report.dear else ""
        return f"the network and its weights are {name}'s, {len(report.layers)} of {len(report.layers)} layers{cost}"


def _exact_of(name, fits):
    return tuple(fit.kernels.name for fit in fits if fit.exact.get(name))


def _row(name, forced, fit, matching, causes, ties):
    port, how, layout = matching.rows[name]
    exact, found = fit.exact[name], matching.values[name]
    if exact:
        return TensorRow(name, port, how, layout, True, of=found.size)
    case = forced.case(name, fit)
    gap = np.abs(case.run().astype(np.int64) - found)
    rules = (cause.rules[0].text for cause in causes if cause.rules and name in cause.tensors)
    excuse = BIAS_IN_FLOATS if np.any(case.bias_rest) else ON_A_TIE
    because = excuse if name in ties else next(rules, "")
    off, largest = int(np.count_nonzero(gap)), int(gap.max())
    return TensorRow(name, port, how, layout, False, off, found.size, largest, because, tied=name in ties)
