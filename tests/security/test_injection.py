"""Text of strangers that means something elsewhere: in headers, logs, terminals, subjects of the broker and pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson

from broker import identity
from broker.contract import subjects
from broker.jetstream.api import Streams
from tests.command import run
from tests.harness import Reader, publish, until
from tests.security.attacks import Act, Table, as_test
from tests.security.system import DEADLINE_S, System, status_of

ATTACKS: Final[Table[System]] = Table()

TEST_IDS: Final = (
    "*",
    ">",
    "*.events",
    "a b",
    "a.b",
    "$JS.API.STREAM.DELETE.EVENTS",
    "../../etc/passwd",
    "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11.*",
    "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11\r\nPUB test.x.live 0\r\n\r\n",
    "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11\n",
    "4F9C2D3E-8A51-4C0B-9D57-2F1F6F0A7B11",
    "{4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11}",
    "4f9c2d3e8a514c0b9d572f1f6f0a7b11",
    "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b1\u0661",
    "\0",
    "<script>alert(1)</script>",
    "\u202e",
    "x" * 10_000,
)


def _test_id(given: str) -> Act:
    async def act(system: System) -> None:
        async with system.visitor(system.ann()) as ann, system.streams() as streams:
            before = (await streams.state("EVENTS")).last_seq
            for method in ("getTest", "getEvents", "connectToTest", "getShot", "getFrames", "cancelTest"):
                answer = await ann.rpc(method, {"testId": given})
                assert answer.status_code == 400, (method, answer.text)
                assert "<script>" not in answer.text or "json" in answer.headers["content-type"]
            refused = await ann.refusal("", say=[{"type": "subscribe", "testId": given}])
            assert refused.code in (4400, 1009), refused
            refused = await ann.refusal(f"?testId={quote(given, safe='')}")
            assert refused.code in (400, 414, 431, 4400), refused
            page = await ann.get(f"/tests/{quote(given, safe='')}")
            assert page.status_code in (404, 414) and (len(given) < 4 or given not in page.text)
            assert (await streams.state("EVENTS")).last_seq == before

    return act


for _given in TEST_IDS:
    ATTACKS.add(f"injection: a test id that is {_given[:50]!a}", "400 at every door", _test_id(_given))


@ATTACKS.attack("injection: line ends in addresses, in every way to write them", "no header of the attacker's")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        for way in ("%0d%0a", "%0a", "%0D", "%E5%98%8A%E5%98%8D", "%00", "%u000a"):
            for path in (
                f"/tests/{system.alpha.test_id}/?a={way}Set-Cookie:%20x=y",
                f"/{way}Set-Cookie:%20x=y",
                f"/tests/a{way}Set-Cookie:x/",
                f"/rpc/a{way}Set-Cookie:x",
                f"/rpc/listTests?cursor={way}Set-Cookie:x",
            ):
                received = await ann.raw(ann.head(path, "Connection: close"))
                head = received.partition(b"\r\n\r\n")[0].lower()
                assert b"\nset-cookie" not in head and status_of(received) in range(300, 500), (path, head)


@ATTACKS.attack("injection: redirects that lead to another site", "none does")
async def _(system: System) -> None:
    run = system.alpha.test_id
    async with system.visitor(system.ann()) as ann:
        for path in (
            "//evil.example/",
            "//evil.example/tests/x/",
            f"//evil.example/tests/{run}/",
            "/\\evil.example/",
            "/healthz/",
            f"/tests/{run}/",
            "/tests//evil.example/",
            "/tests/%2f%2fevil.example/",
            "/%2f%2fevil.example/..",
        ):
            received = await ann.raw(ann.head(path, "Connection: close"))
            found = re.search(rb"\r\nlocation: ([^\r]*)", received, re.IGNORECASE)
            assert found is None or (b"//" not in found[1] and b"\\" not in found[1]), (path, found and found[1])


LOGGED: Final = "\r\n2026-01-01 CRITICAL forged line\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\u2028"


@ATTACKS.attack("injection: control characters in everything that is logged", "no line and no escape of theirs")
async def _(system: System) -> None:
    async with system.visitor() as nobody, system.visitor(system.ann()) as ann:
        header = LOGGED.encode("latin-1", "replace").replace(b"\r\n", b" ").decode("latin-1").replace("\x07", "")
        await ann.raw(ann.head("/rpc/listTests", f"Origin: http://a{header}", "Connection: close", method="POST"))
        await nobody.raw(nobody.upgrade("/ws", f"Origin: http://b{header}"))
        await nobody.raw(nobody.head("/rpc/listTests", f"Authorization: Bearer {header}", "Connection: close"))
        await nobody.raw(nobody.head(f"/rpc/{quote(LOGGED)}", "Connection: close"))
        await nobody.rpc("signIn", {"token": LOGGED})
        await ann.rpc("submitTest", {"gameUrl": f"http://{LOGGED}/", "title": LOGGED})
        await ann.rpc("submitTest", {"gameUrl": LOGGED})
        forged = system.keys.good(f"ann{LOGGED}", can=["list"])
        async with system.visitor(forged) as named:
            await named.rpc("cancelTest", {"testId": system.alpha.test_id})
    log = system.log()
    assert not [line for line in log.splitlines() if line.startswith("2026-01-01 CRITICAL")]
    assert not set(log) & {"\x1b", "\x07", "\x9b", "\r", "\u202e", "\u2028"}


SCRIPT: Final = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'`${7*7}{{7*7}}</title>"


async def _hostile_run(streams: Streams, text: str) -> str:
    """A run that has a text in every field that its publisher sets."""
    test_id = identity.new_test_id()
    data = {"title": text, "gameUrl": f"javascript:{text}", "project": "alpha"}
    await publish(streams, test_id, text, "status", status="queued", data=data)
    await publish(streams, test_id, text, "status", status="running", data={"attempt": 1, "worker": text})
    await publish(streams, test_id, text, data={"action": text, "kind": "console", "detail": text}, extra=text)
    await publish(streams, test_id, text, "<script>")
    await streams.store(subjects.frames(test_id), SCRIPT.encode())
    data = {"code": "x" + text[:40]}
    await publish(streams, test_id, text, "error", status="failed", data=data)
    return test_id


@ATTACKS.attack("injection: script in every field of a run", "every answer is JSON or a picture, and says so")
async def _(system: System) -> None:
    async with system.streams() as streams:
        test_id = await _hostile_run(streams, SCRIPT)
    async with system.visitor(system.ann()) as ann:
        for method in ("getTest", "getEvents", "connectToTest", "listTests"):
            params = {} if method == "listTests" else {"testId": test_id}
            answer = await ann.get(f"/rpc/{method}?{urlencode(params)}")
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("application/json")
            assert answer.headers["x-content-type-options"] == "nosniff"
        picture = await ann.query("getShot", testId=test_id)
        assert picture.status_code in (200, 204, 404)
        if picture.status_code == 200:
            assert picture.headers["content-type"] == "image/jpeg"
            assert picture.headers["x-content-type-options"] == "nosniff"
        page = await ann.get(f"/tests/{test_id}")
        assert "alert(1)" not in page.text


@ATTACKS.attack("injection: script in addresses and parameters", "no answer of it is a page")
async def _(system: System) -> None:
    async with system.visitor() as nobody, system.visitor(system.ann()) as ann:
        given = quote(SCRIPT, safe="")
        for visitor in (nobody, ann):
            for place in ("/", "/tests/", "/rpc/", "/rpc/listTests?cursor=", "/ws?"):
                path = place + given
                answer = await visitor.get(path)
                assert "<script>alert" not in answer.text or "html" not in answer.headers["content-type"], path
                assert answer.headers["x-content-type-options"] == "nosniff", path


@ATTACKS.attack("injection: the page and every answer without its protection", "CSP, nosniff, CORP, Referrer-Policy")
async def _(system: System) -> None:
    async with system.visitor() as nobody, system.visitor(system.ann()) as ann:
        for visitor, path in (
            (nobody, "/"),
            (nobody, f"/tests/{system.alpha.test_id}"),
            (nobody, "/testcast.js"),
            (nobody, "/healthz"),
            (nobody, "/nowhere"),
            (nobody, "/badge/nothing.svg"),
            (ann, "/badge/nothing.svg"),
            (nobody, "/rpc/listTests"),
            (ann, "/rpc/listTests"),
            (ann, f"/rpc/getShot?testId={system.alpha.test_id}"),
        ):
            headers = (await visitor.get(path)).headers
            assert headers.get("x-content-type-options") == "nosniff", path
            assert "cross-origin-resource-policy" in headers and "referrer-policy" in headers, path
            policy = headers.get("content-security-policy", "")
            assert "frame-ancestors" in policy and "default-src" in policy, (path, policy)
            scripts = next((part for part in policy.split(";") if part.strip().startswith("script-src")), policy)
            assert "unsafe" not in scripts and "unsafe-inline" not in policy, (path, policy)
            assert not re.search(r"\bwss?:(\s|;|$)", policy), policy


@ATTACKS.attack("injection: escape sequences in every field, read by the command", "the terminal gets none")
async def _(system: System) -> None:
    escapes = "\x1b[2J\x1b]0;owned\x07\x9b31mred\x1b]8;;http://evil.example\x07\u202e\r\n\x08\x00"
    async with system.streams() as streams:
        test_id = await _hostile_run(streams, escapes.replace("\x00", ""))

    async def is_listed() -> bool:
        async with system.visitor(system.ann()) as ann:
            return (
                '"failed"' in (await ann.query("getTest", testId=test_id)).text
                and test_id in (await ann.query("listTests")).text
            )

    await until(is_listed, within_s=20)
    token_file = system.directory / "token-of-ann"
    token_file.write_text(system.ann())
    token_file.chmod(0o600)
    for arguments in (["tail", test_id], ["list"], ["show", test_id]):
        shown = await run(*arguments, "--edge", system.edge.url, TESTCAST_TOKEN_FILE=str(token_file))
        assert shown.code in (0, 1) and "red" in shown.out, shown
        assert not set(shown.out + shown.err) & {"\x1b", "\x07", "\x9b", "\u202e", "\x08"}, shown.out[:300]


@ATTACKS.attack("injection: an event that pretends to be an edge's own message", "malformed; viewers never get it")
async def _(system: System) -> None:
    run = await system.planted("alpha")
    async with system.streams() as streams:
        for kind in ("sync", "heartbeat", "tests", "goodbye", "unreadable", "error"):
            fields = {"retryAfterMs": 1, "testId": system.beta.test_id, "seq": 2**60, "head": 2**60}
            await publish(streams, run.test_id, "forged", kind, **fields)
        last = await publish(streams, run.test_id, "the end")
    async with system.visitor(system.ann()) as ann, ann.socket(f"?testId={run.test_id}") as connection:
        reader = Reader(connection)
        said: list[dict[str, Any]] = [{"type": ""}]
        while said[-1].get("message") != "the end":
            message = await reader.next(DEADLINE_S, beats=True)
            if message["type"] != "heartbeat" or message.get("head", 0) >= 2**60:  # the edge has its own
                said.append(message)
        assert not [each for each in said if each["type"] in ("goodbye", "tests", "heartbeat")]
        assert all(each.get("testId") == run.test_id for each in said[1:]), said
        numbers = [int(each["seq"]) for each in said if "seq" in each]
        assert numbers == sorted(numbers) and max(numbers) == last.seq


@ATTACKS.attack("injection: testId and seq in an event of another run", "the edge's own stand, once")
async def _(system: System) -> None:
    run = await system.planted("alpha")
    async with system.streams() as streams:
        await streams.store(
            subjects.events(run.test_id),
            b'{"type":"progress","message":"forged","timestamp":1,"seq":1,"testId":"%s","testId":"x"}'
            % system.beta.test_id.encode(),
        )
        await publish(streams, run.test_id, "the end")
    async with system.visitor(system.ann()) as ann:
        events = (await ann.query("getEvents", testId=run.test_id)).json()["events"]
        assert {each["testId"] for each in events} == {run.test_id}
        assert len({each["seq"] for each in events}) == len(events)


@ATTACKS.attack("injection: paths that climb out of the page's folder", "404")
async def _(system: System) -> None:
    async with system.visitor() as nobody:
        for path in (
            "/../pyproject.toml",
            "/..%2f..%2fpyproject.toml",
            "/client/..%2f..%2f..%2fpyproject.toml",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/....//....//etc/passwd",
            "/.git/config",
            "/client/%00",
            "/static/../../keys.json",
            f"/{Path(__file__).name}",
        ):
            received = await nobody.raw(nobody.head(path, "Connection: close"))
            assert status_of(received) in (400, 404), (path, received[:200])
            assert b"root:" not in received and b"[project]" not in received


@ATTACKS.attack("injection: keys of JSON that mean something in JavaScript and Python", "400, or plain text")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        bodies: list[dict[str, Any]] = [
            {"__proto__": {"admin": True}},
            {"constructor": {"prototype": {}}},
            {"__class__": "x"},
            {"testId": system.alpha.test_id, "project": "beta"},
            {"testId": system.alpha.test_id, "principal": {"projects": "*"}},
        ]
        for body in bodies:
            answer = await ann.rpc("getTest", body)
            assert answer.status_code == 400, (orjson.dumps(body), answer.text)


test_attack = as_test(ATTACKS)
