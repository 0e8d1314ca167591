"""Judges a running deployment from outside: the broker that is configured, and an edge as viewers reach it."""

from __future__ import annotations

import time
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from broker.config import BrokerConfig, redacted
from broker.contract.errors import BrokerUnavailable, InvalidSetting, LoginRefused, TestcastError
from broker.jetstream.connection import Connection
from broker.jetstream.inspection import Remark, clock, inspect
from testcast import config
from testcast.client import probe
from testcast.client.address import edge_url
from testcast.local.finding import Finding

_CONNECT_S: Final = 3.0
_LOGIN: Final = "the user in TESTCAST_NATS_URL, TESTCAST_NATS_CREDS, …_NKEY, …_CERT with …_KEY, or …_CA"
_SLOW_S: Final = 2.0
"""A first message that takes longer is held back on the way: an edge sends it at once."""
_HEARTBEAT_S: Final = 35
"""A viewer gives up after this much silence, so a proxy must allow at least as much."""


async def broker(settings: BrokerConfig, *, wanted: bool = True) -> list[Finding]:
    """Checks the broker: that it answers, as whom, its clock, JetStream, and each stream and consumer.

    Args:
        settings: how to reach it.
        wanted: False where no setting names it; then it is no fault that nothing answers.
    """
    shown = redacted(settings.nats_url)
    try:
        nats = await Connection.connect(
            settings.nats_url, name="testcast-doctor", timeout_s=_CONNECT_S, settings=settings.login
        )
    except LoginRefused as error:
        return [Finding("broker", False, error.message, "correct the login: " + _LOGIN)]
    except InvalidSetting as error:
        return [Finding("broker", False, error.message, "correct TESTCAST_NATS_URL, or the address of --nats")]
    except TestcastError as error:
        if not wanted:
            return []
        return [Finding("broker", False, error.message, f"start the broker at {shown}, or correct TESTCAST_NATS_URL")]
    try:
        return [_finding(each) for each in await inspect(nats, settings.replicas)]
    except BrokerUnavailable as error:
        return [Finding("broker", False, error.message, f"see why {shown} ends its connections")]
    finally:
        await nats.close()


async def edge(given: str, keep_s: float = 0.0) -> list[Finding]:
    """Checks an edge and what is in front of it.

    Args:
        given: its address, as viewers have it.
        keep_s: how long to keep an idle socket, seconds; 0: not at all.

    Raises:
        BadInput: the address is none, or a proxy variable has no usable value.
    """
    url = edge_url(given)
    asked_at = time.time()
    try:
        status, told = await probe.read(url, "/rpc/getConfig")
    except httpx.HTTPError as error:
        return [Finding("edge", False, f"nothing answers at {url}: {error}", "start it, or correct the address")]
    told_at = time.time()
    if "now" not in told:
        detail = f"what answers at {url} is not a testcast edge (HTTP {status})"
        return [Finding("edge", False, detail, "correct the address, or send its whole path to the edge")]
    findings = [
        _version(url, told),
        _finding(clock("edge's clock", float(told["now"]) / 1000, asked_at, told_at)),
        await _readiness(url),
        await _address(url),
    ]
    return [*findings, *_socket(await probe.open_socket(url, keep_s), keep_s)]


def _finding(remark: Remark) -> Finding:
    return Finding(remark.name, remark.ok, remark.detail, remark.advice)


def _version(url: str, told: dict[str, Any]) -> Finding:
    theirs, ours = told.get("version"), config.version()
    if theirs is None:
        return Finding("edge", True, f"answers at {url}")
    if theirs != ours:
        detail = f"answers at {url}, version {theirs}; here it is {ours}"
        return Finding("edge", False, detail, "bring both to one version")
    return Finding("edge", True, f"answers at {url}, version {theirs}")


async def _readiness(url: str) -> Finding:
    """A proxy may keep `/readyz` to itself: only an answer of an edge counts."""
    try:
        status, body = await probe.read(url, "/readyz")
    except httpx.HTTPError as error:
        return Finding("readiness", False, f"/readyz: {error}", "see the edge's log")
    if "ready" not in body and status == httpx.codes.NOT_FOUND:
        return Finding("readiness", True, "/readyz is not passed on by what is in front of the edge")
    wrong = [str(each) for key in ("degraded", "failed") for each in body.get(key) or []]
    if status != httpx.codes.OK:
        wrong.insert(0, f"not ready (HTTP {status})")
    return Finding("readiness", not wrong, "; ".join(wrong) or "ready", "see the edge's log" if wrong else "")


async def _address(url: str) -> Finding:
    """Whether the edge knows the address that viewers use: it tells clients where to open sockets."""
    name = "address"
    try:
        _, listed = await probe.read(url, "/rpc/listTests?limit=1")
        tests = listed.get("tests") or []
        if not tests:
            return Finding(name, True, "not checked: there is no run yet")
        _, told = await probe.read(url, f"/rpc/connectToTest?testId={tests[0]['testId']}")
    except httpx.HTTPError as error:
        return Finding(name, False, str(error), "see the edge's log")
    theirs = str(told.get("url", ""))
    ours = urlsplit(url.replace("http", "ws", 1) + "/ws")
    found = urlsplit(theirs)
    if not found.scheme or (found.scheme, found.netloc, found.path) == (ours.scheme, ours.netloc, ours.path):
        return Finding(name, bool(theirs), f"sockets are opened at {theirs.partition('?')[0] or 'no address'}")
    return Finding(
        name,
        False,
        f"the edge tells viewers {found.scheme}://{found.netloc}{found.path}, and they use {ours.geturl()}",
        f"set TESTCAST_EDGE_PUBLIC_URL={url} for the edges, or have the proxy keep Host and name its prefix and scheme",
    )


def _socket(report: probe.SocketReport, keep_s: float) -> list[Finding]:
    if not report.opened:
        remedy = "have the proxy pass the headers Upgrade and Connection on, with HTTP/1.1 to the edge"
        return [Finding("WebSocket", False, report.problem, remedy)]
    if report.first_s is None or report.first_s > _SLOW_S:
        late = "no message arrives" if report.first_s is None else f"the first message takes {report.first_s:.1f} s"
        detail = f"{late}: {report.problem}" if report.problem not in ("", late) else late
        return [Finding("WebSocket", False, detail, "switch the proxy's buffering off (nginx: proxy_buffering off)")]
    findings = [Finding("WebSocket", True, f"passes; the first message takes {report.first_s * 1000:.0f} ms")]
    if not keep_s:
        return [*findings, Finding("idle socket", True, "not checked: `--long 90` keeps one open for 90 s")]
    kept = f"{report.lasted_s:.0f} s, {report.messages} messages meanwhile"
    if report.problem:
        remedy = f"raise the proxy's idle timeout above {_HEARTBEAT_S} s (nginx: proxy_read_timeout)"
        return [*findings, Finding("idle socket", False, f"{report.problem} after {kept}", remedy)]
    return [*findings, Finding("idle socket", True, f"open for {kept}")]
