"""Notes and warnings on files whose network ends in an activation behind the classifier: a dump ends with the logits."""

_EACH_CLASS = ("sigmoid", "hard_sigmoid")
_PROBABILITIES = ("softmax", "log_softmax")


def end_notes(what, activation, classes):
    """(notes, warnings) on such an end.

    Parameters
    ----------
    what : str, what ends so: "the graph", "its configuration"
    activation : str, as Keras calls it
    classes : int, of the classifier; predict takes a sigmoid where there is one, else a softmax
    """
    if activation in _PROBABILITIES or (activation == "sigmoid" and classes == 1):
        kind = "probabilities" if activation != "log_softmax" else "logarithms of probabilities"
        return (f"{what} ends in {activation}: its output are {kind}; the dump ends with the logits",), ()
    if activation in _EACH_CLASS:
        return (), (each_class(what, activation, classes),)
    return (), (f"{what} ends in {activation}; the dump ends with what that gets",)


def each_class(what, activation, classes):
    """The warning where each class has a probability of its own."""
    return (
        f"{what} ends in {activation}: {classes} classes, each by itself; the dump ends with the logits, of which predict's "
        "percentages are a softmax, not the file's own; those are the sigmoid of model(x)"
    )
