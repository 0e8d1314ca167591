"""Rights that a token does not give: claims of wrong types, actions that are missing, acts of a reader."""

from __future__ import annotations

from typing import Any, Final

import orjson

from tests.harness import Reader, say
from tests.security.attacks import Act, Table, as_test
from tests.security.forged import HEADER
from tests.security.mint import claims, token
from tests.security.system import DEADLINE_S, System, code_of, says_nothing_of

ATTACKS: Final[Table[System]] = Table()

PROJECTS: Final[dict[str, Any]] = {
    "a list with a star": ["*"],
    "a list with a star among names": ["alpha", "*"],
    "a star in a list in a list": [["*"]],
    "text that is a list": '["beta"]',
    "text with a comma": "alpha,beta",
    "an object": {"beta": True},
    "an object with a star": {"*": True},
    "a list of objects": [{"name": "beta"}],
    "a number": 1,
    "true": True,
    "an empty list": [],
    "empty text": "",
    "two stars": "**",
    "a star and a space": "* ",
    "a pattern": ["b*", "*a", "?eta", ".*"],
    "upper case": ["BETA"],
    "a name with a space": ["beta ", " beta"],
    "a name with a zero byte": ["beta\0", "\0beta"],
    "a name that looks the same": ["b\u0435ta"],
    "a path": ["../beta", "alpha/../beta"],
    "a long list": [f"p{number}" for number in range(5000)],
}


def _projects(given: Any) -> Act:
    async def act(system: System) -> None:
        forged = system.ann(projects=given)
        async with system.visitor(forged) as visitor:
            for method in ("getTest", "getEvents", "getShot"):
                answer = await visitor.query(method, testId=system.beta.test_id)
                assert answer.status_code in (400, 401, 404, 431), (method, answer.text)
                says_nothing_of(answer.text, system.beta)
            listing = await visitor.query("listTests", limit=200)
            says_nothing_of(listing.text, system.beta)
            assert listing.status_code in (200, 401, 403, 431)
            refused = await visitor.refusal(
                "", say=[{"type": "subscribe", "testId": system.beta.test_id}, {"type": "x"}]
            )
            says_nothing_of(refused.text, system.beta)

    return act


for _name, _given in PROJECTS.items():
    ATTACKS.add(f"claims: projects are {_name}", "401, or no right to any other project", _projects(_given))


@ATTACKS.attack("claims: no projects at all", "401, or no project; never all of them")
async def _(system: System) -> None:
    for given in (claims(projects=None), claims() | {"projects": None}):
        async with system.visitor(token(HEADER, given, system.keys.ed)) as visitor:
            for run in (system.alpha, system.beta):
                answer = await visitor.query("getTest", testId=run.test_id)
                assert answer.status_code in (401, 404), answer.text
            says_nothing_of((await visitor.query("listTests")).text, system.alpha, system.beta)


@ATTACKS.attack("claims: projects twice, all of them and one", "401, or the last one counts")
async def _(system: System) -> None:
    for name, last in (("projects", b'["alpha"]'), ("projects", b"[]")):
        text = b'{"%s":"*",' % name.encode() + token_claims(b'"projects":["alpha"]', b'"projects":' + last)
        async with system.visitor(token(HEADER, text, system.keys.ed)) as visitor:
            assert (await visitor.query("getTest", testId=system.beta.test_id)).status_code in (401, 404)


def token_claims(old: bytes, new: bytes) -> bytes:
    """The claims of a good token from behind the opening brace, with one part replaced."""
    text = orjson.dumps(claims())
    assert old in text
    return text[1:].replace(old, new)


ACTS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "listTests": ({}, "list"),
    "getTest": ({"testId": "<alpha>"}, "watch"),
    "getEvents": ({"testId": "<alpha>"}, "watch"),
    "connectToTest": ({"testId": "<alpha>"}, "watch"),
    "getShot": ({"testId": "<alpha>"}, "watch"),
    "getFrames": ({"testId": "<alpha>"}, "watch"),
    "publishFrame": ({"testId": "<alpha>", "jpeg": "/9j/AA=="}, "publish"),
    "submitTest": ({"gameUrl": "http://93.184.216.34/"}, "submit"),
    "createRun": ({"title": "x"}, "publish"),
    "cancelTest": ({"testId": "<alpha>"}, "cancel"),
    "publishEvents": (
        {
            "testId": "<alpha>",
            "events": [{"type": "progress", "message": "x", "timestamp": 1}],
            "key": "attack-0002",
        },
        "publish",
    ),
}
ACTIONS: Final = ("list", "watch", "submit", "cancel", "publish", "delete", "admin")


