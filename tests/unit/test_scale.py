"""The simulation of a large installation: it reproduces what was measured, and docs/scale.md says what it says."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from tests.bench.report import PAGE as BENCHMARKS
from tests.bench.scale import checks, fanout, measured, storm, tables, traffic

FIGURES = measured.read()


def test_the_simulation_reproduces_what_was_measured_at_small_sizes() -> None:
    found = checks.checks(FIGURES)
    assert [f"{each.what}: {each.measured} measured, {each.simulated:.2f}" for each in found if not each.holds] == []
    assert len(found) >= 9


@pytest.mark.parametrize("name", ["delivery_us", "delivery_near_us", "handshake_us"])
def test_a_parameter_that_is_wrong_by_a_factor_of_two_is_found_out(name: str) -> None:
    figure = getattr(FIGURES, name)
    wrong = FIGURES._replace(**{name: figure._replace(value=2 * figure.value)})
    assert any(not each.holds for each in checks.checks(wrong))


def test_the_page_has_the_tables_of_the_figures_that_stand_in_benchmarks() -> None:
    text = tables.PAGE.read_text("utf-8")
    for name in ("parameters", "compared"):
        shown = text.split(f"<!-- simulate:{name} -->\n", 1)[1].split(f"<!-- /simulate:{name} -->", 1)[0]
        assert shown.splitlines() == tables.SECTIONS[name](FIGURES), "run `make simulate`"
    assert all(f"<!-- simulate:{name} -->\n|" in text for name in tables.SECTIONS)


def test_a_figure_that_was_not_measured_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "BENCHMARKS.md"
    page.write_text(BENCHMARKS.read_text("utf-8").replace("| testcast edge |", "| another edge |"), "utf-8")
    with pytest.raises(measured.NotMeasured, match="testcast edge"):
        measured.read(page)


def test_an_edge_that_is_not_busy_sends_each_event_by_itself() -> None:
    alone = fanout.simulate(10, 10, delivery_us=10, event_us=100)
    assert alone.us_a_delivery == pytest.approx(20)
    assert alone.p99_ms < 0.3


def test_viewers_come_back_after_their_backoff_where_nothing_is_in_their_way() -> None:
    found = storm.simulate(1_000, storm.Edges(10, 1, 1, 1.0, 0, 20, room=1_000))
    assert 0.8 <= found.half_s <= found.all_s <= 1.1
    assert (found.refused, found.given_up, found.homeless) == (0, 0, 0)


def test_viewers_beyond_the_limit_of_handshakes_come_again_and_those_without_a_socket_are_counted() -> None:
    limited = storm.simulate(1_000, storm.Edges(1, 1, 1, 1.0, 100, 20, room=1_000))
    assert limited.refused > 0 and limited.all_s > 7
    full = storm.simulate(1_000, storm.Edges(1, 1, 1, 1.0, 0, 20, room=600))
    assert full.homeless == 400


def test_handshakes_that_are_served_too_late_are_work_for_nobody() -> None:
    found = storm.simulate(1_000, storm.Edges(1, 10_000, 1, 1.0, 0, connect_s=2, room=1_000))
    assert found.given_up > 0
    assert found.all_s > 10


def test_interest_is_that_of_viewers_who_choose_edges_at_random() -> None:
    rng = random.Random(1)
    tried = [len({rng.randrange(20) for _ in range(10)}) for _ in range(4_000)]
    assert traffic.hearing(10, 20) == pytest.approx(sum(tried) / len(tried), rel=0.02)
    assert traffic.hearing(1, 20) == pytest.approx(1)
    assert traffic.hearing(10_000, 20) == pytest.approx(20)


def test_balancing_by_run_never_needs_more_of_the_broker_or_of_edges() -> None:
    audience = traffic.small_runs(20_000, 10, 4.0, 0.2)
    spread, together = traffic.edges(audience, FIGURES), traffic.edges(audience, FIGURES, together=True)
    assert together.needed <= spread.needed
    assert traffic.broker(audience, 10, FIGURES, together=True).live < traffic.broker(audience, 10, FIGURES).live


def test_an_audience_has_the_viewers_that_were_asked_for() -> None:
    for audience in (
        traffic.one_run(5_000, 4, 4),
        traffic.popular(5_000, 50, 4, 4),
        traffic.small_runs(5_000, 10, 4, 4),
    ):
        assert audience.viewers == pytest.approx(5_000)
    assert traffic.popular(5_000, 50, 4, 4).runs == 50


def test_a_deployment_moves_every_viewer_about_once() -> None:
    took_s, moved, fullest = storm.deployment(20, 2, drain_s=10, start_s=5)
    assert took_s == 150
    assert moved == pytest.approx(1, abs=0.15)
    assert 1 <= fullest < 1.3


def test_a_value_between_two_rates_lies_between_theirs() -> None:
    points = [(100.0, 20.0), (10_000.0, 2.0)]
    assert measured.between(points, 1) == 20
    assert measured.between(points, 1_000) == pytest.approx(11)
    assert measured.between(points, math.inf) == 2
