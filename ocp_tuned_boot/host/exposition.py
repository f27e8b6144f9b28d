"""The text format in which Prometheus reads metrics (exposition formats, text, version 0.0.4), as
node_exporter's textfile collector accepts it: without timestamps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ocp_tuned_boot.errors import escaped

_IN_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})
_IN_LABEL = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


@dataclass(frozen=True)
class Sample:
    """One value, and the labels that tell it from the others of its metric."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Gauge:
    """One metric: its name, what it `says` (one sentence), and its samples. Without samples it is
    left out."""

    name: str
    says: str
    samples: tuple[Sample, ...]


def text(gauges: Iterable[Gauge]) -> str:
    """The metrics, one after the other. What is in a label may be any text: control characters,
    and bytes that are no text, are escaped as everywhere else."""
    return "".join(line for each in gauges if each.samples for line in _lines(each))


def _lines(gauge: Gauge) -> Iterable[str]:
    yield f"# HELP {gauge.name} {gauge.says.translate(_IN_HELP)}\n"
    yield f"# TYPE {gauge.name} gauge\n"
    for sample in gauge.samples:
        pairs = (f'{name}="{_label(value)}"' for name, value in sample.labels.items())
        labels = ",".join(pairs)
        yield f"{gauge.name}{'{' + labels + '}' if labels else ''} {float(sample.value)!r}\n"


def _label(value: str) -> str:
    return escaped(value).translate(_IN_LABEL)
