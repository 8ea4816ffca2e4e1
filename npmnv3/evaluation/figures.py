"""Plots of pages that hold everything in themselves."""

import base64
import io

from ..errors import require


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
