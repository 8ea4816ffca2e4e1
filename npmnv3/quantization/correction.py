"""Bias correction: every layer's bias is moved until its mean over the calibration pictures is the float network's."""

import numpy as np

from ..network.steps import INPUT
from ..network.walk import walk
from .calibrate import channel_means
from .grids import quantize_bias
from .parameters import bias_name, held_bias, layers, quantize_layers, real_arrays
from .schemes import SCHEMES
from .simulate import snapping, threads

PICTURES = 40  # that walk side by side, all of whose tensors are in memory at a time


def corrections(network, calibration, pictures, grids, recipe):
    """What to add to each layer's bias, layer after layer, the earlier ones being corrected already.

    Parameters
    ----------
    network : simulate.Network
    calibration : Calibration, for the float means
    pictures : Pictures, up to 40 of which are taken, evenly spread
    grids : {stored tensor's name: Grid}
    recipe : Recipe

    Returns
    -------
    {layer's name: (O,) float64}

    Source: Nagel et al. 2019, arXiv:1906.04721, section 4.2, with means of pictures instead of those of batch norm
    """
    parameters, visit = quantize_layers(network.plan, network.arrays, grids, recipe), snapping(grids)
    arrays, chosen = real_arrays(parameters), pictures.spread(PICTURES)
    means, shifts = _float_means(network, calibration, pictures, chosen), {}

    def ready(index):
        values = {INPUT: visit(INPUT, np.array(pictures[index][None], np.float32))}
        return values, walk(network.plan, values, lambda step, x: network.compute(step, x, arrays, visit))

    def advance(walker):
        values, steps = walker
        step = next(steps)
        return channel_means(values[step.name]) if step.param("weight") else None

    with threads() as run:
        walkers = run(ready, chosen)
        for step in network.plan:
            found, shift = run(advance, walkers), None
            if step.param("weight"):
                shifts[step.name] = means[step.name] - sum(found) / len(found)
                shift = _as_stored(step, network.arrays, shifts[step.name], parameters, network.slopes.get(step.name))

            def finish(walker, step=step, shift=shift):
                values, _ = walker
                tensor = values[step.name]
                if shift is not None:
                    tensor = tensor + shift.reshape(-1, *(1,) * (tensor.ndim - 2))
                values[step.name] = network.store(step, tensor, visit)

            run(finish, walkers)
    return shifts


def _as_stored(step, arrays, shift, parameters, slope):
    """What a layer's bias really moves by, (O,) float32, once it is integers: later layers are to see just that, since a
    little more or less makes other numbers of theirs round up, and means of few pictures do not average that out."""
    name, scheme = bias_name(step), SCHEMES[parameters.scheme]
    steps = parameters.bias_scales[name]
    moved = (
        quantize_bias(held_bias(step, arrays, slope, shift), steps, scheme).astype(np.float64) - parameters.biases[name]
    )
    return (moved * steps / (1 if slope is None else 6 * slope)).astype(np.float32)


def _float_means(network, calibration, pictures, chosen):
    """{layer's name: (O,) float64} of the float network, over the pictures that are taken."""
    if len(chosen) == calibration.pictures:
        return calibration.means

    def means_of(index):
        means = {}

        def layer(step, values):
            means[step.name] = channel_means(values[step.name])

        network.run(pictures[index], layer=layer)
        return means

    with threads() as run:
        found = run(means_of, chosen)
    return {step.name: sum(one[step.name] for one in found) / len(found) for step in layers(network.plan)}
