"""Which known fault makes the reference give what the port gave: all are tried, alone, by block, by layer, and in pairs."""

import functools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..network.steps import INPUT
from .net import block_of
from .trials import EXPLAINS, Trial

CLEAN = 6.0  # times the noise's power: what rounding alone may give
MARGIN = 60.0  # dB short of EXPLAINS before a walk is given up: a fault may be right in some blocks only
ROUNDS = 3  # faults at most in one port
SHOWN = 4  # tensors by which a fault of the input must have shown
FEW = 3  # suspected blocks whose layers are looked at one by one
LITTLE = 3  # tensors at most that say nothing of where a fault is: the logits, their probabilities, the input
THREADS = 2
CHUNK = 16  # trials between two looks at what is left of that


class Explainer:
    """Tries faults on a port, each on top of the net that the port was run along.

    Parameters
    ----------
    port_run : PortRun
    floors : {port tensor's name: squared relative error of honest rounding}
    factor : float, errors up to this many times the noise are fine
    changes, slips : sequences of Change; slips are tried everywhere where none of the changes so tried explains the port
    counted : names of the port's tensors that count
    budget : Budget
    """

    def __init__(self, port_run, floors, factor, changes, slips, counted, budget):
        self.port_run, self.floors, self.factor = port_run, floors, factor
        self.tables, self.changes = (changes, slips), (*changes, *slips)
        self.net, self.base = port_run.net, port_run.base
        self.counted, self.budget = set(counted), budget
        self.tried = 0

    def bad(self, errors):
        """Names of the port's tensors that are off by more than rounding."""
        return {name for name in self.counted if name in errors and not errors[name] <= self._limit(name)}

    def _limit(self, name):
        return self.floors[name] * self.factor**2

    def trials(self):
        """Every fault that was tried, best first; none where there is nothing that a fault could explain."""
        seen = self._seen()
        if not seen:
            return []
        blocks, trials = self._suspects(seen), []
        for table in self.tables:
            trials = self._ranked(trials + self._everywhere(table, blocks))
            if self._solved(trials):
                return trials
        if bad := self.bad(self.base):
            trials = self._ranked(trials + self._single(self._suspects(bad)))
        return trials

    def _everywhere(self, changes, blocks):
        """Trials of changes in all suspected blocks, in all where that helps, and in those of them where it does."""
        changes = [
            change for change in changes if not change.layer and not (change.rare and len(self.counted) <= LITTLE)
        ]
        anywhere = [(change, ()) for change in changes if blocks is None or change.whole]
        # First only where something is wrong; everywhere, if that helps.
        nearby = [(change, blocks) for change in changes if blocks is not None and not change.whole]
        trials = self._many(anywhere + nearby)
        helped = [t for t in trials if t.blocks and t.helps]
        trials += self._many([(t.change, ()) for t in helped])
        refined = [self._refined(t) for t in trials if blocks is None or t in helped]
        return [*trials, *filter(None, refined)]

    def _seen(self):
        """Names of the port's tensors in which more than rounding may be seen."""
        return {name for name in self.counted if not self.base.get(name, 0) <= CLEAN * self.floors[name]}

    def _many(self, tasks):
        """Trials of (change, blocks), as many as the budget allows."""
        found = []
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(tasks), CHUNK):
                if self.budget.spent:
                    break
                part = tasks[start : start + CHUNK]
                found += pool.map(lambda task: self._try(*task), part)
                self.budget.tell(part[-1][0].fault)
        return [trial for trial in found if trial is not None]

    def _ranked(self, trials):
        """Best first; of equals the simpler: everywhere before somewhere, few steps before many, then in the table's
        order."""
        place = {id(change): i for i, change in enumerate(self.changes)}  # equal ones would be compared slowly

        def key(t):
            return not t.believed, not t.helps, -round(t.gain), bool(t.blocks), len(t.steps), place[id(t.change)]

        return sorted(trials, key=key)

    def _solved(self, trials):
        return bool(trials) and trials[0].believed and not self.bad(trials[0].errors)

    def _try(self, change, blocks):
        """The trial of a change in some blocks, or steps; in () it is made everywhere. None where it changes nothing."""
        where = (lambda name: block_of(name) in blocks or name in blocks) if blocks else (lambda name: True)
        try:
            changed = change.apply(self.net, where)
        except ValueError:  # shapes that do not fit: no port has this fault
            return None
        if changed is None:
            return None
        self.tried += 1
        try:
            found, work = self.port_run.errors(changed, self._hopeless(changed.pictures is not self.net.pictures))
        except ValueError:  # arrays that do not fit
            return None
        self.budget.costs.append(work)
        return self._judged(Trial(change, changed, found, blocks=tuple(blocks)))

    def judged(self, change, net, found):
        """The trial of a change whose errors, {port tensor's name: squared relative error}, are known."""
        return self._judged(Trial(change, net, {**self.base, **found}))

    def again(self, trial):
        """The trial of a change that was tried elsewhere, in the same places; None where it changes nothing."""
        return self._try(trial.change, trial.blocks)

    @functools.cached_property
    def _possible(self):
        """{port tensor's name: dB by which its error falls if it comes out right}"""
        return {n: self._level(self.base[n], n) - self._level(0.0, n) for n in self.counted if n in self.base}

    def _hopeless(self, of_input):
        """A test of the errors found so far: even if all that is left came out right, the fault would not be believed.

        `of_input` : whether it is a fault of the input, which shows at once. Each tensor is weighed when it is new.
        """
        possible, seen, gain, left, shown = self._possible, set(), 0.0, sum(self._possible.values()), 0

        def hopeless(found):
            nonlocal gain, left, shown
            for name in found.keys() - seen:
                seen.add(name)
                if name in possible:
                    gain += possible[name] + self._level(0.0, name) - self._level(found[name], name)
                    left -= possible[name]
                    shown += possible[name] > 1  # what is right, or fits no step, need not change
            if of_input and shown >= SHOWN and gain < EXPLAINS / 2:
                return True
            return gain + left < EXPLAINS - MARGIN

        return hopeless

    def _judged(self, trial):
        """The trial, with what its errors say of it filled in."""
        changed = [name for name, error in self.base.items() if name in self.counted and trial.errors[name] != error]
        gains = {name: self._gain(trial, name) for name in changed}
        trial.base, trial.floors = self.base, self.floors
        trial.touched = {name for name, gain in gains.items() if abs(gain) > 0.5}
        trial.gain = sum(gains.values())
        if trial.touched:
            trial.before_db, trial.snr_db = (
                _snr([max(e[n], self.floors[n]) for n in trial.touched]) for e in (self.base, trial.errors)
            )
            trial.reached = bool(np.median([trial.errors[n] / self._limit(n) for n in trial.touched]) <= 1)
        old = self.net.steps
        trial.steps = tuple(s.name for s in trial.net.plan if s.name in old and old[s.name] != s)
        if trial.net.pictures is not None and self.net.pictures is None:
            trial.steps = (INPUT, *trial.steps)
        return trial

    def _gain(self, trial, name):
        """dB by which a trial brings one of the port's tensors nearer."""
        return self._level(self.base[name], name) - self._level(trial.errors[name], name)

    def _level(self, error, name):
        return 10 * math.log10(min(error, 1e6) + self.floors[name])

    def _refined(self, trial):
        """The same fault in only those blocks where it helps, if it helps in some and harms in others."""
        if not trial.touched or not trial.steps or trial.change.whole:
            return None
        gains = {}
        step_of = self.port_run.step_of
        for name in trial.touched:
            block = block_of(step_of.get(name, trial.steps[0]))
            gains[block] = gains.get(block, 0.0) + self._gain(trial, name)
        good = tuple(block for block, gain in gains.items() if gain > 1)
        if not good or all(gain > 1 for gain in gains.values()):
            return None
        return self._try(trial.change, good)

    def _single(self, blocks):
        """Each fault in each suspected block by itself and, where few are suspected, in each layer by itself."""
        few, anywhere = blocks is not None and len(blocks) <= FEW, blocks is None
        if anywhere:
            blocks = dict.fromkeys(block_of(step.name) for step in self.net.plan)
        located = few or not anywhere
        trials = []
        for change in self.changes:
            if change.rare and not located:
                continue
            made = self._many(self._places(change, blocks, few))
            trials += made
            if few and not change.whole and not change.layer:
                steps = [(change, (step,)) for trial in made if len(trial.steps) > 1 for step in trial.steps]
                trials += self._many(steps)
            if any(trial.believed and not self.bad(trial.errors) for trial in made):
                kin = [c for c in self.changes if change.kin and c.kin == change.kin and c is not change]
                trials += self._many([task for c in kin for task in self._places(c, blocks, few)])
                break
        return trials

    def _places(self, change, blocks, few):
        """[(change, where)]: the blocks, or layers, in which it is tried by itself."""
        if change.layer:
            return [(change, (s.name,)) for s in self.net.plan if s.params and block_of(s.name) in blocks]
        return [(change, (block,)) for block in blocks] if few or change.alone else []

    def _suspects(self, bad):
        """Blocks that lie between a tensor that is off and the given tensors before it; None if that may be anywhere."""
        net, blocks = self.net, []
        for name, step in self.port_run.step_of.items():
            if name in bad and (step in net.steps or step == INPUT):
                for one in net.back_to(step, self.port_run.views):
                    blocks.append(block_of(one))
                    # What a step gets may not be what the port dumped there, so the block before is suspect too.
                    blocks += [block_of(i) for i in net.steps[one].inputs] if one != INPUT else []
        everywhere = {block_of(step.name) for step in net.plan} - {"probabilities"}
        return None if not blocks or everywhere <= set(blocks) else tuple(dict.fromkeys(blocks))


def _snr(errors):
    return float(-10 * np.log10(max(np.mean(np.minimum(errors, 1e12)), 1e-32)))
