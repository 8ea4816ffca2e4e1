"""A report as one self-contained HTML page: verdict first, then plots, then the table."""

import numpy as np

from ..evaluation.figures import BLUE, GREY, RED, encoded, new_figure, rendered

CHANNEL_BINS, CHANNEL_ROWS = 64, 32  # of the heat map, at most
LOCAL, INHERITED, NOISE = RED, BLUE, GREY


def page(report):
    """The HTML of a Report, with everything in it; MissingExtraError without the packages that draw it."""
    figures = {"depth": _depth(report), "channels": _channels(report), "picture": _picture(report.picture)}
    return rendered(TEMPLATE, report=report, figures=figures, rows=CHANNEL_ROWS, db=decibels)


def decibels(value):
    """`12.3`, `exact`, or `-` where nothing was measured."""
    return "-" if value is None else "exact" if value == np.inf else f"{value:.1f}"


def _level(snr):
    """Relative error of a signal-to-noise ratio; nothing where it is exact."""
    return np.nan if not np.isfinite(snr) else 10 ** (-snr / 20)


def _depth(report):
    """Error along the depth, with the noise floor as a band, local beside accumulated."""
    rows = report.tensors
    figure, axes = new_figure(11, 4.2)
    at = np.arange(len(rows))
    noise = np.array([_level(row.local.noise_db) for row in rows])
    axes.fill_between(
        at,
        noise / 3,
        noise * report.factor,
        color=NOISE,
        alpha=0.3,
        lw=0,
        step="mid",
        label=f"{report.precision} rounding, up to x {report.factor:g}",
    )
    for which, colour, label in (
        ("accumulated", INHERITED, "accumulated"),
        ("local", LOCAL, "local: what the step itself added"),
    ):
        level = [_level(getattr(row, which).snr_db) for row in rows]
        axes.plot(at, level, ".-" if len(rows) > 1 else "o", color=colour, lw=1, ms=4, label=label)
    bad = [i for i, row in enumerate(rows) if not row.passes]
    axes.plot(
        bad,
        [_level(rows[i].local.snr_db) for i in bad],
        "o",
        mfc="none",
        mec=LOCAL,
        ms=10,
        label="beyond rounding" if bad else None,
    )
    axes.set_yscale("log")
    axes.set_ylabel("error / signal")
    label_depth(axes, [row.step for row in rows])
    return encoded(figure)


