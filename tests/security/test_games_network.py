"""A game has no way to anything but the egress proxy: no UDP, no other connection, no name, no file.

Each attack is tried with all walls, and with Chromium's own flags alone, which is what stands where the kernel allows
no network of its own. Without either the traps do catch something: these tests can fail.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent_worker.games.chromium import program
from agent_worker.games.chromium.browser import Browser
from agent_worker.games.chromium.confinement import Walls
from tests.games.playing import Answer, GameServer, OnlyThese, game_server
from tests.harness import until
from tests.security.games import Traps, outcome, page_that_does, traps

pytestmark = pytest.mark.alone

ALL = Walls()
FLAGS_ALONE = Walls(own_network=False)

ICE = """
const gather = (servers) => new Promise((done) => {
  const peer = new RTCPeerConnection({ iceServers: servers }); const seen = [];
  peer.createDataChannel("x");
  peer.onicecandidate = (e) => e.candidate ? seen.push(e.candidate.candidate) : done(seen.join(" ") || "none");
  peer.createOffer().then((offer) => peer.setLocalDescription(offer));
});
const login = { username: "u", credential: "c" };
attempt("stun", () => gather([{ urls: [`stun:127.0.0.1:${port}`, `stun:[::1]:${port}`, `stun:localhost:${port}`] }]));
attempt("turn udp", () => gather([{ urls: [`turn:127.0.0.1:${port}`, `turn:[::1]:${port}`], ...login }]));
attempt("turn tcp", () => gather([{ urls: [`turn:127.0.0.1:${port}?transport=tcp`, `turn:[::1]:${port}?transport=tcp`],
  ...login }]));
attempt("turns", () => gather([{ urls: [`turns:127.0.0.1:${port}`, `turns:[::1]:${port}?transport=tcp`], ...login }]));
attempt("candidates", async () => {
  const one = new RTCPeerConnection(), other = new RTCPeerConnection(); one.createDataChannel("x");
  const offer = await one.createOffer(); await one.setLocalDescription(offer);
  await other.setRemoteDescription(offer); await other.setLocalDescription(await other.createAnswer());
  await one.setRemoteDescription(other.localDescription);
  for (const [kind, at] of [["udp", "127.0.0.1"], ["udp", "::1"], ["udp", "localhost"], ["tcp", "127.0.0.1"],
    ["tcp", "::1"], ["udp", "f00dface-0000-4000-8000-00000000cafe.local"]])
    await one.addIceCandidate({ sdpMid: "0", sdpMLineIndex: 0, candidate:
      `candidate:1 1 ${kind} 2122260223 ${at} ${port} typ host` + (kind === "tcp" ? " tcptype passive" : "") });
  await new Promise((done) => setTimeout(done, 1000));
});
"""


PAST_THE_PROXY = """
attempt("service worker", () => navigator.serviceWorker.register(`/sw.js?${port}`).then((r) => r.scope), 20000);
const at = [`127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`, `0x7f000001:${port}`, `127.1:${port}`,
  `a.localhost:${port}`, `0.0.0.0:${port}`, `[::ffff:127.0.0.1]:${port}`, `[::]:${port}`];
const opened = (thing, good, bad) => new Promise((done, fail) => {
  thing[good] = () => done("open"); thing[bad] = fail; });
for (const host of at) {
  attempt(`fetch ${host}`, () => fetch(`http://${host}/`, { mode: "no-cors" }).then(() => "open"));
  attempt(`https ${host}`, () => fetch(`https://${host}/`, { mode: "no-cors" }).then(() => "open"));
  attempt(`ws ${host}`, () => opened(new WebSocket(`ws://${host}/`), "onopen", "onerror"));
  attempt(`wss ${host}`, () => opened(new WebSocket(`wss://${host}/`), "onopen", "onerror"));
}
const first = at[0];
attempt("local network access", () => fetch(`http://${first}/`, { mode: "no-cors", targetAddressSpace: "local" })
  .then(() => "open"));
attempt("redirect", () => fetch(`/hop?to=http://${first}/`, { mode: "no-cors" }).then((r) => r.status));
attempt("beacon", () => { navigator.sendBeacon(`http://${first}/`, "x"); });
attempt("keepalive", () => fetch(`http://${first}/`, { method: "POST", keepalive: true, mode: "no-cors" }));
attempt("eventsource", () => opened(new EventSource(`http://${first}/`), "onopen", "onerror"));
attempt("image", () => opened(Object.assign(new Image(), { src: `http://${first}/` }), "onload", "onerror"));
attempt("script", () => { const s = document.createElement("script"); s.src = `http://${first}/`;
  document.head.append(s); return opened(s, "onload", "onerror"); });
attempt("worker", () => new Promise((done) => { const w = new Worker(URL.createObjectURL(new Blob([
  `fetch("http://${first}/", { mode: "no-cors" }).then(() => postMessage("open"), () => postMessage("error"))`])));
  w.onmessage = (e) => done(e.data); }));
