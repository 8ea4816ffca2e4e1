"""The rows of a report's two tables: stored tensors, and layers' weights."""

from .causes import weight_ratio
from .parameters import layers


def tensor_rows(network, calibration, grids=None, levels=None, *, dtype=""):
    """A dict a stored tensor.

    Parameters
    ----------
    network : simulate.Network
    calibration : Calibration
    grids : {name: Grid}; None where tensors are floats of `dtype`
    levels : {name: dB} when only that tensor is rounded; None where it was not measured
    """
    rows = []
    for tensor in network.stored:
        statistics, grid = calibration.statistics[tensor.name], grids and grids[tensor.name]
        rows.append(
            {
                "name": tensor.name,
                "low": statistics.low,
                "high": statistics.high,
                "step": grid.scale if grid else None,
                "zero_point": grid.zero_point if grid else None,
                "dtype": grid.dtype if grid else dtype,
                "ratio": statistics.ratio,
                "dead": statistics.dead,
                "channels": len(statistics.reach),
                "snr_db": levels and levels[tensor.name],
            }
        )
    return rows


def layer_rows(network, levels=None):
    """A dict a layer with weights; `levels` {layer's name: dB} when only its weights and bias are rounded."""
    rows = []
    for step in layers(network.plan):
        weight = network.arrays[step.param("weight").name]
        rows.append(
            {
                "name": step.name,
                "op": step.op,
                "ratio": weight_ratio(weight),
                "dead": int((~weight.reshape(len(weight), -1).any(1)).sum()),
                "channels": len(weight),
                "snr_db": levels and levels[step.name],
            }
        )
    return rows
