"""The figures: bars against the other engines, and each layer's share of the processor's peak."""

from npmnv3.engines.llvm import LlvmEngine


def plot(summary, networks, base, path):
    """Draw everything into one file.

    Parameters
    ----------
    summary : list of (network's name, batch, threads, {engine: Times})
    networks : sequence of Network
    base : str, the engine whose time is 1
    path : str, of the picture
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1 + len(networks), figsize=(11, 4 * (1 + len(networks))), layout="constrained")
    _bars(axes[0], [row for row in summary if base in row[3]], base)
    for axis, network in zip(axes[1:], networks):
        _layers(axis, network)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _bars(axis, rows, base):
    engines = list(dict.fromkeys(name for row in rows for name in row[3] if name != "npmnv3 numpy"))
    for index, engine in enumerate(engines):
        at = [i + (index - len(engines) / 2) * 0.8 / len(engines) for i, row in enumerate(rows) if engine in row[3]]
        ratios = [row[3][engine].against(row[3][base]).median for row in rows if engine in row[3]]
        axis.bar(at, ratios, 0.8 / len(engines), align="edge", label=engine)
    labels = [f"{name.rpartition('/')[2]}\nbatch {batch}, {threads} thr." for name, batch, threads, _ in rows]
    axis.set_xticks(range(len(rows)), labels, fontsize=7)
    axis.axhline(1, color="black", linewidth=0.8)
    axis.set_ylabel(f"time, {base} = 1")
    if engines:
        axis.legend(ncols=len(engines), loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)  # off the bars


def _layers(axis, network):
    rows = LlvmEngine(network.plan_for, network.params, threads=1).profile(network.pictures(1))
    left = 0.0
    for row in rows:
        axis.bar(left, 100 * row.share, row.milliseconds, align="edge", edgecolor="white", linewidth=0.5)
        if row.milliseconds > 0.03 * sum(r.milliseconds for r in rows):
            name = row.name.split("+")[0].rpartition(".")[0] or row.name
            axis.text(left + row.milliseconds / 2, 3, name, rotation=90, ha="center", fontsize=7)
        left += row.milliseconds
    axis.set_title(f"{network.name}: share of the peak multiply-add rate")
    axis.set_xlabel("ms")
    axis.set_ylabel("%")
