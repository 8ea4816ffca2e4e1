"""What a softmax behind the logits gives, in integers: as many numbers as the logits, which are none of a network's steps."""

import numpy as np

from ...dumps.labels import softmax
from ...errors import UsageError
from ...network.integer_plan import LAYERS
from ...network.steps import INPUT

STEPS = 256  # that stand for 1, in TensorFlow Lite at least: from the integers' lowest on


def leave_out_probabilities(plan, found, expected):
    """Take out of a Matching, `found`, what it has for the logits, where that is the probabilities.

    expected : {step's name: integers} of a run

    Raises
    ------
    UsageError
        There is no other tensor.
    """
    last = max(i for i, step in enumerate(plan.steps) if step.op in LAYERS)
    names = [step.name for step in plan.steps[last:] if step.name in found.values]
    wrong = [name for name in names if _are_probabilities(found.values[name], expected[name], plan.grids[name])]
    for name in wrong:
        data, tensor = found.values.pop(name), found.rows.pop(name)[0]
        found.unmatched.append({"port": tensor, "shape": list(data.shape)})
    if wrong and not found.values.keys() - {INPUT}:
        raise UsageError(
            f"the tensor {tensor!r} is the probabilities that a softmax made of the logits (its integers sum up to {STEPS}), and they "
            "are not judged: give the tensor before the softmax, or all (in TensorFlow Lite experimental_preserve_all_tensors=True)"
        )


def _are_probabilities(data, logits, grid):
    """Whether integers (N, classes) sum up to 1, and are nearer to the softmax of a run's logits than to these."""
    data, logits = data.reshape(len(data), -1), logits.reshape(len(logits), -1)
    steps = data.astype(np.int64) - grid.low
    if np.array_equal(data, logits) or (np.abs(steps.sum(1) - STEPS) > data.shape[1]).any():
        return False
    as_probabilities = np.rint(softmax(grid.dequantize(logits)) * STEPS)
    return np.abs(steps - as_probabilities).sum() < np.abs(data.astype(np.int64) - logits).sum()
