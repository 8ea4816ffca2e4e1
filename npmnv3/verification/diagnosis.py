"""The search for what explains a port: faults are ranked, and believed where the port is fine against the faulty
reference."""

from dataclasses import dataclass, field

from ..network.steps import INPUT
from .agreement import agrees_whole
from .certainty import certainties
from .changes.inputs import input_changes
from .changes.rows import row_changes
from .changes.slips import SLIPS
from .changes.solved import solved_changes
from .changes.table import CHANGES, COLUMNS_FIRST, FIXED_WEIGHTS, HALF_SUMS, block_exchanges, weight_changes
from .coarser import COARSER, as_short, may_be_coarser
from .explain import ROUNDS, Explainer
from .fixed_point import FRACTION_BITS
from .measure import share
from .net import block_of
from .trials import Budget

CANDIDATES = 3  # best trials that a whole comparison is made for
LEAP = 20.0  # dB
#: dB left where a fault explains a part: coarse rounding's noise may be so large that anything is within it
PARTLY = 20.0
#: of the error that is one channel's, and what it leaves, where one weight is a level off
TIE_SHARE, TIE_DB = 0.95, 60.0
GUESSED = ("order", "likeness")  # how a tensor was matched that may not be the step's
MANY, DROP = 16, 0.1  # tensors that are off, and the least share of them that one fault of a few must set right


@dataclass
class Diagnosis:
    """Attributes
    ----------
    chain : list of Trial that together explain the port, or part of it
    certainties : list of str, one for each
    cleared : Comparison with all the faults in which the port is fine, or None
    others : list of Trial, the runners-up of the first round
    tried : int, faults tried
    coarse : Comparison of the port as one of float16, where it is fine with the fault only so; or None
    short : str, how it stores its parameters, where it is fine with the fault only so; or ""
    """

    chain: list = field(default_factory=list)
    certainties: list = field(default_factory=list)
    cleared: object = None
    others: list = field(default_factory=list)
    tried: int = 0
    coarse: object = None
    short: str = ""


def diagnose(comparison, only=None, tell=lambda done, text: None):
    """Look for the faults that explain a port.

    Parameters
    ----------
    comparison : Comparison in which the port is off
    only : set of the port's names that count, default all that are matched
    tell : callable (work done, text), for a progress bar

    Returns
    -------
    Diagnosis
    """
    budget = Budget(report=tell)
    found = _Search(comparison, only, budget).run()
    if found.cleared is None and (ordered := comparison.by_order()) is not None:
        again = _Search(ordered, only, budget, found.tried).run()
        found = again if again.cleared is not None else found
    if found.cleared is None and comparison.marked and comparison.precision == "float32":
        _search_coarser(found, comparison, only, budget)
    found.others = [trial for trial in found.others if trial not in found.chain]
    found.certainties = certainties(found, {t.name: t.array.size for t in comparison.tensors})
    return found


def _search_coarser(found, comparison, only, budget):
    """Fill in the fault with which a port of float32 numbers is fine as one that stores its parameters in 16 bits, or
    computes in float16, if there is one."""
    helpful = [trial for trial in found.others if trial.helps][:CANDIDATES]
    for trial in helpful:
        if (short := as_short(comparison.under(trial.net))) is not None:
            plain = comparison.under(short[1].apply(comparison.net, lambda name: True))
            if _judge_again(found, plain, helpful, _Search(plain, only, budget)):
                found.short = short[1].text
                return
    likely = [trial for trial in helpful if trial.snr_db - trial.before_db > LEAP]
    likely = [trial for trial in likely if may_be_coarser(comparison.under(trial.net), True)]
    if likely:
        coarse = comparison.in_precision("float16", min(comparison.factor, COARSER["float16"][0]))
        if _judge_again(found, coarse, likely, _Search(coarse, only, budget)):
            found.coarse = coarse


def _judge_again(found, comparison, trials, search):
    """Whether the port is fine with one of the faults in another Comparison; that is then what was found."""
    explainer = search.explainer(comparison)
    trials = [trial for old in trials if (trial := explainer.again(old)) is not None]
    best = search.cleared(comparison, explainer, trials)
    if best is not None:
        best[0].rivals = trials
        found.chain, found.cleared = [best[0]], best[1]
    return best is not None


