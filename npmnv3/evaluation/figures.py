"""Plots of pages that hold everything in themselves."""

import base64
import io

from ..errors import require

RED, BLUE, GREY = "#c2410c", "#1d4ed8", "#94a3b8"  # which stay apart for colour-blind readers and on paper


def check_html():
    """MissingExtraError if the packages of HTML reports are not here."""
    require("jinja2", "report", "the HTML report")
    require("matplotlib", "report", "the HTML report")


def new_figure(width, height):
    """A matplotlib Figure of so many inches, and its axes."""
    figures = require("matplotlib.figure", "report", "the HTML report")
    figure = figures.Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def encoded(figure):
    """A figure as PNG in base64, for a data: address."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return base64.b64encode(data.getvalue()).decode("ascii")


def rendered(template, **values):
    """A page of a template in which {{ style }} stands for what such pages have in common; all else is escaped."""
    jinja2 = require("jinja2", "report", "the HTML report")
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return page.from_string(template.replace("{{ style }}", _STYLE)).render(**values)


_STYLE = """body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1e293b; }
h1 { font-size: 1.2rem; font-weight: 600; } h2 { font-size: 1rem; margin-top: 2rem; }
.verdict { padding: .9rem 1.1rem; border-left: .4rem solid; background: #f8fafc; font-size: 1.1rem; overflow-wrap: anywhere; }
.fine { border-color: #15803d; } .diverges, .dear { border-color: #b91c1c; }
img { max-width: 100%; } table + img { margin-top: 1rem; } table { border-collapse: collapse; font-size: .8rem; }
td, th { padding: .15rem .5rem; text-align: right; border-bottom: 1px solid #e2e8f0; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
td.text, th.text { text-align: left; } th { position: sticky; top: 0; background: white; } .scroll { overflow-x: auto; }"""
