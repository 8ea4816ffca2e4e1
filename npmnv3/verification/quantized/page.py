"""A quantised port's report as one self-contained HTML page: verdict first, then whose integers they are, then the tables."""

import numpy as np

from ...evaluation.figures import BLUE, GREY, RED, encoded, new_figure, rendered
from ..page import decibels, label_depth
from .because import cause_text

WORST = 12  # layers and tensors that are listed as the worst
CEILING = 70.0  # decibels from which nothing is lost that could be seen


def page(report):
    """The HTML of a QuantizedReport, with everything in it; MissingExtraError without the packages that draw it."""
    return rendered(
        TEMPLATE,
        report=report,
        depth=_depth(report),
        costly=_worst(report.tensors, lambda row: row.snr_db),
        layers=_worst(report.layers, lambda layer: layer.snr_db, lambda layer: not layer.wrong),
        causes=[cause_text(cause) for cause in report.causes],
        db=decibels,
    )


def _worst(rows, level, after=lambda row: False):
    """The rows that lie lowest, where a level is known; before them those that `after` is False of."""
    rows = [row for row in rows if level(row) is not None]
    return sorted(rows, key=lambda row: (after(row), level(row)))[:WORST]


def _depth(report):
    """Along the depth, how far each tensor stays above what quantising added; those that are no kernel set's are marked."""
    rows = [row for row in report.tensors if row.snr_db is not None]
    if not rows:
        return ""
    figure, axes = new_figure(11, 3.8)
    at, levels = np.arange(len(rows)), np.clip([row.snr_db for row in rows], 0, CEILING)
    axes.plot(at, levels, "-", color=GREY, lw=1)
    for exact, colour, label in ((True, BLUE, "exact"), (False, RED, "not exact")):
        of = [i for i, row in enumerate(rows) if row.exact is exact]
        if of:
            axes.plot(at[of], levels[of], "o", color=colour, ms=4, label=label)
    axes.set_ylabel("dB above the error\nagainst the float network")
    label_depth(axes, [_plain(row.step) for row in rows])
    return encoded(figure)


def _plain(name):
    """A name as plots have it: of a file it may be long, and dollars would be read as formulas."""
    return (name if len(name) <= 32 else f"...{name[-29:]}").replace("$", r"\$")


TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ report.model }}: {{ report.word }}</title>
<style>
{{ style }}
.verdict b { text-transform: uppercase; letter-spacing: .03em; }
td.long { text-align: left; white-space: normal; min-width: 16rem; overflow-wrap: anywhere; }
td.mark { text-align: center; } tr.bad td { background: #fef2f2; } .off { color: #c2410c; font-weight: 600; }
ul { padding-left: 1.2rem; }
</style></head><body>
<h1>{{ report.model }} against {{ report.port }}</h1>
<p class="verdict {{ 'dear' if report.dear else report.verdict }}"><b>{{ report.word }}</b>: {{ report.summary }}</p>
{% if causes or report.notes %}<ul>{% for text in causes %}<li>Cause: {{ text }}.</li>{% endfor %}
{% for note in report.notes %}<li>{{ note }}.</li>{% endfor %}</ul>{% endif %}
{% if report.kernel_sets %}<h2>Whose integers</h2><table>
<tr><th class="text">kernel set</th><th>exact tensors</th><th>of</th><th class="text">the first that is not</th></tr>
{% for row in report.kernel_sets %}<tr class="{{ '' if row.exact == row.of else 'bad' }}"><td class="text">{{ row.name }}</td>
<td>{{ row.exact }}</td><td>{{ row.of }}</td><td class="text">{{ row.first or "" }}</td></tr>{% endfor %}</table>{% endif %}
{% if report.cost %}<h2>What quantising cost</h2>
<p>Integers of {{ report.cost.by }}, on {{ report.cost.on }}{% if report.cost.logits_db is not none %}: logits {{ db(report.cost.logits_db) }} dB above
the error; {{ report.cost.flips|length }} of {{ report.cost.pictures }} first answers flip
{%- if report.cost.flips %} (pictures {{ report.cost.flips|join(", ") }}, counted from 0){% endif %}{% endif %}.</p>{% endif %}
{% if depth %}<img alt="signal to noise along the depth" src="data:image/png;base64,{{ depth }}">{% endif %}
{% if costly %}<h2>The worst tensors</h2><table><tr><th class="text">step</th><th>dB to float</th></tr>
{% for row in costly %}<tr><td class="text">{{ row.step }}</td><td>{{ db(row.snr_db) }}</td></tr>{% endfor %}</table>{% endif %}
{% if layers %}<h2>The worst layers' weights{% if report.layers|length > layers|length %}, {{ layers|length }} of {{ report.layers|length }}{% endif %}</h2>
<table><tr><th class="text">layer</th><th>weights, dB</th><th>biases, dB</th><th class="text">what is wrong</th></tr>
{% for layer in layers %}<tr class="{{ 'bad' if layer.wrong else '' }}"><td class="text">{{ layer.name }}</td><td>{{ db(layer.snr_db) }}</td>
<td>{{ db(layer.bias_snr_db) }}</td><td class="long">{{ layer.wrong }}</td></tr>{% endfor %}</table>{% endif %}
{% if report.tensors %}<h2>Tensors</h2><div class="scroll"><table>
<tr><th class="text">step</th><th class="text">port's tensor</th><th class="text">matched by</th><th class="text">layout</th>
{% for row in report.kernel_sets %}<th>{{ row.name }}</th>{% endfor %}<th>off</th><th>by</th><th>dB to float</th><th class="text">because</th></tr>
{% for t in report.tensors %}<tr class="{{ '' if t.right else 'bad' }}"><td class="text">{{ t.step }}</td><td class="text">{{ t.port }}</td>
<td class="text">{{ t.how }}</td><td class="text">{{ t.layout }}</td>
{% for row in report.kernel_sets %}<td class="mark">{% if row.name in t.exact_of %}exact{% else %}<span class="off">no</span>{% endif %}</td>{% endfor %}
<td>{% if not t.exact %}{{ t.off }} of {{ t.of }}{% endif %}</td><td>{% if not t.exact %}{{ t.largest }}{% endif %}</td>
<td>{{ db(t.snr_db) }}</td><td class="long">{{ t.because }}</td></tr>
{% endfor %}</table></div>{% if report.kernels %}<p>Off, by and because are told against {{ report.kernels[0] }}.</p>{% endif %}{% endif %}
{% if report.unmatched %}<h2>Fits no step</h2><p>{% for row in report.unmatched %}{{ row.port }} ({{ row.shape|join(", ") }}){{ ", " if not loop.last }}{% endfor %}</p>{% endif %}
</body></html>
"""
