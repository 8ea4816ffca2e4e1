"""One place in a file, compared with a network that may be there: which entries are its own, and what differs."""

import functools
import re
from typing import NamedTuple

from ...dumps.containers import Entry, read_any
from ...dumps.problems import is_folded
from ...network.counts import plan_param_shapes
from ...network.forms import form_text
from ...network.plan import classifier_part, make_plan
from .by_wiring import Wiring
from .classifiers import find_classifier
from .composed import as_stored
from .fit import Fit, form_notes, is_one, listed, sides_for, stored_width_differences
from .keras_names import names_in_program
from .leftovers import is_beside, is_secondary, may_be_used
from .module_activations import unknown_code
from .settings import setting_differences

#: By what their modules are called in torchvision, mmdetection and mmsegmentation.
_TASKS = {
    "an object detector": re.compile(r"(^|\.)(fpn|rpn|roi_heads?|(bbox|regression)_head)\."),
    "a network for segmentation": re.compile(
        r"(^|\.)(low_classifier|high_classifier|aux_classifier|decode_head|classifier\.0\.convs)\."
    ),
}


class File(NamedTuple):
    """What all places of a file share.

    arrays, notes : {the source's name: array}, weights that were kept in parts composed, and sentences on that
    called : {name: its name in the file}, where parts were renamed
    """

    checkpoint: object
    arrays: dict
    notes: tuple
    called: dict


class _Entries(NamedTuple):
    """The entries of a file, sorted by what they belong to.

    form, num_classes, folded : of the network, under the naming that is tried
    arrays : {name in the form: array}, unexpected ones among them
    unexpected, beside : names in the file of entries that are not the network's: errors, and such as may be left out
    renames : {name here: name in the form} of the classifier's entries
    """

    form: object
    num_classes: int
    folded: bool
    arrays: dict
    unexpected: list
    beside: list
    renames: dict


