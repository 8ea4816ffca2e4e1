"""What a softmax or a sigmoid behind the logits gives, in integers: as many numbers as the logits, which are none of a
network's steps."""

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
            f"the tensor {tensor!r} is the probabilities that a softmax or a sigmoid made of the logits, and they are not judged: give the "
            "tensor before it, or all (in TensorFlow Lite experimental_preserve_all_tensors=True)"
        )


def _are_probabilities(data, logits, grid):
    """Whether integers (N, classes) are about the softmax of a run's logits, or each its sigmoid, and nearer to that
    than to these.

    That they sum up to 1 says little of many classes: so do numbers that were never written, or are cut at both ends.
    """
    logits = logits.reshape(len(logits), -1)
    if data.ndim > 2 or np.array_equal(data, logits):
        return False
    data, real = data.astype(np.int64), grid.dequantize(logits)
    softmaxed, sigmoid = (np.abs(data - grid.low - np.rint(share * STEPS)) for share in (softmax(real), _sigmoid(real)))
    near = (np.ptp(data) > 0 and (softmaxed.sum(1) < STEPS / 2).all(), (sigmoid <= 1).all())
    return any(fits and away.sum() < np.abs(data - logits).sum() for fits, away in zip(near, (softmaxed, sigmoid)))


def _sigmoid(real):
    return 0.5 + 0.5 * np.tanh(np.asarray(real, np.float64) / 2)
