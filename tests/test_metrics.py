"""The table of metrics, and the numbers behind it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import epmdless
from epmdless import metrics
from epmdless.metrics import LATENCY_BOUNDS, TABLE, Histogram, Kind, Metric, Metrics

DECLARED = {name: value for name, value in vars(metrics).items() if isinstance(value, Metric)}


def test_every_metric_stands_in_the_table_once() -> None:
    assert sorted(metric.name for metric in TABLE) == sorted(m.name for m in DECLARED.values())
    assert len({metric.name for metric in TABLE}) == len(TABLE)


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_a_metric_is_named_as_prometheus_wants_it(metric: Metric) -> None:
    assert re.fullmatch(r"epmdless_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") is (metric.kind is Kind.COUNTER)
    is_age = metric.kind is Kind.GAUGE and metric.name.endswith("_age_seconds")
    assert metric.name.endswith("_seconds") is (metric.kind is Kind.HISTOGRAM or is_age)
    assert not metric.name.endswith(("_count", "_sum", "_bucket", "_info"))


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_a_metric_has_a_help_text_and_labels_of_its_own(metric: Metric) -> None:
    assert metric.help
    assert not metric.help.endswith(".")
    assert all(re.fullmatch(r"[a-z]+", label) and label != "le" for label in metric.labels)
    assert len(set(metric.labels)) == len(metric.labels)
    assert metric.kind is not Kind.HISTOGRAM or not metric.labels


def counts_in(path: Path) -> Iterator[tuple[int, str, int]]:
    """Line, metric and number of label values of each `….count(metrics.NAME, …)` in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="count"),
                args=[ast.Attribute(value=ast.Name(id="metrics"), attr=name), *labels],
            ):
                assert not any(isinstance(label, ast.Starred) for label in labels)
                yield node.lineno, name, len(labels)
            case ast.Call(
                func=ast.Attribute(attr="tally"),
                args=[ast.Attribute(value=ast.Name(id="metrics"), attr=name), ast.Tuple(elts=labels), _],
            ):
                yield node.lineno, name, len(labels)


def test_every_count_in_the_package_gives_the_declared_number_of_labels() -> None:
    root = Path(epmdless.__file__).parent
    found = [(path, *count) for path in root.rglob("*.py") for count in counts_in(path)]
    wrong = [
        f"{path.relative_to(root)}:{line}: {name} takes {DECLARED[name].labels}, not {given} values"
        for path, line, name, given in found
        if len(DECLARED[name].labels) != given
    ]
    assert wrong == []
    assert {name for _, _, name, _ in found} == {n for n, m in DECLARED.items() if m.kind is Kind.COUNTER}


def test_a_counter_that_is_kept_elsewhere_is_read_when_asked() -> None:
    counts = Metrics()
    carried = [0]
    counts.tally(metrics.LINK_BYTES, ("near_to_far",), lambda: carried[0])
    counts.count(metrics.LINK_BYTES, "far_to_near")
    carried[0] = 7
    assert counts.value(metrics.LINK_BYTES, "near_to_far") == 7
    assert list(counts.samples(metrics.LINK_BYTES)) == [(("far_to_near",), 1), (("near_to_far",), 7)]


def test_a_counter_counts_each_combination_of_labels_apart() -> None:
    counts = Metrics()
    for outcome in ("found", "missing", "found"):
        counts.count(metrics.LOOKUPS, "scheme", outcome)
    assert counts.value(metrics.LOOKUPS, "scheme", "found") == 2
    assert counts.value(metrics.LOOKUPS, "scheme", "missing") == 1
    assert counts.value(metrics.LOOKUPS, "registered", "found") == 0
    assert list(counts.samples(metrics.LOOKUPS)) == [(("scheme", "found"), 2), (("scheme", "missing"), 1)]


def test_a_counter_without_labels_has_a_sample_from_the_start() -> None:
    counts = Metrics()
    assert list(counts.samples(metrics.REGISTRATIONS)) == [((), 0)]
    counts.count(metrics.REGISTRATIONS)
    assert list(counts.samples(metrics.REGISTRATIONS)) == [((), 1)]


def test_a_counter_with_labels_has_none_before_it_counts() -> None:
    assert list(Metrics().samples(metrics.REFUSALS)) == []


def test_two_metrics_with_the_same_labels_do_not_mix() -> None:
    counts = Metrics()
    counts.count(metrics.DNS_CACHE, "full")
    counts.count(metrics.DNS_QUESTIONS, "failed")
    assert list(counts.samples(metrics.DNS_CACHE)) == [(("full",), 1)]


def test_a_gauge_is_read_when_somebody_asks() -> None:
    counts, nodes = Metrics(), [1, 2, 3]
    assert counts.value(metrics.REGISTERED) == 0
    counts.gauge(metrics.REGISTERED, lambda: len(nodes))
    nodes.pop()
    assert counts.value(metrics.REGISTERED) == 2
    assert list(counts.samples(metrics.REGISTERED)) == [((), 2)]


def test_two_processes_worth_of_metrics_are_apart() -> None:
    first, second = Metrics(), Metrics()
    first.count(metrics.REGISTRATIONS)
    first.histogram(metrics.DNS_SECONDS).observe(1)
    assert second.value(metrics.REGISTRATIONS) == 0
    assert sum(second.histogram(metrics.DNS_SECONDS).buckets) == 0


def test_each_histogram_of_the_table_is_there_from_the_start() -> None:
    counts = Metrics()
    found = [counts.histogram(metric) for metric in TABLE if metric.kind is Kind.HISTOGRAM]
    assert len(set(map(id, found))) == len(found) == 4


def test_the_bounds_of_the_buckets_rise() -> None:
    assert list(LATENCY_BOUNDS) == sorted(set(LATENCY_BOUNDS))
    assert LATENCY_BOUNDS[0] > 0


@given(st.floats(0, 100))
def test_an_observation_falls_into_the_first_bucket_that_holds_it(seconds: float) -> None:
    histogram = Histogram()
    histogram.observe(seconds)
    bounds = [*LATENCY_BOUNDS, float("inf")]
    expected = next(index for index, bound in enumerate(bounds) if seconds <= bound)
    assert [index for index, count in enumerate(histogram.buckets) if count] == [expected]


@given(st.lists(st.floats(0, 100), max_size=20))
def test_a_histogram_loses_no_observation(observed: list[float]) -> None:
    histogram = Histogram()
    for seconds in observed:
        histogram.observe(seconds)
    assert sum(histogram.buckets) == len(observed)
    assert histogram.total == pytest.approx(sum(observed))
