"""Results of several runs of the fault kit, and their sum."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.faults import __main__ as command
from tests.faults import kit, results
from tests.faults.checker import Fault, Recovery, Verdict, Violation


def recovery(kind: str, took_s: float, publishing_s: float = 0.5) -> Recovery:
    return Recovery(Fault(kind, "n0", 10.0, 13.0, 10.0 + took_s), {"socket-1": took_s, "tail-1": 0.1}, publishing_s)


def outcome(
    recoveries: list[Recovery], violations: tuple[str, ...] = (), complaints: tuple[str, ...] = ()
) -> kit.Outcome:
    found = [Violation(what, "socket-1", "event 3") for what in violations]
    return kit.Outcome(Verdict(40, 50, 600, found, 2.5, "socket-1", recoveries), list(complaints), 60.0)


def write(file: Path, *outcomes: kit.Outcome) -> None:
    for seed, each in enumerate(outcomes, 7):
        results.append(results.result_of(each, seed, "plain"), file)


def test_the_sum_has_the_faults_of_all_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "a" / "7.jsonl", tmp_path / "8.jsonl"
    write(first, outcome([recovery("edge killed", 0.4), recovery("edge killed", 7.0)]))
    write(second, outcome([recovery("broker leader killed", 7.5, 7.2)]), outcome([]))
    assert command.summed([first, second]) == 0
    said = capsys.readouterr().out
    assert "| edge killed | 2 | 3.0 to 3.0 | 0.5 | 0.4 | 7.0 |" in said
    assert "| broker leader killed | 1 | 3.0 to 3.0 | 7.2 |" in said
    assert "3 faults in 3 runs with the seeds 7, 8, 180 s in all" in said
    assert "events acknowledged 120, deliveries 1800" in said
    assert "lost 0, duplicated 0, out of order 0, phantom 0, reset 0" in said
    assert "longest time without news 2.5 s (socket-1)" in said
    assert (
        " to 0.5     1 ####################" in said
        and "   to 8     2 ########################################" in said
    )


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        (outcome([], violations=("lost", "lost", "reset")), "lost 2, duplicated 0, out of order 0, phantom 0, reset 1"),
        (outcome([], complaints=("round 3: it died",)), "COMPLAINT plain, seed 8: round 3: it died"),
    ],
    ids=["violation", "complaint"],
)
def test_one_that_is_not_clean_fails_the_sum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: kit.Outcome, line: str
) -> None:
    write(tmp_path / "all", outcome([recovery("edge killed", 1.0)]), bad)
    assert command.summed([tmp_path / "all"]) == 1
    assert line in capsys.readouterr().out


def test_what_never_recovered_stays_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "all", outcome([recovery("edge killed", math.inf, math.inf)]))
    command.summed([tmp_path / "all"])
    said = capsys.readouterr().out
    assert " longer     1 ###" in said and "| edge killed | 1 |" in said and "| inf |" in said


def test_nothing_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "none").touch()
    assert command.summed([tmp_path / "none"]) == 1


@pytest.mark.parametrize("content", [b"{", b'["seed"]', b"nonsense"])
def test_what_is_no_result_is_named(tmp_path: Path, content: bytes) -> None:
    write(tmp_path / "all", outcome([]))
    with (tmp_path / "all").open("ab") as out:
        out.write(content + b"\n")
    with pytest.raises(SystemExit, match=r"all, line 2: "):
        command.summed([tmp_path / "all"])
    with pytest.raises(SystemExit, match=r"missing: No such file"):
        command.summed([tmp_path / "missing"])
