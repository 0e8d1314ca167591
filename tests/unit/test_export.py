"""A run as a file (broker/export): JSON, HTML and JUnit, made of a run that is given."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import orjson
import pytest

from broker.contract.errors import BadInput
from broker.contract.events import Event, check, for_viewer
from broker.contract.frames import Frame
from broker.contract.snapshot import Snapshot, fold
from broker.export.assets import DIRECTORY, ENTRY, assets, modules
from broker.export.document import FORMAT, VERSION, json_pieces, pictures_of
from broker.export.junit import junit_xml
from broker.export.page import html_pieces
from broker.export.source import (
    WHOLE,
    About,
    Stretch,
    check_stretch,
    file_name,
    remarks,
    stretch_of,
)
from tests.exporting import HOSTILE, RUBRIC, FixedSource, about, jpeg

ID: Final = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
T: Final = 1_795_724_900_000
RED: Final = jpeg((200, 30, 30))


def run_of(*events: dict[str, Any]) -> tuple[Snapshot, list[tuple[int, bytes]]]:
    """The snapshot of a run with these events, and the events as viewers receive them."""
    snapshot, listed = None, []
    for seq, event in enumerate(events, 1):
        checked = check(orjson.dumps({"timestamp": T + 1000 * seq} | event))
        snapshot = fold(snapshot, ID, seq, checked.event, T + 1000 * seq)
        listed.append((seq, for_viewer(ID, seq, checked)))
    assert snapshot is not None
    return snapshot, listed


def story(*more: dict[str, Any]) -> FixedSource:
    """A run whose game says hostile things, with two pictures."""
    snapshot, events = run_of(
        {"type": "status", "status": "queued", "message": "Queued", "data": {"title": HOSTILE, "gameUrl": "http://g/"}},
        {"type": "status", "status": "running", "message": "Running", "data": {"attempt": 1}},
        {"type": "progress", "phase": "phase1", "message": HOSTILE},
        *more,
    )
    frames = [(Frame(7, 2, T + 2000, len(RED)), RED), (Frame(9, 3, T + 3000, len(RED)), RED)]
    return FixedSource(about(snapshot), events, frames)


def problem(detail: str, kind: str = "console") -> dict[str, Any]:
    return {"type": "progress", "message": "The game logged an error", "data": {"kind": kind, "detail": detail}}


def end(score: int = 61, **more: Any) -> dict[str, Any]:
    metrics = {"rubric": RUBRIC, "fps": 58.5}
    return {"type": "complete", "message": f"Score {score}", "data": {"score": score, "metrics": metrics} | more}


async def joined(pieces: Any) -> bytes:
    return b"".join([piece async for piece in pieces])


# ── the stretch ──


def test_a_stretch_is_the_whole_run_unless_it_is_named() -> None:
    assert stretch_of(None, None) == WHOLE
    assert stretch_of(3, None).holds(3) and not stretch_of(3, None).holds(2)
    assert stretch_of(None, 5) == Stretch(0, 5)
    assert not stretch_of(3, 5).whole


@pytest.mark.parametrize(("first", "last"), [(5, 3), (0, None), (None, 0), (-1, 4), (2**53, None)])
def test_a_stretch_that_is_none_is_refused(first: int | None, last: int | None) -> None:
    with pytest.raises(BadInput) as refused:
        stretch_of(first, last)
    assert refused.value.code == "invalid_params"


def test_a_stretch_after_the_newest_event_is_refused() -> None:
    check_stretch(Stretch(9, 20), 9)
    with pytest.raises(BadInput, match="newest is 9"):
        check_stretch(Stretch(10, 20), 9)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Star Hopper", "testcast-star-hopper-4f9c2d3e.html"),
        ('../../etc/"passwd"\r\nx: y', "testcast-etc-passwd-x-y-4f9c2d3e.html"),
        ("星 ★", "testcast-4f9c2d3e.html"),
        ("x" * 200, f"testcast-{'x' * 60}-4f9c2d3e.html"),
    ],
)
def test_the_name_of_a_file_suits_every_system(title: str, expected: str) -> None:
    snapshot, _ = run_of({"type": "status", "status": "queued", "message": "", "data": {"title": title}})
    assert file_name(snapshot, "html") == expected


# ── JSON ──


async def test_json_holds_the_run_and_its_pictures() -> None:
    source = story(end())
    document = orjson.loads(await joined(json_pieces(source)))
    assert (document["format"], document["version"]) == (FORMAT, VERSION)
    assert document["snapshot"]["score"] == 61
    assert [event["seq"] for event in document["events"]] == [1, 2, 3, 4]
    assert document["events"][2]["message"] == HOSTILE
    assert [(each["number"], each["seq"], each["timeMs"]) for each in document["frames"]] == [
        (7, 2, T + 2000),
        (9, 3, T + 3000),
    ]
    assert base64.b64decode(document["frames"][0]["jpeg"]) == RED
    assert document["unreadable"] == {"count": 0, "reasons": {}}
    assert "from" not in document


async def test_json_that_was_cut_off_is_no_json() -> None:
    whole = await joined(json_pieces(story()))
    for cut in range(0, len(whole) - 1, 97):
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(whole[:cut])


async def test_what_is_true_only_of_the_moment_is_left_out() -> None:
    source = story()
    live = source.about.snapshot.__class__(
        **{each: getattr(source.about.snapshot, each) for each in source.about.snapshot.__struct_fields__}
        | {"stalled": True, "pinned": True, "queue_place": 3, "no_agent": True}
    )
    source.about = source.about._replace(snapshot=live)
    snapshot = orjson.loads(await joined(json_pieces(source)))["snapshot"]
    assert snapshot.keys().isdisjoint({"stalled", "pinned", "queuePlace", "noAgent"})


async def test_pictures_of_a_document_are_read_back() -> None:
    source = story()
    read = pictures_of(await joined(json_pieces(source)))
    assert [(frame.number, jpeg) for frame, jpeg in read.frames] == [(7, RED), (9, RED)]
    assert read.times == (T + 1000, T + 3000)


@pytest.mark.parametrize(
    "change",
    [
        {"version": VERSION + 1},
        {"format": "other"},
        {"frames": [{"number": 1, "seq": 1, "timeMs": 1, "jpeg": "***"}]},
        {"frames": [{"number": 1, "seq": 1, "timeMs": 1, "jpeg": base64.b64encode(b"GIF89a").decode()}]},
        {"frames": 3},
    ],
)
async def test_a_document_of_another_form_is_refused(change: dict[str, Any]) -> None:
    document = orjson.loads(await joined(json_pieces(story()))) | change
    with pytest.raises(BadInput):
        pictures_of(orjson.dumps(document))


def test_remarks_say_what_is_missing() -> None:
    snapshot, _ = run_of({"type": "status", "status": "queued", "message": ""})
    assert remarks(about(snapshot)) == ["unfinished"]
    assert remarks(about(snapshot, events_gone=True, frames_gone=True)) == ["unfinished", "events-gone", "frames-gone"]
    assert remarks(about(run_of(end())[0])) == []


# ── HTML ──


class Elements(HTMLParser):
    """The elements of a page, as a browser's parser finds them."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inside = False
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.texts.append("")
        self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts[-1] += data

    def scripts(self) -> list[tuple[dict[str, str | None], str]]:
        pairs = zip(self.found, self.texts, strict=True)
        return [(attributes, text) for (tag, attributes), text in pairs if tag == "script"]