class Place:
    """A place in a file where a network may be.

    prefix, root : the beginning of the names there, and the beginning of the source's names that it replaces, or ""
    prefixes : those of all places in the file
    """

    def __init__(self, file, naming, variant, prefix, root, prefixes):
        self.file, self.naming, self.variant, self.prefix, self.root = file, naming, variant, prefix, root
        here = {root + name.removeprefix(prefix): name for name in file.arrays if name.startswith(prefix)}
        self.fused = _fused(here, naming.variant)
        # Name within the place: in the file.
        self.here = {self.fused.get(name, name): full for name, full in here.items()}
        others = tuple(other for other in prefixes if other and not prefix.startswith(other))
        around = {name: array for name, array in file.arrays.items() if not name.startswith(prefix)}
        self.outside = {name: array for name, array in around.items() if not name.startswith(others)}
        self.of_others = [name for name in around if name not in self.outside]

    def fit(self):
        """The Fit of this place."""
        entries = self._sorted()
        form, num_classes, folded, arrays, unexpected, beside, renames = entries
        variant = self.variant._replace(in_channels=form.in_channels, head=form.head)
        plan = make_plan(form, num_classes, sides_for(self.file.checkpoint, form), folded=folded)
        shapes = plan_param_shapes(plan)
        counters = _counters(plan)
        missing = [name for name in shapes if name not in arrays and name not in counters]
        misshapen = [name for name in shapes if name in arrays and arrays[name].shape != shapes[name]]
        sentences = stored_width_differences(plan, {name: array.shape for name, array in arrays.items()})
        if misshapen and not sentences:
            details = [f"{name} is {arrays[name].shape}, expected {shapes[name]}" for name in misshapen]
            sentences.append(f"misshapen: {listed(details)}")
        other = sentences or missing or unexpected
        differences, more, warnings = ([], [], []) if other else self._computed(plan, renames, counters)
        sentences += differences
        ends = "" if unexpected else _ends_before(plan, missing)
        sentences += [f"missing: {listed(missing)}{ends}"] * bool(missing)
        sentences += [f"not of it: {listed(unexpected)}{_unmerged(unexpected)}{_of_another_task(unexpected)}"] * bool(
            unexpected
        )
        form_is = form_text(variant)
        return Fit(
            variant,
            num_classes,
            folded,
            tuple(sentences),
            len(missing) + len(unexpected) + len(misshapen) + bool(sentences),
            share=1 - len(missing) / (len(shapes) - len(counters)),
            notes=() if sentences else (*self.file.notes, *self._notes(variant, beside, renames), *more),
            warnings=(*_warnings(variant, form_is, beside), *warnings),
            style=int(bool(form_is)),
            prefix=self.prefix,
            secondary=is_secondary(self.prefix),
            arrays={} if sentences else _source_arrays(entries, variant),
        )

    def _sorted(self):
        """The file's entries as `_Entries`."""
        inside = {name: self.file.arrays[full] for name, full in self.here.items()}
        useless = self._useless(inside)
        inside = {name: array for name, array in inside.items() if name not in useless}
        form, renames = find_classifier(self.naming.variant, inside, self.outside)
        arrays = {renames.get(name, name): array for name, array in inside.items()}
        arrays |= {renames[name]: array for name, array in self.outside.items() if name in renames}
        outside = {name: array for name, array in self.outside.items() if name not in renames}
        num_classes = _num_classes(form, arrays)
        folded = is_folded(make_plan(form, num_classes), arrays)
        shapes = plan_param_shapes(make_plan(form, num_classes, folded=folded))
        arrays = {n: _in_shape(array, shapes[n]) if n in shapes else array for n, array in arrays.items()}
        extra = [name for name in arrays if name not in shapes]
        beside = [name for name in extra if is_beside(name, arrays[name].shape, outside=False)]
        unexpected = [name for name in extra if name not in beside]
        beside = [self.here[name] for name in (*useless, *beside)]
        beside += [name for name, array in outside.items() if is_beside(name, array.shape, outside=True)]
        unexpected += [name for name in outside if name not in beside]
        return _Entries(form, num_classes, folded, arrays, unexpected, beside, renames)

    def _computed(self, plan, renames, counters):
        """(sentences, notes, warnings) on what modules and a program compute otherwise than the plan, as far as they
        show it."""
        names = self.here | {there: self.here.get(here, here) for here, there in renames.items()}
        names = {param: self.file.called.get(name, name) for param, name in names.items()}
        modules, program = self.file.checkpoint.modules, self.file.checkpoint.program
        if not program:  # which is complete: a module that it does not use does not count
            sentences, notes = setting_differences(plan, names, self.prefix, modules) if modules else ([], [])
            return sentences, notes + unknown_code(names, modules, self.prefix), []
        used = {n: full for n, full in names.items() if n not in counters}
        used = dict(zip(used, names_in_program(self.file.checkpoint, used.values())))
        stored = [self.file.called.get(name, name) for name in self.file.arrays]
        wiring = Wiring(plan, used, program, names_in_program(self.file.checkpoint, stored))
        sentences = wiring.differences
        if not is_one(wiring.factor):
            sentences.append(
                f"the program multiplies what the classifier gets by {wiring.gain:.4g}, the network does not"
            )
        return sentences, wiring.notes, wiring.warnings

    def _useless(self, inside):
        """Names of a profiler's buffers, and of counters that averaging and half precision turned into floats."""
        counters = _counters(make_plan(self.naming.variant))
        useless = [name for name in inside if name.rpartition(".")[2] in ("total_ops", "total_params")]
        there = [name for name in inside if name in counters]
        return useless + [name for name in there if inside[name].dtype.kind not in "iu" or inside[name].shape]

    def _notes(self, variant, beside, renames):
        notes = []
        if self.naming.title:
            notes.append(f"named as {self.naming.title} names them")
        if self.prefix and self.root:
            notes.append(f"{self.prefix!r} stands for {self.root!r}")
        elif self.prefix:
            notes.append(f"took {self.prefix!r} off the names")
        if self.fused:
            notes.append(
                "took '0' out of the names of layers that begin a sequence, as torch's fused layers do; what follows them in it, "
                f"such as a softmax, does not show in names: {listed(self.fused)}"
            )
        if renames:
            notes.append(f"the classifier is {', '.join(self.here.get(name, name) for name in renames)}")
        notes += form_notes(variant)
        if idle := [name for name in beside if not may_be_used(name)]:
            notes.append(f"left out, used by nothing: {listed(idle)}")
        if self.of_others:
            notes.append(f"left out, of another network: {listed(self.of_others)}")
        return notes


