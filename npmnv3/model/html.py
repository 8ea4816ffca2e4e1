"""HTML for notebooks: tables whose every cell is escaped, as names, labels and origins come from files."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Sequence

SIDES = {"<": "left", ">": "right"}
BAD = "background: rgba(185, 28, 28, .15)"  # a tint that notebooks show, light and dark


def text(value: object) -> str:
    """A value as HTML's text: nothing in it is markup."""
    return html.escape(str(value))


def table(
    rows: Iterable[Sequence[object]], header: Sequence[object] = (), align: str = "", bad: Collection[int] = ()
) -> str:
    """A table.

    Parameters
    ----------
    rows : iterable of sequences, a cell a value; shown as `text` has them
    header : sequence, the columns' titles; () for none
    align : str, "<" or ">" for each column
    bad : numbers of the rows to tint
    """
    lines = [_row("th", header, align)] if header else []
    lines += [_row("td", row, align, BAD if i in bad else "") for i, row in enumerate(rows)]
    return f"<table>{''.join(lines)}</table>"


def _row(tag: str, cells: Sequence[object], align: str, style: str = "") -> str:
    inner = (
        f'<{tag} style="text-align: {SIDES[side]}; vertical-align: top">{text(cell)}</{tag}>'
        for cell, side in zip(cells, align)
    )
    return f'<tr style="{style}">{"".join(inner)}</tr>'


def details(title: object, inner: str) -> str:
    """HTML that a click on its title opens."""
    return f"<details><summary>{text(title)}</summary>{inner}</details>"


def verdict(title: object, word: object, sentence: object, fine: bool) -> str:
    """The head of a report: what was judged, the verdict's word, and the verdict in a sentence; green or red at its left."""
    colour = "#15803d" if fine else "#b91c1c"
    style = f"border-left: .4rem solid {colour}; padding: .3rem .8rem"
    return f'<p>{text(title)}</p><p style="{style}"><b>{text(word)}</b>: {text(sentence)}</p>'


def points(sentences: Iterable[object]) -> str:
    """A list of sentences; nothing where there are none."""
    items = "".join(f"<li>{text(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""
