"""Networks whose children were registered under other names, as nn.Sequential numbers what a network is taken apart into."""

from dataclasses import replace

from ...network.plan import make_plan

_LISTED = 4


def with_own_names(checkpoint, variant):
    """The checkpoint with the source's names, where its own have another beginning for each child of the network and go on as the
    source's, all of them in the source's order; None where that is not so."""
    params = [param for step in make_plan(variant) for param in step.params if param.role != "count"]
    names = [name for name in checkpoint.arrays if not name.endswith(".num_batches_tracked")]
    children = {}  # beginning in the file: the source's
    for name, param in zip(names, params):
        child, _, rest = param.name.partition(".")
        beginning = name.removesuffix(rest)
        if beginning == name or beginning[-1:] != "." or children.setdefault(beginning, f"{child}.") != f"{child}.":
            return None
    if len(names) != len(params) or len(set(children.values())) < len(children):
        return None
    if all(beginning.endswith(child) for beginning, child in children.items()):
        return None  # at most a prefix before all
    longest = sorted(children, key=len, reverse=True)

    def own(name):
        beginning = next((each for each in longest if name.startswith(each)), "")
        return children.get(beginning, "") + name.removeprefix(beginning)

    pairs = [f"{beginning!r} for {child!r}" for beginning, child in children.items()]
    told = ", ".join(pairs[:_LISTED]) + f" and {len(pairs) - _LISTED} more" * (len(pairs) > _LISTED)
    note = f"its children's names are told by their order, shapes and the names within: {told}"
    return replace(checkpoint.renamed(own), notes=(note,))
