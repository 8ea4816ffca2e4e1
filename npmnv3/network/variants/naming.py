"""How a state dict's names are put together from a module's place and a parameter's role."""

from collections.abc import Callable
from dataclasses import dataclass, field

TORCH_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "mean": "running_mean",
    "variance": "running_var",
    "count": "num_batches_tracked",
}
PADDLE_NORM = {"gamma": "weight", "beta": "bias", "mean": "_mean", "variance": "_variance"}


@dataclass(frozen=True)
class DottedNames:
    """Names of the form MODULE.ENTRY: a `Source.param_name` that can be compared, hashed and pickled.

    place : callable (part, unit) -> (module of the layer, module of its batch norm)
    norm_roles : {role: entry} of a batch norm
    """

    place: Callable
    norm_roles: dict[str, str] = field(hash=False)

    def __call__(self, part, unit, role):
        layer, norm = self.place(part, unit)
        return f"{norm}.{self.norm_roles[role]}" if role in self.norm_roles else f"{layer}.{role}"