def _without(method: str, params: dict[str, Any], action: str) -> Act:
    async def act(system: System) -> None:
        filled = {name: system.alpha.test_id if value == "<alpha>" else value for name, value in params.items()}
        # createRun may ask for either of the actions that begin a run.
        missing = {action, "submit"} if method == "createRun" else {action}
        for can in ([each for each in ACTIONS if each not in missing], [], "", {action: True}, [action.upper()], 1):
            async with system.visitor(system.ann(can=can)) as visitor:
                answer = await visitor.rpc(method, filled)
                assert answer.status_code in (401, 403), (can, answer.status_code, answer.text)
                assert code_of(answer) in ("forbidden", "unauthenticated")
                says_nothing_of(answer.text, system.alpha)

    return act


for _method, (_params, _action) in ACTS.items():
    ATTACKS.add(f"rights: {_method} without the action {_action}", "403 forbidden", _without(_method, _params, _action))


@ATTACKS.attack("rights: no actions at all in the token", "401 or 403; never all of them")
async def _(system: System) -> None:
    async with system.visitor(token(HEADER, claims(can=None), system.keys.ed)) as visitor:
        answer = await visitor.rpc("submitTest", {"gameUrl": "http://93.184.216.34/"})
        assert answer.status_code in (401, 403), answer.text
        assert (await visitor.query("getTest", testId=system.alpha.test_id)).status_code in (401, 403)


@ATTACKS.attack("rights: cancel on a socket of a reader", "error forbidden, and the run goes on")
async def _(system: System) -> None:
    async with system.visitor(system.ann(can=["list", "watch"])) as reader, reader.socket() as connection:
        await say(connection, {"type": "cancel", "testId": system.alpha.test_id})
        error = await Reader(connection).control("error", DEADLINE_S)
        assert error["data"]["code"] == "forbidden"
        snapshot = (await reader.query("getTest", testId=system.alpha.test_id)).json()["test"]
        assert snapshot["status"] == "running"


@ATTACKS.attack("rights: the tests channel and a subscription without list and watch", "refused")
async def _(system: System) -> None:
    async with system.visitor(system.ann(can=["submit"])) as visitor:
        for message in (
            {"type": "subscribe", "channel": "tests"},
            {"type": "subscribe", "testId": system.alpha.test_id},
            {"type": "subscribe", "channel": "frames", "testId": system.alpha.test_id},
        ):
            refused = await visitor.refusal("", say=[message, {"type": "x"}])
            assert "forbidden" in refused.text or refused.code in (403, 4403), refused
            says_nothing_of(refused.text, system.alpha)
        assert (await visitor.refusal(f"?testId={system.alpha.test_id}")).code in (403, 4403)
        assert (await visitor.get(f"/tests/{system.alpha.test_id}/frames/1")).status_code == 403


@ATTACKS.attack("rights: a reader publishes over HTTP", "403, and nothing is stored")
async def _(system: System) -> None:
    async with system.visitor(system.ann(can=["list", "watch"])) as visitor, system.streams() as streams:
        before = (await streams.state("EVENTS")).last_seq
        events = [{"type": "complete", "message": "won", "timestamp": 1, "data": {"score": 100}}]
        params = {"testId": system.alpha.test_id, "events": events, "key": "attack-0003"}
        answer = await visitor.rpc("publishEvents", params)
        assert answer.status_code == 403, answer.text
        assert (await streams.state("EVENTS")).last_seq == before


@ATTACKS.attack("rights: what getSession and the errors tell a stranger", "nothing but the ways to sign in")
async def _(system: System) -> None:
    async with system.visitor() as nobody:
        answer = await nobody.query("getSession")
        answer = answer if answer.status_code != 405 else await nobody.rpc("getSession")
        assert answer.status_code == 200
        assert answer.json()["required"] is True
        assert not set(answer.json()) & {"subject", "projects", "actions", "expiresAt"} or not answer.json().get(
            "projects"
        )
        for path in ("/metrics", "/debug", "/rpc/", "/rpc/__class__", "/rpc/listTests/..", "/.env", "/keys.json"):
            assert (await nobody.get(path)).status_code in (401, 403, 404), path
        assert "nats" not in (await nobody.get("/readyz")).text and str(system.broker.port) not in answer.text


test_attack = as_test(ATTACKS)
