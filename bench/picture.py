"""The picture of speed in README.md, of that page's own table: `python -m bench.picture bench/speed.svg`."""

import pathlib
import sys

TITLE = "Beside other runtimes"
COLOURS = ("#15803d", "#94a3b8", "#cbd5e1", "#64748b")  # npmnv3's, then the others'


def read_table(text):
    """The table below a page's heading TITLE.

    Parameters
    ----------
    text : str, of the page

    Returns
    -------
    (names of the engines, {"network, batch, threads": their times, ONNX Runtime's being 1})
    """
    section = text.split(f"## {TITLE}\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip(" *") for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"
    ]
    return rows[0][1:], {row[0]: [float(cell) for cell in row[1:]] for row in rows[2:]}


def draw(engines, times, path):
    """Write bars of `read_table`'s values; the same bytes on every run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.hashsalt": "npmnv3", "font.size": 9})
    figure, axis = pyplot.subplots(figsize=(8, 3.2), layout="constrained")
    width = 0.8 / len(engines)
    for i, (engine, colour) in enumerate(zip(engines, COLOURS)):
        at = [row + (i - len(engines) / 2) * width for row in range(len(times))]
        axis.bar(at, [values[i] for values in times.values()], width, align="edge", color=colour, label=engine)
    axis.axhline(1, color="black", linewidth=0.8, label="ONNX Runtime 1.32")
    axis.set_xticks(range(len(times)), [_label(name) for name in times], fontsize=8)
    axis.set_ylabel("time, ONNX Runtime = 1\n(less is faster)")
    axis.set_xlim(-0.6, len(times) - 0.4)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(ncols=len(engines) + 1, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _label(name):
    network, batch, threads = name.split(", ")
    return f"{network}\nbatch {batch}\n{threads} thread{'s' * (threads != '1')}"


if __name__ == "__main__":
    page = pathlib.Path(__file__).with_name("README.md")
    draw(*read_table(page.read_text(encoding="utf-8")), sys.argv[1])