def _source_arrays(entries, variant):
    """{source's name: array or Entry} in the plan's order."""
    plans = (make_plan(form, entries.num_classes, folded=entries.folded) for form in (entries.form, variant))
    here, there = ([param for step in plan for param in step.params] for plan in plans)
    if entries.form.source.has_count != variant.source.has_count:
        here, there = ([param for param in params if param.role != "count"] for params in (here, there))
    return {
        param.name: as_stored(entries.arrays[ours.name], ours, param)
        for ours, param in zip(here, there, strict=True)
        if ours.name in entries.arrays
    }


def _counters(plan):
    """Names of the parameters that count batches, which no network computes with."""
    return {param.name for step in plan for param in step.params if param.role == "count"}


@functools.lru_cache(maxsize=128)
def _known(variant):
    """The names of a network's parameters, with its norms and folded."""
    plans = [make_plan(variant, folded=folded) for folded in (False, True)]
    return {param.name for plan in plans for step in plan for param in step.params}


def _fused(names, variant):
    """{name: the source's} of entries that torch's fusion put into a sequence, as its first module ("conv.0.weight")."""
    known = _known(variant)
    plain = {name: re.sub(r"\.0(\.\w+)$", r"\1", name) for name in names if name not in known}
    return {name: known_name for name, known_name in plain.items() if known_name in known and known_name not in names}


def _warnings(variant, form_is, beside):
    warnings = []
    if form_is and variant.head and "hidden layer" in form_is:
        warnings.append("what lies behind the hidden layer is not in the file: taken for the network's own activation")
    if used := [name for name in beside if may_be_used(name)]:
        warnings.append(f"left out {listed(used)}: names and shapes do not tell whether the network computes with them")
    return tuple(warnings)


def _unmerged(unexpected):
    """Advice where a file has the factors of LoRA beside weights, else ""."""
    advice = (
        ": LoRA's factors, which are not multiplied here; merge them before saving (peft: model.merge_and_unload(); Keras merges "
        "them as it saves a .keras or .weights.h5)"
    )
    return advice * any("lora_" in name for name in unexpected)


def _of_another_task(unexpected):
    """What a file is of whose network has a MobileNetV3 as its backbone alone, else ""."""
    task = next((task for task, pattern in _TASKS.items() if any(map(pattern.search, unexpected))), None)
    return (
        "" if task is None else f": {task}, of which MobileNetV3 is the backbone alone; give the file of a classifier"
    )


def _ends_before(plan, missing):
    """Advice where exactly the last layers are missing, else ""."""
    layers = [{param.name for param in step.params if param.role != "count"} for step in plan if step.params]
    count = next((n for n in range(1, len(layers)) if set().union(*layers[-n:]) == set(missing)), 0)
    advice = ": a backbone without its end, which gives no classes; give the file of the whole network, its classifier included"
    return advice * bool(count)


def _num_classes(form, arrays):
    """The length of the classifier's bias; without one, the form's usual number of classes."""
    bias = arrays.get(form.source.param_name(classifier_part(form), None, "bias"))
    return bias.shape[0] if bias is not None and len(bias.shape) == 1 and bias.shape[0] else form.num_classes


def _in_shape(array, shape):
    """A layer's array in the expected shape, where the two differ only in axes of length 1."""
    if array.shape == shape or [n for n in array.shape if n != 1] != [n for n in shape if n != 1] or len(shape) < 2:
        return array
    return Entry(shape, array.dtype, lambda: read_any(array).reshape(shape))
