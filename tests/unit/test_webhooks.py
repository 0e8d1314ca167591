"""Webhooks: their settings, messages and pauses, and which addresses are called."""

from __future__ import annotations

import asyncio
import base64
import random
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from broker.contract.errors import InvalidSetting
from broker.contract.snapshot import Snapshot
from broker.jetstream import hook_store
from broker.jetstream.api import Delivery
from broker.jetstream.hook_store import Due, HookKey
from broker.local.certificates import certify
from broker.local.name_resolution import Lookups
from ws_edge import config as edge_config
from ws_edge.views.broker_clock import BrokerClock
from ws_edge.webhooks import message, post
from ws_edge.webhooks.sender import Webhooks
from ws_edge.webhooks.settings import RETRY_S, Webhook

SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()
RUN = Snapshot(
    test_id="4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11",
    title="Star <!channel> Hopper",
    game_url="http://game.example/?a=1&b=2",
    status="completed",
    phase=None,
    message="Done",
    seq=9,
    created_at=1000,
    updated_at=61000,
    started_at=2000,
    finished_at=60000,
    attempt=1,
    score=78,
    labels={"commit": "abc"},
)
FAILED = {"status": "failed", "error": "It <crashed>", "error_code": "crash", "score": None}
RNG = random.Random(1)


def load(folder: Path, webhooks: Any) -> tuple[Webhook, ...]:
    (folder / "secret").write_text(f"{SECRET}\n")
    (folder / "short").write_text("short")
    (folder / "address").write_text("https://hooks.example/T0/secret-part\n")
    file = folder / "webhooks.json"
    file.write_bytes(webhooks if isinstance(webhooks, bytes) else orjson.dumps({"webhooks": webhooks}))
    return edge_config.load({"TESTCAST_WEBHOOKS": str(file)}).webhooks


CI = {"name": "ci", "url": "https://CI.example/hook#x", "secret_file": "secret"}


