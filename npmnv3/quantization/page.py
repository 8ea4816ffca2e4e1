"""A report as one self-contained HTML page: the verdict first, then why, what helps, and the tables."""

import numpy as np

from ..evaluation.figures import BLUE, GREY, RED, encoded, new_figure, rendered
from .report import decibels_text

BAD, GOOD, PLAIN = RED, BLUE, GREY
WORST = 16  # tensors that are drawn
POOR = 15.0  # decibels below which a tensor costs first answers by itself
CEILING = 70.0  # decibels from which it costs nothing that could be seen


def page(report):
    """The HTML of a Report, with everything in it; MissingExtraError without the packages that draw it."""
    figures = {"tried": _tried(report), "alone": _alone(report), "ranges": _ranges(report)}
    return rendered(TEMPLATE, report=report, figures=figures, db=decibels_text)


def _tried(report):
    """What each recipe is predicted to give, beside the float network."""
    outcomes = report.tried
    figure, axes = new_figure(10, 0.42 * len(outcomes) + 1.3)
    places = np.arange(len(outcomes))
    beside = 0.0 if report.exact.top1 is None else 0.2  # alone a bar stands at its label's height
    axes.barh(
        places + beside, [one.agreement for _, one in outcomes], 0.36, color=PLAIN, label="answers as in floats, %"
    )
    if report.exact.top1 is not None:
        axes.barh(places - beside, [one.top1 for _, one in outcomes], 0.36, color=GOOD, label="top-1, %")
        axes.axvline(report.exact.top1, color=BAD, linewidth=1, label=f"top-1 in floats, {report.exact.top1:.1f}%")
    axes.set_yticks(places, [title for title, _ in outcomes], fontsize=8)
    axes.set_xlim(0, 100)
    axes.invert_yaxis()
    figure.legend(fontsize=8, loc="outside upper right", ncols=3)
    return encoded(figure)


def _alone(report):
    """The tensors that cost most by themselves: how far the logits stay above the noise when only these are rounded."""
    rows = sorted((row for row in report.tensors if row["snr_db"] is not None), key=lambda row: row["snr_db"])[:WORST]
    if not rows:
        return ""
    figure, axes = new_figure(10, 0.24 * len(rows) + 1)
    levels = [min(row["snr_db"], CEILING) for row in rows]
    bars = axes.barh(range(len(rows)), levels, color=[BAD if level < POOR else PLAIN for level in levels])
    axes.bar_label(bars, [decibels_text(row["snr_db"]) for row in rows], fontsize=7, padding=2)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=8)
    axes.set_xlabel("logits above the noise, dB; short bars cost most")
    axes.invert_yaxis()
    return encoded(figure)


def _ranges(report):
    """Along the depth, the tensors' ranges on an axis that shows small and large ones."""
    figure, axes = new_figure(11, 3.6)
    places = np.arange(len(report.tensors))
    low = np.array([row["low"] for row in report.tensors])
    high = np.array([row["high"] for row in report.tensors])
    axes.bar(places, high - low, bottom=low, color=GOOD, width=0.8)
    axes.set_yscale("symlog", linthresh=1.0)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_ylabel("smallest and largest number")
    axes.set_xticks([0, len(places) - 1], [report.tensors[0]["name"], report.tensors[-1]["name"]])
    return encoded(figure)


TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ report.model }}, {{ report.scheme }}: {{ report.advice }}</title>
<style>
{{ style }}
td.text, th.text { white-space: normal; } dt { font-weight: 600; margin-top: .7rem; } dd { margin-left: 1.2rem; }
.small { color: #64748b; font-size: .85rem; }
</style></head><body>
<h1>{{ report.model }} in {{ report.scheme }}, {{ report.recipe }}</h1>
<p class="verdict {{ 'fine' if report.fine else 'dear' }}">
{% if report.exact.top1 is not none %}Top-1 {{ "%.1f"|format(report.exact.top1) }} in floats,
<b>{{ "%.1f"|format(report.outcome.top1) }} predicted</b>.{% endif %}
First answers as in floats: {{ "%.1f"|format(report.outcome.agreement) }}%.<br>{{ report.advice[0]|upper }}{{ report.advice[1:] }}.
{%- if report.beside %}<br>{{ report.beside }}.{% endif %}</p>
{% if report.caveats %}<ul>{% for caveat in report.caveats %}<li>{{ caveat }}</li>{% endfor %}</ul>{% endif %}
<p class="small">Calibrated on {{ report.calibration }} picture{{ 's' if report.calibration != 1 }}; judged on {{ report.data }}.</p>
{% if report.causes %}<h2>{{ report.why }}</h2><dl>{% for cause in report.causes %}
<dt>{{ cause.name }}</dt><dd>{{ cause.text }}.<br><i>What helps: {{ cause.remedy }}.</i></dd>{% endfor %}</dl>{% endif %}
{% macro outcomes(rows) %}<table>
<tr><th class="text"></th>{% if report.exact.top1 is not none %}<th>top-1</th><th>95%</th>{% endif %}<th>as in floats, %</th><th>logits, dB</th></tr>
{% for title, one in rows %}<tr><td class="text">{{ title }}</td>
{% if report.exact.top1 is not none %}<td>{{ "%.1f"|format(one.top1) }}</td><td>{{ "%.0f..%.0f"|format(*one.interval) }}</td>{% endif %}
<td>{{ "%.1f"|format(one.agreement) }}</td><td>{{ db(one.snr_db) }}</td></tr>{% endfor %}</table>{% endmacro %}
{% if report.learned %}<h2>Where it is lost</h2>{{ outcomes(report.learned) }}{% endif %}
<h2>What was tried, the cheapest first</h2>{{ outcomes(report.tried) }}
<img alt="what was tried" src="data:image/png;base64,{{ figures.tried }}">
{% if figures.alone %}<h2>What costs most by itself</h2><img alt="what costs most" src="data:image/png;base64,{{ figures.alone }}">{% endif %}
<h2>Ranges</h2><img alt="ranges" src="data:image/png;base64,{{ figures.ranges }}">
<h2>Stored tensors</h2><div class="scroll"><table>
<tr><th class="text">tensor</th><th>low</th><th>high</th><th>step</th><th>zero point</th><th>type</th>
<th>largest / median channel</th><th>dead channels</th><th>alone, dB</th></tr>
{% for t in report.tensors %}<tr><td class="text">{{ t.name }}</td><td>{{ "%.4g"|format(t.low) }}</td>
<td>{{ "%.4g"|format(t.high) }}</td><td>{{ "-" if t.step is none else "%.4g"|format(t.step) }}</td>
<td>{{ "-" if t.zero_point is none else t.zero_point }}</td><td>{{ t.dtype }}</td><td>{{ "%.1f"|format(t.ratio) }}</td>
<td>{{ t.dead }} of {{ t.channels }}</td><td>{{ db(t.snr_db) }}</td></tr>
{% endfor %}</table></div>
<h2>Weights</h2><div class="scroll"><table>
<tr><th class="text">layer</th><th class="text">operation</th><th>largest / median channel</th><th>dead channels</th><th>alone, dB</th></tr>
{% for t in report.layers %}<tr><td class="text">{{ t.name }}</td><td class="text">{{ t.op }}</td>
<td>{{ "%.1f"|format(t.ratio) }}</td><td>{{ t.dead }} of {{ t.channels }}</td><td>{{ db(t.snr_db) }}</td></tr>
{% endfor %}</table></div>
{% if report.notes %}<h2>How far this can be believed</h2><ul>{% for note in report.notes %}<li>{{ note }}</li>{% endfor %}</ul>{% endif %}
</body></html>
"""
