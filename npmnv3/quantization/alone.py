"""How much each part costs by itself: the float network with one tensor, or one layer's weights, rounded."""

import numpy as np

from ..network.steps import INPUT
from ..progress import progress_bar
from .judge import decibels
from .parameters import bias_name, layers
from .simulate import snapping, threads
from .stored import part_of

PICTURES = 8  # enough for decibels; evenly spread over those of the calibration


def parts(network):
    """{part's name: its stored tensors' names}, in order: `stem`, `blocks.0`, ..."""
    found = {}
    for tensor in network.stored:
        found.setdefault(part_of(tensor.name), []).append(tensor.name)
    return found


def alone(network, candidate, pictures, *, shown=None):
    """The signal-to-noise ratio of the logits when only one thing is rounded.

    Parameters
    ----------
    network : simulate.Network
    candidate : judge.Candidate, whose arrays and grids are taken
    pictures : calibrate.Pictures, 8 of which are taken
    shown : bool, a progress bar; default on a terminal

    Returns
    -------
    (tensors, weights, parts) : {name: dB} each, of stored tensors, of layers' weights with their biases, and of all
        stored tensors of a part; infinite where nothing changes
    """
    jobs = _jobs(network, candidate)
    noises, signal, chosen = np.zeros(len(jobs)), 0.0, pictures.spread(PICTURES)
    with threads() as run, progress_bar(len(jobs) * len(chosen), title="part by part", unit="run", shown=shown) as tell:
        for number, index in enumerate(chosen):
            x = pictures[index]
            trace = network.run(x, keep={step.name for step in network.plan} | {INPUT})
            exact = trace["logits"][0].astype(np.float64)
            signal += float(((exact - exact.mean()) ** 2).sum())

            def noise(job, trace=trace, exact=exact):
                return float(((_again(network, trace, *job[2:]) - exact) ** 2).sum())

            noises += run(noise, jobs)
            tell((number + 1) * len(jobs))
    found = {"tensor": {}, "weights": {}, "part": {}}
    for (kind, name, *_), energy in zip(jobs, noises):
        found[kind][name] = decibels(signal, energy)
    return tuple(found.values())


def _jobs(network, candidate):
    """[(kind, name, arrays, visit, names of the steps to begin at)]"""
    jobs, home = [], {tensor.name: tensor.step for tensor in network.stored}
    for name, grid in candidate.grids.items():
        jobs.append(("tensor", name, network.arrays, snapping({name: grid}), {home[name]}))
    for step in layers(network.plan):
        names = {step.param("weight").name, bias_name(step)} & candidate.arrays.keys()
        arrays = network.arrays | {name: candidate.arrays[name] for name in names}
        jobs.append(("weights", step.name, arrays, snapping({}), {step.name}))
    for part, names in parts(network).items():
        grids = {name: candidate.grids[name] for name in names}
        jobs.append(("part", part, network.arrays, snapping(grids), {home[name] for name in names}))
    return jobs


def _again(network, trace, arrays, visit, begin):
    """(classes,) float64: the logits when some steps give something else than in the trace."""
    changed = {}
    if INPUT in begin:
        changed[INPUT] = visit(INPUT, trace[INPUT].copy())
    with np.errstate(over="ignore", invalid="ignore"):
        for step in network.plan:
            if step.name in begin or any(name in changed for name in step.inputs):
                inputs = [changed.get(name, trace[name]) for name in step.inputs]
                tensor = network.compute(step, inputs, arrays, visit)
                changed[step.name] = network.store(step, tensor, visit)
    return changed.get("logits", trace["logits"])[0].astype(np.float64)