def test_a_file_is_read_as_toml_and_as_json(tmp_path: Path) -> None:
    chat = {"name": "chat", "url_file": "address", "format": "slack", "on": ["failed"], "allow_private": True}
    ci, other = load(tmp_path, [CI | {"projects": ["a", "b"], "retry_s": [1, 2.5]}, chat])
    assert ci == Webhook(
        "ci", "https://ci.example/hook", b"s" * 24, "testcast", frozenset("ab"), frozenset({"completed", "failed"}),
        allow_private=False, retry_s=(1.0, 2.5),
    )  # fmt: skip
    assert (other.url, other.secret) == ("https://hooks.example/T0/secret-part", None)
    assert other.on == {"failed"}
    assert other.retry_s == RETRY_S
    (tmp_path / "webhooks.toml").write_text('[[webhooks]]\nname = "ci"\nurl = "http://ci/"\nsecret_file = "secret"\n')
    [toml] = edge_config.load({"TESTCAST_WEBHOOKS": str(tmp_path / "webhooks.toml")}).webhooks
    assert (toml.name, toml.url) == ("ci", "http://ci/")
    environ = {"TESTCAST_WEBHOOKS": str(tmp_path / "webhooks.toml")}
    (tmp_path / "secret").chmod(0o644)
    [warning] = edge_config.access_warnings(environ)
    assert warning.startswith(f"TESTCAST_WEBHOOKS: other users may read or change {tmp_path / 'secret'}")
    (tmp_path / "secret").chmod(0o600)
    assert edge_config.access_warnings(environ) == []
    assert "secret" not in repr([ci, other, toml]) and "hooks.example" not in repr(other)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"{", "no JSON"),
        (b"[]", "no list `webhooks`"),
        ([], "no list `webhooks`"),
        ([CI | {"name": "A b"}], "`name` is not"),
        ([3], "`name` is not"),
        ([CI, CI], "two webhooks"),
        ([CI] * 33, "at most 32"),
        ([CI | {"colour": 1}], "`colour` is no key"),
        ([CI | {"format": "teams"}], "`format` is not one of testcast, slack"),
        ([{"name": "ci", "url": "https://ci/"}], "`secret_file` is missing"),
        ([CI | {"secret_file": "short"}], "has 5 bytes"),
        ([CI | {"secret_file": "none"}], "cannot be read"),
        ([CI | {"secret_file": 3}], "`secret_file` is not a text"),
        ([CI | {"url_file": "address"}], "either `url` or `url_file`"),
        ([{"name": "ci", "secret_file": "secret"}], "either `url` or `url_file`"),
        ([CI | {"url": "ftp://ci/"}], "`url` is no http"),
        ([CI | {"url": "https://me:pass-word@ci/"}], "`url` is no http"),
        ([CI | {"url": "nonsense pass-word"}], "`url` is no address"),
        ([CI | {"projects": ["No Such"]}], "`projects`"),
        ([CI | {"projects": []}], "`projects`"),
        ([CI | {"on": ["queued"]}], "`on` names something else"),
        ([CI | {"allow_private": 1}], "`allow_private`"),
        ([CI | {"retry_s": [0]}], "`retry_s`"),
        ([CI | {"retry_s": [True]}], "`retry_s`"),
        ([CI | {"retry_s": [80000, 80000]}], "`retry_s`"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_and_no_secret_with_it(tmp_path: Path, given: Any, words: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        load(tmp_path, given)
    assert refused.value.message.startswith("TESTCAST_WEBHOOKS: ")
    assert words in refused.value.message
    assert "pass-word" not in refused.value.message


def test_a_file_that_is_missing_is_named() -> None:
    with pytest.raises(InvalidSetting, match=r"^TESTCAST_WEBHOOKS: .*cannot be read"):
        edge_config.load({"TESTCAST_WEBHOOKS": "/nowhere.toml"})


def hook(**fields: Any) -> Webhook:
    given = {"projects": None, "on": frozenset({"completed", "failed"}), "allow_private": False, "retry_s": RETRY_S}
    return Webhook(**({"name": "ci", "url": "https://ci/", "secret": b"s" * 24, "form": "testcast"} | given | fields))


def run(**fields: Any) -> Snapshot:
    import msgspec

    return msgspec.structs.replace(RUN, **fields)


@pytest.mark.parametrize(
    ("fields", "snapshot", "wanted"),
    [
        ({}, {}, True),
        ({}, FAILED, True),
        ({}, {"status": "running"}, False),
        ({}, FAILED | {"error_code": "cancelled"}, False),
        ({"on": frozenset({"cancelled"})}, FAILED | {"error_code": "cancelled"}, True),
        ({"on": frozenset({"failed"})}, {}, False),
        ({"projects": frozenset({"a"})}, {}, False),
        ({"projects": frozenset({"a"})}, {"project": "a"}, True),
        ({"projects": frozenset({"a"})}, {"project": ""}, False),
    ],
)
def test_a_webhook_is_told_of_the_ends_it_names(fields: Any, snapshot: Any, wanted: bool) -> None:
    assert message.wants(hook(**fields), run(**snapshot)) is wanted


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # The example of the specification's reference implementations.
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = message.signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    names = message.headers(hook(secret=None), "x", b"{}", 1)
    assert "webhook-signature" not in names


def test_the_message_has_what_a_program_needs_and_nothing_of_an_end_that_it_had_not() -> None:
    told = orjson.loads(message.body(hook(), RUN, None))
    assert (told["type"], told["timestamp"]) == ("run.completed", "1970-01-01T00:01:00Z")
    data = told["data"]
    assert (data["score"], data["labels"], data["finishedAt"]) == (78, {"commit": "abc"}, 60000)
    assert data.keys().isdisjoint({"page", "error", "errorCode"})
    failed = orjson.loads(message.body(hook(), run(**FAILED), "https://edge/tests/x"))["data"]
    assert (failed["error"], failed["errorCode"], failed["page"]) == ("It <crashed>", "crash", "https://edge/tests/x")
    assert "score" not in failed


def test_slack_gets_strangers_texts_as_plain_text_only() -> None:
    told = orjson.loads(message.body(hook(form="slack"), run(**FAILED, title="T" * 200), "https://edge/tests/x|y"))
    assert len(told["blocks"][0]["text"]["text"]) <= 150
    kinds = {each["text"]["text"]: each["text"]["type"] for each in told["blocks"] if "text" in each}
    assert kinds["It <crashed>"] == "plain_text"
    assert [text for text, kind in kinds.items() if kind == "mrkdwn"] == ["<https://edge/tests/x%7Cy|Open the run>"]
    named = orjson.loads(message.body(hook(form="slack"), RUN, None))
    assert "Star &lt;!channel&gt; Hopper: completed, score 78 of 100" in named["text"]
    assert "commit=abc" in named["blocks"][-1]["elements"][0]["text"]


def test_each_failure_has_its_pause_and_the_last_has_none() -> None:
    class Still(random.Random):
        def random(self) -> float:
            return 0.0

    ages, age_s = [], 0.0
    while (pause := message.pause_s((5, 30, 120), age_s, Still())) is not None:
        ages.append(round(age_s + pause, 3))
        age_s += pause + 0.5  # a try takes a while
    assert ages == [5, 35, 155]
    assert message.pause_s((5, 30, 120), 34, Still()) == 121, "a try that came late is not made twice"
    assert message.pause_s((), 0, RNG) is None
    assert message.pause_s((5,), 10**9, RNG) is None
    assert all(5 <= (message.pause_s((5,), 0, RNG) or 0) <= 5.5 for _ in range(100))


@pytest.mark.parametrize(
    ("addresses", "private", "refused"),
    [
        (["8.8.8.8"], False, None),
        (["8.8.8.8", "127.0.0.1"], False, "127.0.0.1, a private address, and `allow_private` is not set"),
        (["10.0.0.1"], False, "private"),
        (["::ffff:10.0.0.1"], False, "private"),
        (["10.0.0.1", "127.0.0.1", "::1"], True, None),
        (["169.254.169.254"], True, "never called"),
        (["fe80::1"], True, "never called"),
        ([], True, "no address"),
    ],
)
async def test_which_addresses_are_called(addresses: list[str], private: bool, refused: str | None) -> None:
    said = post.judge(addresses, allow_private=private)
    assert said is None if refused is None else refused in str(said)

    async def resolver(_host: str, _port: int) -> list[str]:
        return addresses

    if refused is not None:
        tried = await post.post(hook(allow_private=private), b"{}", {}, resolver)
        assert (tried.ok, tried.said) == (False, said)


@pytest.mark.parametrize(
    ("scheme", "host"), [("http", "hook.example"), ("https", "hook.example"), ("https", "x.example")]
)
async def test_the_judged_address_is_called_under_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, host: str
) -> None:
    for each in ("ca", "server"):
        (tmp_path / each).mkdir()
    certify(tmp_path / "ca", tmp_path / "server", ["hook.example"], datetime.now(UTC))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server" / "server.pem", tmp_path / "server" / "server.key")
    trusted = ssl.create_default_context(cafile=tmp_path / "ca" / "ca.pem")
    monkeypatch.setattr(post, "_certificates", lambda: trusted)
    heads = list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    looked_up = list[str]()

    async def resolver(name: str, _port: int) -> list[str]:
        looked_up.append(name)
        return ["127.0.0.1"]  # the name exists nowhere else: what was judged is what is called

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context if scheme == "https" else None)
    port = server.sockets[0].getsockname()[1]
    webhook = hook(url=f"{scheme}://{host}:{port}/a?b=c", allow_private=True)
    tried = await post.post(webhook, b"{}", {"webhook-id": "1"}, resolver)
    server.close()
    assert looked_up == [host]
    if host == "x.example":  # the certificate is another's
        assert (tried.ok, tried.said, heads) == (False, "no connection", [])
        return
    assert (tried.ok, tried.said) == (True, "answered 204")
    [head] = heads
    assert head.startswith(b"POST /a?b=c HTTP/1.1\r\n")
    assert f"host: hook.example:{port}\r\n".encode() in head.lower()


