"""The trial's own judgement: catalogue, changes of files, matching and tables. It fetches nothing and plays nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.games.playing import Written
from tests.trial import breaks, matching, tables
from tests.trial.catalogue import BUGS, UNCHANGED, Bug, Game, Known, Package, Patch, games, read_game
from tests.trial.packages import CannotFetch, brought_in, integrity_of
from tests.trial.playing import Trial, result
from tests.trial.served import Site, patched, serving, site

GAME = """
title = "Ball"
made_of = ["canvas"]
played_with = ["keyboard", "pointer"]
entry = "index.html"
starts = "by itself"
score = "none"
files = {"index.html" = "<!doctype html><head></head><body><p>Ball</p></body>", "js/a b.js" = "let points = 0;"}
package = []
control = [
  {name = "left", gestures = ["ArrowLeft"], situations = ["playing"]},
  {name = "fire", gestures = ["click*", "tap*"]},
  {name = "secret", gestures = ["K"], counts = false},
]
[bug.error]
patch = [{file = "js/a b.js", find = "points = 0", replace = "points = missing"}]
[bug.freeze]
after = 3
[bug.deadkey]
key = "ArrowLeft"
says = "Left & right"
words = "left"
[bug.once]
absent = "it has one key"
[bug.noscripts]
missing = ["js/a b.js"]
[bug.blank]
style = "body { display: none }"
[bug.leak]
kilobytes_per_s = 800
[bug.softlock]
after = 4
"""


@pytest.fixture
def game() -> Game:
    return read_game("ball", GAME)


def finding(kind: str, title: str = "", detail: str = "") -> dict[str, Any]:
    return {"kind": kind, "title": title, "detail": detail, "seen": [5, 5]}


# -- the catalogue --------------------------------------------------------------------------------------------------


def test_there_are_enough_games_of_each_sort() -> None:
    all_of = games()
    made_of = {each for game in all_of for each in game.made_of}
    assert len(all_of) >= 10
    assert {"canvas", "dom", "webgl", "phaser", "pixi", "three"} <= made_of
    assert {"keyboard", "pointer", "touch"} == {each for game in all_of for each in game.played_with}
    for game in all_of:
        assert any(control.counts for control in game.controls), game.name
        assert all(re.fullmatch(r"sha(256|512)-[\w+/]+=*", package.integrity) for package in game.packages)


def test_a_game_that_is_not_there_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match="no game named chess; there are 2048"):
        games(["chess"])


@pytest.mark.parametrize(
    ("removed", "says"),
    [
        ('title = "Ball"\n', "title"),
        ("[bug.softlock]\nafter = 4\n", "softlock"),
        ("after = 3\n", "bug freeze changes nothing"),
        ("made_of = [", "ball.toml"),
    ],
)
def test_a_table_that_is_not_complete_is_refused(removed: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_game("ball", GAME.replace(removed, ""))


def test_kinds_are_those_that_exist_in_the_game(game: Game) -> None:
    assert game.kinds == [UNCHANGED, *(kind for kind in BUGS if kind != "once")]


# -- what is served -------------------------------------------------------------------------------------------------


def test_a_change_wants_its_text_exactly_once() -> None:
    assert patched("a", "one two", [Patch("a", "two", "2"), Patch("b", "one", "1")]) == "one 2"
    for text in ("one", "two two"):
        with pytest.raises(ValueError, match="not once"):
            patched("a", text, [Patch("a", "two", "2")])


def served(game: Game, kind: str, path: str) -> tuple[int, str]:
    answer = site(game, kind, Path()).answer(path)
    return answer.status, answer.body.decode()


def test_each_bug_changes_what_is_served(game: Game) -> None:
    plain = served(game, UNCHANGED, "/index.html")
    assert plain == (200, game.files["index.html"])
    assert served(game, "error", "/js/a%20b.js?v=1") == (200, "let points = missing;")
    assert served(game, "noscripts", "/js/a%20b.js")[0] == 404
    assert served(game, "blank", "/index.html")[1].count("<style>body { display: none }</style>") == 1
    assert "Left &amp; right</p><p>Ball" in served(game, "deadkey", "/index.html")[1]
    for kind in ("freeze", "leak", "softlock", "deadkey"):
        assert "<head><script>" in served(game, kind, "/index.html")[1]


def test_a_bug_that_does_not_exist_or_fit_is_refused(game: Game) -> None:
    with pytest.raises(ValueError, match="it has one key"):
        site(game, "once", Path())
    other = read_game("ball", GAME.replace('file = "js/a b.js"', 'file = "js/c.js"'))
    with pytest.raises(ValueError, match=r"there is no js/c\.js"):
        site(other, "error", Path())


def test_nothing_outside_of_the_package_is_served(tmp_path: Path, game: Game) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "package").mkdir()
    (tmp_path / "package/in.wasm").write_text("x")
    files = Site(game, None, {"": tmp_path / "package"})
    assert files.answer("/../secret").status == files.answer("/%2e%2e/secret").status == 404
    assert files.answer("/in.wasm")[:2] == (200, "application/wasm")


def test_a_page_without_a_head_cannot_have_a_bug() -> None:
    with pytest.raises(ValueError, match="the page has no"):
        breaks.with_script("<p>x", "y")


def test_the_server_gives_the_address_of_the_page(game: Game) -> None:
    with serving(site(game, UNCHANGED, Path())) as url:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/index\.html", url)


def test_a_package_is_known_by_its_digest(tmp_path: Path) -> None:
    assert integrity_of(b"", "sha256-") == "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    there = tmp_path / "npm+@a+b@1"
    there.mkdir()
    assert brought_in(Package("npm", "@a/b", "1", "sha512-x", root="dist"), tmp_path) == there / "dist"
    assert issubclass(CannotFetch, Exception)


# -- matching -------------------------------------------------------------------------------------------------------


def test_gestures_are_controls_by_their_patterns(game: Game) -> None:
    found = matching.controls(["ArrowLeft", "click left", "KeyK", "Space", "ArrowLeft+Space"], game)
    assert found.right == ("ArrowLeft", "click left", "KeyK", "ArrowLeft+Space")
    assert (found.wrong, found.found, found.missed) == (("Space",), ("left", "fire"), ())
    assert matching.controls(["k"], game).missed == ("left", "fire")


@pytest.mark.parametrize(
    ("told", "kind", "is_told"),
    [
        (finding("error", "TypeError"), "error", True),
        (finding("crash"), "error", True),
        (finding("freeze"), "error", False),
        (finding("deadkey", "ArrowLeft does nothing"), "deadkey", True),
        (finding("deadkey", "ArrowUp does nothing"), "deadkey", False),
        (finding("heap"), "leak", True),
        (finding("asset"), "noscripts", True),
    ],
)
def test_a_bug_is_told_by_a_finding_of_its_kind(game: Game, told: Mapping[str, Any], kind: str, is_told: bool) -> None:
    found = matching.verdict(game, kind, [told], [])
    assert (found.told, found.others) == (is_told, () if is_told else (told,))
    assert matching.verdict(game, kind, [], [told]).told_once is is_told


def test_what_a_person_has_confirmed_is_no_news(game: Game) -> None:
    known = Game(
        **{**{name: getattr(game, name) for name in Game.__slots__}, "known": (Known("softlock", "over", "so"),)}
    )
    told = [finding("softlock", "Game over for ever"), finding("softlock", "Stuck"), finding("blank")]
    assert matching.verdict(known, UNCHANGED, told, []).others == tuple(told[1:])


# -- results and tables ---------------------------------------------------------------------------------------------


def run_of(kind: str, score: int, loads: int = 0, repeat: int = 0, **metrics: object) -> dict[str, Any]:
    written = Written(score=score, metrics={"controls": [{"control": "ArrowLeft"}], **metrics})
    return result(Trial("ball", kind, 60, 7, loads, repeat), written, 12.3)


def test_a_result_keeps_what_is_judged() -> None:
    kept = run_of(UNCHANGED, 80, speed=20.0, findings=[], more=1)
    assert kept["controls"] == ["ArrowLeft"]
    assert kept["metrics"] == {"speed": 20.0, "findings": []}
    assert Trial("ball", "leak", 60, 7, 2, 1).name == "ball.leak.60s.seed7.loads2.1.json"


def test_the_tables_say_what_was_found(game: Game) -> None:
    results = [
        run_of(
            UNCHANGED, 80, speed=20.0, coverage={"used": 1, "total": 4}, bestScore=3, findings=[finding("blank", "B")]
        ),
        run_of(UNCHANGED, 78, loads=2, repeat=1, speed=10.0),
        run_of("error", 40, findings=[finding("error", "E")]),
        run_of("error", 40, loads=2, seenOnce=[finding("error", "E")]),
        run_of("noscripts", 12),
    ]
    text = tables.summary(results, {"ball": game})
    assert "precision 2 of 2 (1.00), recall 2 of 4 (0.50)" in text
    assert "| ball | canvas | keyboard, pointer | 1 of 2 | fire | — | yes, 3 (none) | 25% | 80 | 1 |" in text
    assert "| error | 1 of 1 (1.00) | — | 0 of 1 (0.00) | ball (once) |" in text
    assert "| ball | unchanged | 0 loads: 80; 2 loads: 78 | 2 |" in text
    assert "median 15.0, 10.0 to 20.0, in 2 runs" in text
    assert "* ball (loads 0): [blank] B" in text
    assert "| ball | 12 | — | 0 |" in text


def test_tables_are_put_between_the_marks_of_a_document() -> None:
    begin, end = tables.MARKS
    once = tables.put_into(f"# A\n{begin}\nold\n{end}\nB\n", "new\n")
    assert once == f"# A\n{begin}\n\nnew\n\n{end}\nB\n"
    assert tables.put_into(once, "new\n") == once
    with pytest.raises(ValueError, match="has no"):
        tables.put_into("# A\n", "new")


def test_agent_md_has_the_marks() -> None:
    tables.put_into((Path(__file__).parents[2] / "AGENT.md").read_text(encoding="utf-8"), "")


def test_the_tables_of_nothing_say_so(game: Game) -> None:
    assert "No run told its speed." in tables.summary([], {"ball": game})
    assert isinstance(game.bugs["freeze"], Bug)
