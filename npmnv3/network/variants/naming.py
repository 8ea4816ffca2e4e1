"""How a state dict's names are put together from a module's place and a parameter's role."""

TORCH_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "mean": "running_mean",
    "variance": "running_var",
    "count": "num_batches_tracked",
}
PADDLE_NORM = {"gamma": "weight", "beta": "bias", "mean": "_mean", "variance": "_variance"}


def dotted(place, norm_roles):
    """Names of the form MODULE.ENTRY.

    Parameters
    ----------
    place : callable (part, unit) -> (module of the layer, module of its batch norm)
    norm_roles : {role: entry} of a batch norm

    Returns
    -------
    callable (part, unit, role) -> name, as `Source.param_name` wants it
    """

    def param_name(part, unit, role):
        layer, norm = place(part, unit)
        return f"{norm}.{norm_roles[role]}" if role in norm_roles else f"{layer}.{role}"

    return param_name