async def test_a_name_that_nobody_answers_holds_up_its_own_webhook_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = threading.Event()

    def ask(host: str, _port: int) -> list[str]:
        if host == "silent.example":
            silent.wait(60)
        return ["10.0.0.1"]

    monkeypatch.setattr(post, "_lookups", Lookups(ask, each=post._LOOK_UPS_EACH))
    hanging = [asyncio.create_task(post.post(hook(url="http://silent.example/"), b"{}", {})) for _ in range(12)]
    await asyncio.sleep(0)
    other = await post.post(hook(name="other", url="http://other.example/"), b"{}", {})
    assert "10.0.0.1, a private address" in other.said
    silent.set()
    for each in hanging:
        each.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


DELIVERY = Delivery("", 7, delivered=20, number=9, pending=0, data=b"", headers=b"", reply="", stored_ms=1)


class Entries:
    """The bucket in memory: as much of `HookStore` as sending needs."""

    def __init__(self, *names: str) -> None:
        self.waiting = [Due(HookKey(name, RUN.test_id, 60000), 0, DELIVERY) for name in names]
        self.outcomes: list[tuple[str, str]] = []
        self.pauses: list[float] = []

    async def pull(self, batch: int, *, expires_s: float) -> list[Due]:
        found, self.waiting = self.waiting[:batch], self.waiting[batch:]
        if not found:
            await asyncio.sleep(expires_s)
        return found

    async def settle(self, due: Due, outcome: str) -> None:
        self.outcomes.append((due.key.hook, outcome))

    async def again(self, _due: Due, after_s: float) -> None:
        self.pauses.append(after_s)