attempt("webtransport", () => new WebTransport(`https://${first}/`).ready.then(() => "open"));
attempt("webtransport 6", () => new WebTransport(`https://[::1]:${port}/`).ready.then(() => "open"));
for (const rel of ["preconnect", "dns-prefetch", "prefetch", "prerender", "preload", "modulepreload", "stylesheet",
  "icon", "manifest"])
  attempt(rel, () => { document.head.append(Object.assign(document.createElement("link"),
    { rel, href: `http://${first}/${rel}`, as: "script" })); });
attempt("speculation", () => { document.head.append(Object.assign(document.createElement("script"), {
  type: "speculationrules", text: JSON.stringify({ prefetch: [{ urls: [`http://${first}/s`], eagerness: "immediate" }],
  prerender: [{ urls: [`http://${first}/p`], eagerness: "immediate" }] }) })); });
attempt("form", () => { const f = document.createElement("form"); f.action = `http://${first}/`;
  f.method = "post"; f.target = "form"; const frame = document.createElement("iframe"); frame.name = "form";
  document.body.append(frame, f);
  f.submit(); });
attempt("ping", () => { const a = document.createElement("a"); a.href = "#"; a.ping = `http://${first}/`;
  document.body.append(a); a.click(); });
for (const url of ["file:///etc/passwd", "file:///proc/self/environ", "chrome://version/", "chrome://settings/",
  "devtools://devtools/bundled/inspector.html", "view-source:file:///etc/passwd", `ftp://${first}/`]) {
  attempt(`read ${url}`, () => fetch(url).then(() => "open"));
  attempt(`frame ${url}`, () => new Promise((done) => { const f = document.createElement("iframe"); f.src = url;
    f.onload = () => done(f.contentDocument.body.innerText ? "open" : "empty"); document.body.append(f); }));
  attempt(`window ${url}`, () => { window.open(url); });
}
attempt("report", () => { const m = document.createElement("iframe"); m.src = "/reports"; document.body.append(m); });
"""


@pytest.fixture
def trapped() -> Iterator[Traps]:
    with traps() as made:
        yield made


@pytest.fixture
def server() -> Iterator[GameServer]:
    with game_server() as running:
        yield running


async def attack(server: GameServer, walls: Walls, script: str, port: int) -> tuple[dict[str, str], list[str]]:
    """Plays the script. Returns what it says, and what the proxy refused."""
    server.answers["/attack"] = Answer(page_that_does(script, port=port).encode())
    async with Browser(judge=OnlyThese(server.port), walls=walls, ahead=False) as browser, browser.page() as page:
        came = await outcome(page, f"{server.url}/attack")
        return came, [each.detail for each in page.incidents() if each.kind == "refused"]


async def test_without_the_walls_udp_gets_out(
    server: GameServer, trapped: Traps, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = [each for each in program.FLAGS if "webrtc" not in each]
    monkeypatch.setattr(program, "FLAGS", flags)
    await attack(server, FLAGS_ALONE, ICE, trapped.port)
    await until(lambda: any(each.startswith("udp") for each in trapped.caught))


@pytest.mark.parametrize("walls", [ALL, FLAGS_ALONE], ids=["all walls", "flags alone"])
async def test_nothing_leaves_but_through_the_proxy(server: GameServer, trapped: Traps, walls: Walls) -> None:
    target = f"http://127.0.0.1:{trapped.port}/"
    server.answers["/hop"] = Answer(status=302, headers=(("Location", target),))
    policy = ("Content-Security-Policy", f"img-src 'none'; report-uri {target}")
    reports = (("Reporting-Endpoints", f'r="{target}"'), policy)
    server.answers["/reports"] = Answer(b"<img src=/x>", headers=(("Content-Type", "text/html"), *reports))
    worker = b"oninstall = () => fetch(`http://127.0.0.1:${location.search.slice(1)}/worker`, { mode: 'no-cors' });"
    server.answers["/sw.js"] = Answer(worker, headers=(("Content-Type", "text/javascript"),))
    came, refused = await attack(server, walls, PAST_THE_PROXY + ICE, trapped.port)
    assert trapped.caught == []
    assert {came[name] for name in ("stun", "turn udp", "turn tcp", "turns")} <= {"none", "no end"}  # no candidate
    direct = [
        name for name in came if name.startswith(("ws", "https", "webtransport", "eventsource", "read ", "frame "))
    ]
    assert len(direct) >= 35 and not [name for name in direct if came[name] == "open"]
    names = {each.partition(f":{trapped.port}: ")[0] for each in refused}
    assert {"127.0.0.1", "localhost", "::1", "0.0.0.0", "a.localhost"} <= names  # the proxy was asked, and refused
    assert came["service worker"].startswith(server.url) and server.asked["/sw.js"]
