"""Which change of the rules explains what is not equal: exactly, or not at all."""

from dataclasses import asdict, dataclass

import numpy as np

from .changes import changes_of
from .forced import KINDS

MOST = 8  # causes that are looked for
GIVE_UP = 3  # tensors of a kind without an explanation, after which the others of it are only counted


@dataclass(frozen=True)
class Rule:
    """A change that explains a tensor exactly.

    Attributes
    ----------
    rule, setting, text : of the RuleChange and its Claim
    explains : names of the tensors, not exact without it, that it explains exactly
    numbers : how many numbers, different without it, it explains
    agrees : how many of the tensors of this kind, all judged, are exactly so with it
    of : how many tensors of this kind there are
    local : whether it is told of this tensor, not of all of its kind
    """

    rule: str
    setting: str
    text: str
    explains: tuple
    numbers: int
    agrees: int
    of: int
    kind: str
    local: bool
    freedom: int

    def as_json(self):
        row = {name: value for name, value in asdict(self).items() if name != "freedom"}
        return row | {"explains": list(self.explains)}


@dataclass(frozen=True)
class Cause:
    """The first tensor that is not exact, the rules that explain it, best first, and the tensors that the best explains."""

    tensor: str
    rules: tuple
    tensors: tuple
    computed: tuple = ()

    def as_json(self):
        return {
            "tensor": self.tensor,
            "rules": [rule.as_json() for rule in self.rules],
            "tensors": list(self.tensors),
            "inputs_computed": list(self.computed),
        }


def explain(forced, fit, tell=lambda done, text: None, excused=()):
    """The causes of what a kernel set does not give, in order of execution.

    Parameters
    ----------
    forced : Forced
    fit : Fit that is not whole
    tell : callable (share done, text)
    excused : names of tensors that need no explanation

    Returns
    -------
    list of Cause; the rules of one that nothing explains are ()
    """
    left, causes, given_up = [name for name, exact in fit.exact.items() if not (exact or name in excused)], [], {}
    many = len(left)
    while left and len(causes) < MOST:
        first = left[0]
        tell(1 - len(left) / many, first)
        case = forced.case(first, fit)
        kind = case.kind
        rules = _rules(forced, fit, case, left) if given_up.get(kind, 0) < GIVE_UP else ()
        if not rules:
            given_up[kind] = given_up.get(kind, 0) + 1
            causes.append(Cause(first, (), (first,), case.computed))
            left = left[1:]
            continue
        causes.append(Cause(first, rules, rules[0].explains, case.computed))
        left = [name for name in left if name not in rules[0].explains]
    return causes


def _rules(forced, fit, case, left):
    """The changes that explain a case, best first; none of one that is the same number all over, as any clamp may make it."""
    if case.found.size > 1 and not np.ptp(case.found):
        return ()
    found = [(change, claim) for change in changes_of(case) for claim in change.claims(case) if claim.explains(case)]
    rules = [_counted(forced, fit, change, claim, case, left) for change, claim in found]
    best = {}
    for rule in rules:
        best.setdefault((rule.text, rule.explains), rule)
    return tuple(sorted(best.values(), key=lambda rule: (-len(rule.explains), rule.agrees < rule.of, rule.freedom)))


def _counted(forced, fit, change, claim, case, left):
    """A Rule with the other tensors that it was checked on."""
    explains = []
    for name in left:
        other = case if name == case.step.name else forced.case(name, fit)
        if other is case or _claimed(change, claim, other):
            explains.append(name)
    agrees, of, kind = _checked(forced, fit, change, claim, case, explains)
    numbers = sum(forced.different(name, fit) for name in explains)
    return Rule(
        change.rule, claim.setting, claim.text, tuple(explains), numbers, agrees, of, kind, change.local, claim.freedom
    )


def _checked(forced, fit, change, claim, case, explains):
    """(tensors that the change agrees with, of how many that it may befall, what these are): of this operation alone where it
    agrees with all of those, and not with all of the kind."""
    agreement = {}
    for name in fit.exact:
        step = forced.steps[name]
        if KINDS[step.op][0] != case.kind or step.op not in change.ops:
            continue
        if name in explains or change.local:
            agreement[name] = name in explains or fit.exact[name]
        else:
            claimed = _claimed(change, claim, forced.case(name, fit))
            if claimed is not None:
                agreement[name] = claimed
    same = {name: agrees for name, agrees in agreement.items() if forced.steps[name].op == case.step.op}
    if all(same.values()) and not all(agreement.values()):
        return len(same), len(same), _OPERATIONS.get(case.step.op, KINDS[case.step.op][1])
    return sum(agreement.values()), len(agreement), KINDS[case.step.op][1]


_OPERATIONS = {
    "conv2d": "convolutions",
    "depthwise_conv2d": "depthwise convolutions",
    "pointwise_conv2d": "1x1 convolutions",
    "linear": "linear layers",
    "fully_connected": "fully connected layers",
    "scale": "products with a constant",
    "mul": "products of two tensors",
}


def _claimed(change, claim, case):
    """Whether the same change, in the same way, explains another case; None where it cannot befall it."""
    if case.step.op not in change.ops:
        return None
    same = [other for other in change.claims(case) if other.setting == claim.setting]
    return any(other.explains(case) for other in same) if same else None
