"""A program beside a plan: paddle's, TorchScript's, an exported one, or that of Keras's configuration.

Every operation, and what it takes, has to be the network's. From the output backwards each step of the plan is compared with
the value that the program has in its place.
"""

import math

from .fit import listed
from .program_values import fetched, gain_of, parameters_of, plain, sources
from .step_differences import KINDS, LAYERS, differences_at

_TAIL = ("softmax", "sigmoid", "log_softmax", "argmax", "arg_max", "top_k_v2", "topk", "top_k")  # behind the logits
_PREPARES = ("scale", "add", "subtract", "multiply", "divide", "transpose")  # of pictures, before the stem
_MAX_VALUES = 20_000


class Wiring:
    """What a program has where a plan has its steps.

    names : {parameter's name in the plan: its name in the program}
    program : operations, as `Checkpoint` has them
    parameters : names of the program's parameters
    differences : sentences, none where the program computes what the plan does
    notes, warnings : sentences
    gain : what the program multiplies the classifier's input by, as a multiple of what the plan does
    """

    def __init__(self, plan, names, program, parameters):
        self.steps, self.names = {step.name: step for step in plan}, names
        self.wrong, self.notes, self.warnings = {}, [], []
        self.gain, self.expected_gain = 1.0, math.prod(step.factor for step in plan if step.op == "scale")
        self.seen, self.count = {}, 0
        values = fetched(program, parameters)
        ends = [(value, *_without_tail(value)) for value in values]
        ends = [end for end in ends if _is_layer(end[1])] or ends
        if not ends:
            self._differs("", "the program gives nothing (it has no fetch)")
            return
        _, logits, tail = ends[0]
        self._note_tail(tail, len(values))
        self._follow(plan[-1].name, logits)

    @property
    def differences(self):
        """One sentence for each kind of difference, with the places that have it, from the input on."""
        order = {name: i for i, name in enumerate(self.steps)}
        wrong = [
            (sentence, sorted(places, key=lambda name: order.get(name, -1))) for sentence, places in self.wrong.items()
        ]
        wrong.sort(key=lambda row: order.get(row[1][0], -1))
        return [f"{sentence}, at {listed(places)}" if places != [""] else sentence for sentence, places in wrong]

    @property
    def factor(self):
        return self.gain / self.expected_gain

    def _differs(self, place, sentence):
        self.wrong.setdefault(sentence, []).append(place)

    def _note_tail(self, tail, count):
        if tail:
            note = f"behind the classifier the program has {listed(tail)}; the dump ends with the logits"
            (self.notes if tail == ["softmax"] else self.warnings).append(note)
        if count > 1:
            self.notes.append(f"the program has {count} outputs; the dump has the logits alone")

    def _follow(self, name, value):
        """Hold the plan's step against a value of the program, and then what both take."""
        todo = [(name, value)]
        while todo:
            name, value = todo.pop()
            self.count += 1
            if self.count > _MAX_VALUES:
                return self._differs("", "the program has more operations than the network could")
            todo += reversed(self._compare(name, plain(value)))
        return None

    def _compare(self, name, value):
        """[(step's name, value)] to compare next."""
        name = self._behind_idle(name)
        if name in self.seen:
            if self.seen[name] is not value and not any(name in places for places in self.wrong.values()):
                self._differs(name, "the program takes another value than the network")
            return []
        self.seen[name] = value
        if name not in self.steps:
            self._prepare(value)
            return []
        step = self.steps[name]
        if value is None or value.kind == "data":
            self._differs(name, f"the program has its input where the network has {step.op}")
            return []
        layer, bias = _without_bias(step, value)
        if layer.kind in KINDS[step.op]:
            for sentence in differences_at(step, layer, bias, self.names):
                self._differs(name, sentence)
            return self._inputs(step, sources(layer))
        return self._other(step, value)

    def _other(self, step, value):
        """`_compare`'s next pairs after an operation that is not the step's: the step is missing, or the operation is
        an extra one, or it replaces the step."""
        before, prior = sources(value), self._before(step)
        single = len(before) == 1 and not _is_layer(value)
        alone = not step.param("weight") and len(step.inputs) == 1
        kind = f"multiply by {gain_of(value):g}" if gain_of(value) is not None else value.kind
        if alone and (value.kind in KINDS[prior.op] or prior.param("weight") and _is_layer(value)):
            self._differs(step.name, f"the program has no {step.op}")
            return [(step.inputs[0], value)]
        if single and (not alone or before[0] is not None and before[0].kind in KINDS[step.op]):
            self._differs(step.name, f"the program has {kind} besides")
            del self.seen[step.name]
            return [(step.name, before[0])]
        self._differs(step.name, f"the program has {kind} for {step.op}")
        return [(step.inputs[0], before[0])] if single else []

    def _before(self, step):
        """The step before a step; the step itself where there is none."""
        return self.steps.get(self._behind_idle(step.inputs[0]), step)

    def _behind_idle(self, name):
        """The first step from here back that computes: a factor before the classifier is compared as a gain, by itself."""
        while name in self.steps and self.steps[name].op in ("identity", "scale"):
            name = self.steps[name].inputs[0]
        return name

    def _inputs(self, step, values):
        if len(values) != len(step.inputs):
            self._differs(step.name, f"the program's {step.op} takes {len(values)} values, not {len(step.inputs)}")
            return []
        if step.name == "logits":
            values = [self._without_gain(values[0])]
        if len(values) == 2:
            straight, crossed = (self._likeness(step.inputs, pair) for pair in (values, values[::-1]))
            values = values[::-1] if crossed > straight else values
        return list(zip(step.inputs, values, strict=True))

    def _without_gain(self, value):
        while value is not None and gain_of(value) is not None and sources(value):
            self.gain *= gain_of(value)
            value = sources(value)[0]
        return value

    def _likeness(self, names, values):
        """How well values match steps, by which the inputs of a sum or product are assigned."""
        count = 0
        for name, value in zip(names, values):
            step = self.steps.get(self._behind_idle(name))
            if step is not None and value is not None and value.kind in KINDS[step.op]:
                params = [self.names.get(param.name) for param in step.params]
                count += 1 + 2 * bool(set(params) & set(parameters_of(value)))
        return count

    def _prepare(self, value):
        """What the program does with pictures before the network."""
        kinds = []
        while value is not None and value.kind != "data":
            kinds.append(value.kind)
            before = sources(value)
            value = before[0] if len(before) == 1 else None
        if value is None or any(kind not in _PREPARES for kind in kinds):
            preparation = f"the program does {listed(kinds) or 'something'} before its first layer"
            self._differs("input", f"{preparation}, which the network does not")
        elif kinds:
            self.warnings.append(
                f"the program prepares its input itself ({listed(reversed(kinds))}); the dump's network does not"
            )


def _without_tail(value):
    """(what the classifier gives, kinds of the operations that follow it)"""
    tail = []
    while value.kind in _TAIL and sources(value) and sources(value)[0] is not None:
        tail.insert(0, value.kind)
        value = sources(value)[0]
    return value, tail


def _is_layer(value):
    """Whether it is a layer, or a layer and its bias."""
    layers = (value, *sources(value)) if value.kind == "add" else (value,)
    return any(each.kind in LAYERS for each in layers if each)


def _without_bias(step, value):
    """(the value itself, the parameter that is added to it or None), where the step is a layer."""
    before = sources(value)
    if not step.param("weight") or value.kind != "add" or len(before) != 1 or len(parameters_of(value)) != 1:
        return value, None
    return (value, None) if before[0] is None else (before[0], parameters_of(value)[0])
