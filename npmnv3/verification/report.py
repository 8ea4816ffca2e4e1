"""What a verification found, for people, programs and continuous integration."""

import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass, field, replace


@dataclass
class TensorReport:
    """One tensor of a port.

    Attributes
    ----------
    port, step : its name in the port, and in the reference
    how : how it was matched, see `matching.Matching`
    layout : how the port stores it: "nchw", "nhwc", "nchw16c", ...
    local : Measure against the step run on the port's own inputs: what this step added
    accumulated : Measure against the reference's whole run: with what it inherited
    passes : bool, local error within the factor of the noise
    """

    port: str
    step: str
    how: str
    layout: str
    shape: tuple
    local: object
    accumulated: object
    passes: bool
    permutation: tuple = ()

    def as_json(self):
        row = {
            "port": self.port,
            "step": self.step,
            "matched_by": self.how,
            "layout": self.layout,
            "shape": list(self.shape),
        }
        if self.permutation:
            row["permutation"] = list(self.permutation)
        return row | {"pass": self.passes, "local": self.local.as_json(), "accumulated": self.accumulated.as_json()}


@dataclass
class Report:
    """A verification's result.

    Attributes
    ----------
    verdict : "fine" or "diverges"
    sentence : the verdict in words
    explained_by : list of dict(fault, steps, snr_db, snr_before_db, text, certainty), best first; more than one where
        one
        fault alone does not explain the port
    alternatives : list of dict, what was tried and comes next
    first_divergence : name of the first step that is off by more than rounding, or None
    tensors : list of TensorReport, in order of execution
    unmatched : list of dict(port, shape), tensors that fit no step
    precision, factor : the noise is that of this precision; errors up to `factor` times the noise pass
    copies : {port's name: step's name}, tensors that only repeat another's numbers
    decisions : dict, see `measure.decisions`, or None without logits
    notes : list of str
    """

    model: str
    port: str
    verdict: str
    sentence: str
    precision: str
    factor: float
    explained_by: list = field(default_factory=list)
    alternatives: list = field(default_factory=list)
    first_divergence: str | None = None
    tensors: list = field(default_factory=list)
    unmatched: list = field(default_factory=list)
    copies: dict = field(default_factory=dict)
    decisions: dict | None = None
    notes: list = field(default_factory=list)
    faults_tried: int = 0
    picture: object = None  # (3, H, W), the input as the port saw it, for the HTML page

    @property
    def fine(self):
        return self.verdict == "fine"

    def __bool__(self):
        return self.fine

    def mapping(self):
        """{port's name: step's name or None}: what `--map` takes."""
        return {t.port: t.step for t in self.tensors} | {row["port"]: None for row in self.unmatched}

    def as_json(self):
        """A dict of plain values, ready for json.dumps."""
        skipped = ("tensors", "picture")
        row = {key: value for key, value in asdict(_bare(self)).items() if key not in skipped}
        return row | {"tensors": [t.as_json() for t in self.tensors]}

    def text(self):
        """The report as a table, verdict first."""
        return "\n".join(_lines(self))

    def junit(self):
        """JUnit XML: one test case a tensor."""
        failed = [t for t in self.tensors if not t.passes]
        suite = ET.Element(
            "testsuite",
            name=f"npmnv3 verify {self.model}",
            tests=str(len(self.tensors) + 1),
            failures=str(len(failed) + (not self.fine)),
        )
        case = ET.SubElement(suite, "testcase", classname=self.model, name="verdict")
        if not self.fine:
            ET.SubElement(case, "failure", message=self.sentence)
        for tensor in self.tensors:
            case = ET.SubElement(suite, "testcase", classname=self.model, name=f"{tensor.step} ({tensor.port})")
            if not tensor.passes:
                local = tensor.local
                message = (
                    f"{local.ratio:.3g} x {self.precision} noise, largest error {local.max_abs:.3g} at {local.place}"
                )
                ET.SubElement(case, "failure", message=message)
        return ET.tostring(suite, encoding="unicode", xml_declaration=True)


def _bare(report):
    return replace(report, tensors=[], picture=None)


def _lines(report):
    yield f"{report.model} against {report.port}"
    yield f"{report.verdict.upper()}: {report.sentence}"
    if report.decisions:
        yield f"decisions: {report.decisions['text']}"
    yield from (f"note: {note}" for note in report.notes)
    yield from ending(report, _table)


def ending(report, table):
    """The last lines of a report of any kind: its tensors as (rows, columns that are aligned right), and what fits no step."""
    if report.tensors:
        yield ""
        rows, right = table(report)
        widths = [max(map(len, column)) for column in zip(*rows)]
        for row in rows:
            cells = (f"{cell:{'>' if i in right else '<'}{widths[i]}}" for i, cell in enumerate(row))
            yield "  ".join(cells).rstrip()
    if report.unmatched:
        yield ""
        yield "fits no step: " + ", ".join(f"{row['port']} {tuple(row['shape'])}" for row in report.unmatched)


def _table(report):
    header = (
        "step",
        "port's tensor",
        "layout",
        "local dB",
        f"x {report.precision}",
        "max error",
        "accumulated dB",
        "cosine",
        "bits",
        "worst channel",
        "",
    )
    rows = [header]
    for t in report.tensors:
        rows.append(
            (
                t.step,
                t.port if t.port != t.step else "=",
                t.layout,
                _number(t.local.snr_db, ".1f"),
                _number(t.local.ratio, ".3g"),
                _number(t.local.max_abs, ".2e"),
                _number(t.accumulated.snr_db, ".1f"),
                _number(t.accumulated.cosine, ".7f"),
                _number(t.accumulated.effective_bits, ".1f"),
                f"{t.local.worst_channel} ({t.local.worst_channel_share:.0%})",
                "" if t.passes else "<-- not finite" if t.local.non_finite else "<--",
            )
        )
    return rows, range(3, 10)


def _number(value, form):
    return "exact" if value == float("inf") and form == ".1f" else f"{value:{form}}"