def label_depth(axes, names):
    """Name some of the steps along the depth, which is the abscissa; a legend above."""
    ticks = range(0, len(names), max(1, len(names) // 24))
    axes.set_xticks(ticks, [names[i] for i in ticks], rotation=60, ha="right", fontsize=7)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _channels(report):
    """A heat map: a row a tensor, its channels from left to right, the error in multiples of rounding."""
    worst = sorted(report.tensors, key=lambda row: (row.passes, -row.local.ratio))[:CHANNEL_ROWS]
    rows = [row for row in report.tensors if row in worst]
    grid = np.full((len(rows), CHANNEL_BINS), np.nan)
    for i, row in enumerate(rows):
        parts = np.array_split(row.local.channels, min(CHANNEL_BINS, len(row.local.channels)))
        levels = np.log10(np.maximum([part.max() for part in parts], 1e-2))
        grid[i] = levels[np.arange(CHANNEL_BINS) * len(levels) // CHANNEL_BINS]
    figure, axes = new_figure(11, max(1.6, 0.17 * len(rows) + 1))
    image = axes.imshow(
        grid, aspect="auto", cmap="magma", vmin=-1, vmax=max(3, np.nanmax(grid, initial=0)), interpolation="nearest"
    )
    axes.set_yticks(range(len(rows)), [row.step for row in rows], fontsize=7)
    for label, row in zip(axes.get_yticklabels(), rows):
        label.set_color("black" if row.passes else LOCAL)
        label.set_fontweight("normal" if row.passes else "bold")
    axes.set_xticks([0, CHANNEL_BINS - 1], ["first channel", "last"])
    figure.colorbar(image, ax=axes, label="log10 of local error\nover rounding", fraction=0.03)
    return encoded(figure)


def _picture(picture):
    """The input as the port saw it, stretched to the full range."""
    if picture is None:
        return ""
    low, high = float(np.nanmin(picture)), float(np.nanmax(picture))
    figure, axes = new_figure(2.6, 2.6 * min(max(picture.shape[1] / picture.shape[2], 0.1), 1))
    axes.imshow(np.clip((picture.transpose(1, 2, 0) - low) / max(high - low, 1e-30), 0, 1))
    axes.set_axis_off()
    return encoded(figure)


TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ report.model }}: {{ report.verdict }}</title>
<style>
{{ style }}
.verdict b { text-transform: uppercase; letter-spacing: .03em; }
.side { float: right; margin: 0 0 1rem 1rem; width: 14rem; text-align: center; font-size: .8rem; color: #64748b; }
.depth { clear: both; } .faults td { white-space: normal; }
td:nth-child(-n+3), th:nth-child(-n+3) { text-align: left; } tr.bad td { background: #fef2f2; } ul { padding-left: 1.2rem; }
</style></head><body>
<h1>{{ report.model }} against {{ report.port }}</h1>
<p class="verdict {{ report.verdict }}"><b>{{ report.word }}</b>: {{ report.sentence }}</p>
{% if figures.picture %}<figure class="side"><img alt="input" src="data:image/png;base64,{{ figures.picture }}">
<figcaption>the input as the port saw it, channels as red, green, blue</figcaption></figure>{% endif %}
<ul>
{% if report.decisions %}<li>Decisions: {{ report.decisions.text }}.</li>{% endif %}
{% if report.first_divergence %}<li>First divergence: {{ report.first_divergence }}.</li>{% endif %}
<li>{{ report.tensors|length }} tensors matched, {{ report.unmatched|length }} not; {{ report.faults_tried }} faults tried.</li>
{% for note in report.notes %}<li>{{ note }}</li>{% endfor %}
</ul>
{% macro faults(title, rows, sure) %}{% if rows %}<h2>{{ title }}</h2><table class="faults"><tr><th>fault</th><th>what</th><th>{{ sure }}</th><th>steps</th><th>dB before</th><th>dB with it</th></tr>
{% for row in rows %}<tr><td>{{ row.fault }}</td><td>{{ row.text }}</td><td>{{ row.certainty }}</td><td>{{ row.steps|length }}</td>
<td>{{ "%.1f"|format(row.snr_before_db or 0) }}</td><td>{{ "%.1f"|format(row.snr_db or 0) }}</td></tr>{% endfor %}</table>{% endif %}{% endmacro %}{{ faults("Explained by", report.explained_by, "how sure") }}
{{ faults("Next best", report.alternatives, "") }}
<h2 class="depth">Error along the depth</h2><img alt="error along the depth" src="data:image/png;base64,{{ figures.depth }}">
<h2>Worst channels{% if report.tensors|length > rows %}, of the {{ rows }} worst tensors{% endif %}</h2><img alt="worst channels" src="data:image/png;base64,{{ figures.channels }}">
<h2>Tensors</h2><p>Local is what a step itself added: the reference is run with the port's own tensors as inputs. Accumulated is against the
reference's whole run. x {{ report.precision }} is the local error over that of honest {{ report.precision }} arithmetic; up to {{ "%g"|format(report.factor) }} passes.</p>
<div class="scroll"><table>
<tr><th>step</th><th>port's tensor</th><th>layout</th><th>local dB</th><th>x {{ report.precision }}</th><th>max error</th><th>at</th><th>ULP, 99.9%</th>
<th>accumulated dB</th><th>cosine</th><th>bits</th><th>worst channel</th></tr>
{% for t in report.tensors %}<tr class="{{ '' if t.passes else 'bad' }}"><td>{{ t.step }}</td><td>{{ t.port }}</td><td>{{ t.layout }}</td>
<td>{{ db(t.local.snr_db) }}</td><td>{{ "%.3g"|format(t.local.ratio) }}</td><td>{{ "%.2e"|format(t.local.max_abs) }}</td><td>{{ t.local.place|join(", ") }}</td>
<td>{{ "%.3g"|format(t.local.ulp_p999) }}</td><td>{{ db(t.accumulated.snr_db) }}</td><td>{{ "%.7f"|format(t.accumulated.cosine) }}</td>
<td>{{ db(t.accumulated.effective_bits) }}</td><td>{{ t.local.worst_channel }} ({{ "%.0f"|format(100 * t.local.worst_channel_share) }}%)</td></tr>
{% endfor %}</table></div>
{% if report.unmatched %}<h2>Fits no step</h2><p>{% for row in report.unmatched %}{{ row.port }} ({{ row.shape|join(", ") }}){{ ", " if not loop.last }}{% endfor %}</p>{% endif %}
</body></html>
"""