class _Search:
    """Looks for faults, one on top of another, until the port is fine with them or none helps.

    Parameters
    ----------
    comparison, only : as for `diagnose`
    budget : Budget
    tried : int, faults tried before
    """

    def __init__(self, comparison, only, budget, tried=0):
        self.comparison, self.only, self.budget = comparison, only, budget
        self.found = Diagnosis(tried=tried)

    def run(self):
        """The Diagnosis, without certainties."""
        found, current = self.found, self.comparison
        for _ in range(ROUNDS):
            explainer = self.explainer(current)
            doubtful = (*solved_changes(current), *_gains(current))
            best = self._verified(current, explainer, [(change, ()) for change in doubtful])
            trials = explainer.trials() if best is None else []
            best = best or self.cleared(current, explainer, trials)
            best = best or self._verified(current, explainer, block_exchanges(current.net))
            found.tried += explainer.tried
            if not found.chain:
                found.others = trials
            if best is not None:
                best[0].rivals = trials
                found.chain.append(best[0])
                found.cleared = best[1]
                self._drop_idle()
                return found
            if not trials or not trials[0].helps or _is_drop(explainer, trials[0]):
                break
            trials[0].rivals = trials[1:]
            found.chain.append(trials[0])
            current = current.under(trials[0].net)
        # the part of it that is surely explained; where all that a fault betters passes without it, that is rounding
        passing = {row.port for row in self.comparison.rows if row.passes}
        doubtful = (
            i
            for i, trial in enumerate(found.chain)
            if not trial.believed or trial.snr_db < PARTLY or trial.touched <= passing
        )
        found.chain = found.chain[: next(doubtful, len(found.chain))]
        return found

    def explainer(self, current):
        """What tries faults on top of those that a Comparison has."""
        changes = (
            *CHANGES,
            *(HALF_SUMS if current.precision == "float16" else ()),
            *(FIXED_WEIGHTS[FRACTION_BITS[current.precision]] if current.is_fixed else ()),
            *(COLUMNS_FIRST if current.given.is_own else ()),
            *input_changes(current.x, current.model.preprocess, _pictures(current)),
            *weight_changes(current.net),
            *row_changes(self.comparison.reference, current.model.variant),
        )
        run = current.port_run
        free = {t.name for t in run.free}
        counted = set(run.step_of) | (set() if "logits" in run.views else free)
        if self.only is not None:
            counted &= self.only | free
        return Explainer(run, current.floors(), current.factor, changes, SLIPS, counted, self.budget)

    def cleared(self, current, explainer, trials):
        """(Trial, Comparison) of the best fault with which the port is fine; None."""
        likely = [t for t in trials if t.believed and not explainer.bad(t.errors)]
        # A fault may also make the network so much more sensitive that its own rounding is far above the reference's.
        likely = likely or [t for t in trials if t.helps and t.snr_db - t.before_db > LEAP]
        for trial in likely[:CANDIDATES]:
            under = current.under(trial.net)
            if self._is_fine(under, current, trial.change.ties):
                return trial, under
        return None

    def _verified(self, current, explainer, changes):
        """The same of changes, (Change, blocks that they are about), for which the tensors are matched once more.

        Tensors of two blocks that have each other's weights were matched the wrong way round, a layer's channels in another
        order may have been taken for a layout, and a scaled tensor for the one that it was made of.
        """
        off = {block_of(row.step) for row in current.failing()}
        for change, blocks in changes:
            net = change.apply(current.net, lambda name: True) if not blocks or off & set(blocks) else None
            under = None if net is None or blocks and len(current.views) < 3 else current.under(net)
            if under is not None:
                explainer.tried += 1
                if self._is_fine(under, current, change.ties):
                    errors = {row.port: share(row.local.snr_db) for row in under.rows}
                    return explainer.judged(change, net, errors), under
        return None

    def _drop_idle(self):
        """Leave out each fault of a chain without which the port is as fine with the rest; the rest is judged anew."""
        found = self.found
        for trial in found.chain if len(found.chain) > 1 else ():
            rest, current = [], self.comparison
            for other in (one for one in found.chain if one is not trial):
                again = self.explainer(current).again(other)
                if again is None:
                    break
                again.rivals = other.rivals
                rest.append(again)
                current = current.under(again.net)
            else:
                if self._is_fine(current, self.comparison, any(one.change.ties for one in rest)):
                    found.chain, found.cleared = rest, current
                    self._drop_idle()
                    return

    def _is_fine(self, under, current, ties):
        """Whether the port is fine against a faulty reference, which sets something right and loses no tensor that was known.

        Else an engine's tensor that the plan does not have, such as the logits without their bias, would stand in for one
        that the port has as it should be; and a fault under which a wrong tensor fits no step would have explained it.

        Parameters
        ----------
        under, current : Comparison with the fault, and without it
        ties : bool, what is off in one channel, by less than a level, may be rounded the other way
        """
        first, only = self.comparison, self.only
        fine = {row.port for row in under.rows if row.passes or ties and _is_tie(row)} | under.matching.copies.keys()
        rows = [row for one in (first, current) for row in one.rows if row.step != INPUT]
        known = {row.port for row in rows if row.passes or row.how not in GUESSED and _counts(row, only)}
        off = {row.port for row in first.rows if not row.passes}
        if not agrees_whole(first.rows, under.factor):  # what only logits set right refute was never a step's
            known -= under.refuted.keys()
        if not under.rows or not known <= fine or off and not off & fine:
            return False
        return all(row.port in fine or not _counts(row, only) for row in under.rows)


def _is_drop(explainer, trial):
    """Whether so much is off that a fault which sets so little of it right is not one of the few that explain it all."""
    before = explainer.bad(explainer.base)
    return len(before) >= MANY and len(before - explainer.bad(trial.errors)) < DROP * len(before)


def _pictures(comparison):
    return [comparison.given.pictures[comparison.index]] if comparison.given.pictures else ()


def _counts(row, only):
    return only is None or row.port in only


def _is_tie(row):
    return row.local.worst_channel_share > TIE_SHARE and row.local.snr_db > TIE_DB


def _gains(current):
    """Factors before the classifier, where what was taken for its input is that times a number: it may be what is behind."""
    row = next(iter(current.failing()), None)
    if row is None or row.step not in current.net.steps["logits"].inputs or row.accumulated.cosine < 1 - 1e-6:
        return []
    return [change for change in CHANGES if change.fault == "dropout_scale"]


def input_is_foreign(comparison):
    """Whether the port's input tensor, which its first layer gets, is another picture: no known slip makes it of ours."""
    view = comparison.views.get(INPUT)
    if view is None or view.finite is not None:  # NaN is no picture: it overflowed there
        return False
    if not comparison.port_run.forces_input or view.error(comparison.x) < 0.5:
        return False
    changes = input_changes(comparison.x, comparison.model.preprocess, _pictures(comparison))
    nets = (change.apply(comparison.net, lambda name: True) for change in changes)
    return all(not view.error(net.pictures) < 0.1 for net in nets if net is not None)