async def test_texts_of_a_game_do_not_become_markup() -> None:
    page = await joined(html_pieces(story(problem(HOSTILE), end()), assets()))
    elements = Elements(page)
    kinds = [attributes.get("type") for attributes, _ in elements.scripts()]
    assert kinds == ["importmap", *["application/json"] * 2, *["text/plain"] * 2, "application/json", "module"]
    assert b"\xe2\x80\xa8" not in page.partition(b"testcast-run")[2]
    events = next(text for attributes, text in elements.scripts() if attributes.get("class") == "testcast-events")
    assert orjson.loads(events)[2]["message"] == HOSTILE
    assert b"document.title='taken'</script>" not in page


async def test_a_page_may_reach_nothing_and_run_nothing_else() -> None:
    page = await joined(html_pieces(story(), assets()))
    elements = Elements(page)
    (policy,) = [a["content"] for _, a in elements.found if a.get("http-equiv") == "content-security-policy"]
    assert policy is not None
    directives = dict(each.strip().partition(" ")[::2] for each in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives.keys().isdisjoint({"connect-src", "font-src", "media-src", "frame-src", "worker-src"})
    assert "unsafe" not in policy
    inline = [text for attributes, text in elements.scripts() if attributes.get("type") in ("module", "importmap")]
    style = re.search(rb"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    for text, directive in [*((each.encode(), "script-src") for each in inline), (style[1], "style-src")]:
        digest = base64.b64encode(hashlib.sha256(text).digest()).decode()
        assert f"'sha256-{digest}'" in directives[directive]


async def test_nothing_in_the_page_leads_to_another_place() -> None:
    elements = Elements(await joined(html_pieces(story(), assets())))
    places = [a.get(name) for _, a in elements.found for name in ("src", "href", "srcset", "action") if a.get(name)]
    assert [each for each in places if each is not None and not each.startswith("data:")] == []


async def test_the_title_is_text() -> None:
    page = await joined(html_pieces(story(), assets()))
    assert f"<title>{html.escape(HOSTILE)} · testcast</title>".encode() in page


def test_modules_are_those_of_the_dashboard_with_imports_by_name() -> None:
    found = modules(DIRECTORY)
    assert {ENTRY, "view/run.js", "client/store.js"} <= found.keys()
    for path, source in found.items():
        assert not re.search(rb"""(\bfrom|\bimport)\s*\(?\s*["'`]\.""", source), path
        for name in re.findall(rb'"testcast/([^"]+\.js)"', source):
            assert name.decode() in found
        given = (DIRECTORY / path).read_bytes()
        assert source.count(b"\n") == given.count(b"\n")


def test_an_installation_that_is_not_whole_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        assets(tmp_path)


# ── JUnit ──


async def suite_of(source: FixedSource) -> ElementTree.Element:
    root = ElementTree.fromstring(await junit_xml(source))
    assert root.tag == "testsuites"
    (suite,) = root
    return suite


def check_schema(suite: ElementTree.Element) -> None:
    """The rules of the JUnit schema that Jenkins and others publish: elements in order, counts that are right."""
    assert suite.tag == "testsuite"
    assert [each.tag for each in suite] == ["properties", *["testcase"] * (len(suite) - 1)]
    cases = suite.findall("testcase")
    assert suite.get("tests") == str(len(cases))
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert suite.get(name) == str(sum(case.find(tag) is not None for case in cases))
    for case in cases:
        assert case.get("name")
        assert case.get("classname")
        assert float(case.get("time", "x")) >= 0
        assert [each.tag for each in case] in (
            [], ["system-out"], ["failure"], ["skipped"], ["error"], ["skipped", "system-out"], ["error", "system-out"]
        )  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", ""))


async def test_junit_has_the_run_each_part_and_each_problem() -> None:
    suite = await suite_of(story(problem("boom"), problem("boom"), problem("late", "freeze"), end()))
    check_schema(suite)
    assert [case.get("name") for case in suite.findall("testcase")] == [
        "The run",
        "load",
        "controls",
        "Console error: boom",
        "Freeze: late",
    ]
    failure = suite.find("testcase/failure")
    assert failure is not None and failure.text is not None
    assert (failure.get("message"), failure.get("type")) == ("boom", "Console error")
    assert "2 times" in failure.text
    properties = {each.get("name"): each.get("value") for each in suite.findall("properties/property")}
    assert (properties["score"], properties["status"], properties["metric.fps"]) == ("61", "completed", "58.5")


@pytest.mark.parametrize(
    ("event", "tag", "words"),
    [
        ({"type": "error", "status": "failed", "message": "No answer", "data": {"code": "net"}}, "error", "No answer"),
        ({"type": "error", "status": "failed", "message": "x", "data": {"code": "cancelled"}}, "skipped", "cancelled"),
        ({"type": "progress", "message": "On"}, "skipped", "was running when"),
    ],
)
async def test_junit_says_how_the_run_ended(event: dict[str, Any], tag: str, words: str) -> None:
    suite = await suite_of(story(event))
    check_schema(suite)
    found = suite.find(f"testcase/{tag}")
    assert found is not None
    assert words in found.get("message", "")


async def test_junit_has_the_tests_of_a_session() -> None:
    lines = {
        "type": "progress",
        "message": "…",
        "data": {"stream": "tests", "tests": [["a/b.py::test", "passed", 0.5], ["a/b.py::later", "skipped", 0], ["?"]]},
    }
    failed = {
        "type": "progress",
        "message": "FAILED a/b.py::test_bad[x::y]",
        "data": {
            "kind": "test", "nodeid": "a/b.py::test_bad[x::y]", "outcome": "failed", "durationS": 0.25,
            "detail": "assert 1 == 2\na/b.py:3: AssertionError",
        },
    }  # fmt: skip
    suite = await suite_of(
        story(
            lines,
            failed,
            {"type": "error", "status": "failed", "message": "1 failed", "data": {"code": "tests_failed"}},
        )
    )
    check_schema(suite)
    cases = [(case.get("classname"), case.get("name"), case.get("time")) for case in suite.findall("testcase")]
    assert cases[-3:] == [("a.b", "test", "0.500"), ("a.b", "later", "0.000"), ("a.b", "test_bad[x::y]", "0.250")]
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("1", "0", "1")
    failure = suite.find("testcase/failure")
    assert failure is not None and failure.text is not None
    assert failure.get("message") == "a/b.py:3: AssertionError" and "assert 1 == 2" in failure.text


async def test_junit_takes_any_text() -> None:
    strange = "\x00\x1b[31m\ufffe ]]> & < \" '"
    suite = await suite_of(story(problem(strange), end()))
    check_schema(suite)
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "\ufffd\ufffd[31m\ufffd ]]> & < \" '"


async def test_junit_lists_a_hundred_problems_and_counts_the_others() -> None:
    suite = await suite_of(story(*(problem(f"error {number}") for number in range(130)), end()))
    check_schema(suite)
    assert suite.get("failures") == "101"
    assert suite.findall("testcase")[-1].get("name") == "30 more"


def test_an_event_of_a_far_time_is_no_error() -> None:
    snapshot, _ = run_of({"type": "status", "status": "queued", "message": "", "timestamp": 2**53 - 1})
    assert isinstance(about(snapshot), About)
    assert Event(type="progress", message="", timestamp=2**53 - 1).known
