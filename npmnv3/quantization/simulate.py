"""A quantised network simulated in floats: the walk over its plan with every stored tensor rounded to its grid.

Sums are float32 where an engine has 32-bit integers, so single roundings differ from any engine's; what the network
then answers, over many pictures, does not. NumPy computes, whatever else is there or compiled already: Numba's sums differ
in the last bits, and what is predicted, and every scale, would be another on another day.
"""

import concurrent.futures
import contextlib

import numpy as np

from ..engines.blas import one_thread
from ..engines.cores import thread_count
from ..network.steps import INPUT
from ..network.walk import apply, walk
from ..ops import definitions
from ..ops.compiled import compiled
from .parameters import gate_slopes
from .schemes import SCHEMES
from .stored import every_tensor, stored_tensors

SIXTH = 1 / 6  # slope of the hard-sigmoid inside a hard-swish


class Network:
    """A network as simulations take it: its folded plan and float32 parameters, and what computes.

    Attributes
    ----------
    plan : tuple of Step, folded
    model : the Model it is of, or None where there is a plan alone
    arrays : {parameter's name: float32 array} in the operations' layout
    integer_twins : `ops.integer_loops` where these are compiled already, else None: the same integers, sooner
    stored : tuple of Stored, by the scheme; without a scheme every step's tensor is
    slopes : {layer's name: slope}, see `gate_slopes`
    """

    def __init__(self, plan, arrays, scheme, model=None):
        self.plan, self.arrays, self.scheme, self.model = plan, arrays, scheme, model
        self.stored = stored_tensors(plan, SCHEMES[scheme]) if scheme else every_tensor(plan)
        self.slopes = gate_slopes(plan, SCHEMES[scheme]) if scheme else {}
        self.integer_twins = _integer_twins()
        self.at = {}
        for tensor in self.stored:
            self.at.setdefault(tensor.step, []).append(tensor)

    @classmethod
    def of(cls, model, scheme):
        """A model's network, for the model's own input size."""
        arrays = {name: np.ascontiguousarray(a) for name, a in model.arrays("float32", folded=True).items()}
        return cls(model.plan_for(tuple(model.preprocess.side), folded=True), arrays, scheme, model)

    def compute(self, step, inputs, arrays, visit):
        """The tensor of a step before it is stored; a hard-swish's own gate is visited on the way."""
        gate = next((tensor for tensor in self.at.get(step.name, ()) if tensor.form == "gate"), None)
        if gate is not None:
            (x,) = inputs
            return x * visit(gate.name, definitions.hard_sigmoid(x, slope=SIXTH))
        out = apply(step, inputs, arrays, definitions)
        added = arrays.get(f"{step.name}.bias") if step.param("weight") and not step.param("bias") else None
        return out if added is None else out + added.reshape(-1, *(1,) * (out.ndim - 2))

    def store(self, step, tensor, visit):
        """What a step's tensor becomes when it is stored: what `visit` (name, tensor) makes of it."""
        for stored in self.at.get(step.name, ()):
            if stored.form == "relu6":
                slope = self.slopes[step.name]
                gate = visit(stored.name, 6 * definitions.hard_sigmoid(tensor, slope=slope)) / 6
                tensor = (gate - tensor.dtype.type(0.5)) / tensor.dtype.type(slope)
            elif stored.form == "":
                tensor = visit(stored.name, tensor)
        return tensor

    def run(self, x, arrays=None, visit=None, layer=None, keep=frozenset()):
        """Walk the plan on one picture.

        Parameters
        ----------
        x : (3, H, W) float32
        arrays : as `self.arrays`, default these
        visit : callable (stored tensor's name, tensor) -> tensor, which may be changed in place; default leaves it
        layer : callable (step, values) of every step with weights, when its sum is in `values` and not stored yet; it may
            change that in place
        keep : names of the steps whose tensors stay

        Returns
        -------
        dict {name: tensor} of the steps that are kept, the logits among them
        """
        arrays, visit = self.arrays if arrays is None else arrays, visit or _leave
        values = {INPUT: visit(INPUT, np.array(x[None], np.float32))}
        with np.errstate(over="ignore", invalid="ignore"):
            for step in walk(self.plan, values, lambda s, inputs: self.compute(s, inputs, arrays, visit), keep):
                if layer is not None and step.param("weight"):
                    layer(step, values)
                values[step.name] = self.store(step, values[step.name], visit)
        return values

    def logits(self, x, arrays=None, visit=None, layer=None):
        """(classes,) float32 of one picture (3, H, W); the rest as for `run`."""
        return self.run(x, arrays, visit, layer)["logits"][0]


def _integer_twins():
    if not compiled("float32"):
        return None
    from ..ops import integer_loops

    return integer_loops


def _leave(name, tensor):
    return tensor


def snap(tensor, grid):
    """Round a float32 tensor to the numbers of a grid, in place: `grid.dequantize(grid.quantize(tensor))`, NaN kept."""
    scale = np.float32(grid.scale)
    np.divide(tensor, scale, out=tensor)
    np.rint(tensor, out=tensor)
    np.clip(tensor, grid.low - grid.zero_point, grid.high - grid.zero_point, out=tensor)
    return np.multiply(tensor, scale, out=tensor)


def snapping(grids):
    """A `visit` that rounds the tensors of {name: Grid}, and leaves all others."""
    return lambda name, tensor: snap(tensor, grids[name]) if name in grids else tensor


@contextlib.contextmanager
def threads():
    """A pool: callable (function, sequence) -> list of its answers, in order, with NumPy's BLAS in one thread each."""
    with one_thread(), concurrent.futures.ThreadPoolExecutor(thread_count(), "npmnv3-quantize") as pool:
        try:
            yield lambda function, items: list(pool.map(function, items))
        finally:
            pool.shutdown(cancel_futures=True)