async def test_however_many_webhooks_hang_the_others_are_told() -> None:
    hanging = [f"hangs{number}" for number in range(8)]

    async def send(webhook: Webhook, _content: bytes, _headers: Any) -> post.Tried:
        if webhook.name != "well":
            await asyncio.Event().wait()
        return post.Tried(True, "answered 200")

    catalogue: Any = SimpleNamespace(on_change=None, stored=lambda _id: (RUN, 1))
    hooks = [hook(name=name) for name in (*hanging, "well")]
    sender = Webhooks(SimpleNamespace(), catalogue, BrokerClock(), hooks, lambda _id: None, send)  # type: ignore[arg-type]
    entries: Any = Entries(*hanging * 6, "well", "unknown")
    sending = asyncio.create_task(sender._deliver(entries))
    async with asyncio.timeout(20):
        while not entries.outcomes or len(entries.pauses) < 17:
            await asyncio.sleep(0.01)
    assert entries.outcomes == [("well", "delivered")]
    assert min(entries.pauses) >= 20 * 5 and max(entries.pauses) == 20 * 60, "what has come back often comes later"
    sending.cancel()
    for each in sender._tries:
        each.cancel()
    await asyncio.gather(sending, *sender._tries, return_exceptions=True)


@pytest.mark.parametrize(
    "key", ["ci", "ci.none.1", f"ci.{RUN.test_id}.x", f"ci.{RUN.test_id}.\u0663", f"a.b.{RUN.test_id}.1"]
)
def test_what_is_no_entry_is_left_aside(key: str) -> None:
    assert hook_store._key_of(f"$KV.HOOKS.{key}") is None
    assert str(hook_store._key_of(f"$KV.HOOKS.ci.{RUN.test_id}.17")) == f"ci.{RUN.test_id}.17"
