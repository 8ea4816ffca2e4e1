"""How the work of one picture is shared out among the parts that several threads do."""

#: Bytes that a layer reads from which on it is worth while to share it: a smaller one is done sooner than its parts have
#: been told to begin.
SHARED_BYTES = 1 << 16


def share(count, part, parts):
    """(start, stop) of a part's share of `count` things."""
    return count * part // parts, count * (part + 1) // parts


def panel_halves(vectors, part, parts):
    """A part's share of some panels, cut into halves where that evens out the parts.

    Parameters
    ----------
    vectors : sequence of int, of each panel: its work
    part, parts : int

    Returns
    -------
    list of (index of the panel, first, stop), of its two halves: (0, 2) is all of it

    Examples
    --------
    >>> [panel_halves([2, 2, 2], part, 2) for part in range(2)]
    [[(0, 0, 2), (1, 0, 1)], [(1, 1, 2), (2, 0, 2)]]
    """
    marks = [0]
    for count in vectors:
        marks += [marks[-1] + count, marks[-1] + 2 * count]
    start, stop = (
        min(range(len(marks)), key=lambda half: abs(marks[half] * parts - marks[-1] * end)) for end in (part, part + 1)
    )
    shares = [(index, max(start - 2 * index, 0), min(stop - 2 * index, 2)) for index in range(len(vectors))]
    return [(index, first, last) for index, first, last in shares if first < last]
