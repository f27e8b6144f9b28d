"""The text that Prometheus reads. promtool reads it in tests/lab/test_monitoring.py."""

from __future__ import annotations

import pytest

from ocp_tuned_boot.host.exposition import Gauge, Sample, text


def test_a_metric_has_its_sentence_its_type_and_its_samples() -> None:
    made = Gauge("a_seconds", "The time.", (Sample(1.5), Sample(2, {"b": "c", "d": "e"})))
    assert text([made]) == (
        "# HELP a_seconds The time.\n"
        "# TYPE a_seconds gauge\n"
        "a_seconds 1.5\n"
        'a_seconds{b="c",d="e"} 2.0\n'
    )


def test_a_metric_without_samples_is_left_out() -> None:
    assert text([Gauge("a", "No samples.", ())]) == ""


@pytest.mark.parametrize(
    "odd", ['a"b', "a\\b", "a\nb 1\nc", "ä µ", "\\n", '"} 1\n# HELP', "a\udcffb", "\x1b[2J"]
)
def test_whatever_is_in_a_label_is_one_label(odd: str) -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="comes with the agent's client")
    made = text([Gauge("a", 'What "x" \\ is,\nand more.', (Sample(1, {"b": odd}),))])
    ((family,),) = [list(parser.text_string_to_metric_families(made))]
    (sample,) = family.samples
    assert sample.value == 1
    if "\x1b" not in odd and "\udcff" not in odd:
        assert sample.labels == {"b": odd}
    assert "\x1b" not in made
    made.encode()


def test_a_time_keeps_its_milliseconds() -> None:
    assert text([Gauge("a", "x", (Sample(1795713873.123),))]).endswith("a 1795713873.123\n")
