"""Small games whose controls are known, for the search for controls. Each is the body of a page."""

from __future__ import annotations

SHIP = """<canvas id=c width=320 height=180></canvas><script>
  // Waits for N, which stands on its canvas only; moves by itself a lot; ends after 500 frames of a round.
  const x = c.getContext("2d"), held = new Set();
  let mode = "title", at = 150, age = 0, flash = 0, later = 0, ghost = 0, rounds = 0;
  const audio = new AudioContext();
  const beep = () => { const o = audio.createOscillator(); o.connect(audio.destination); o.start(); o.stop(0.1); };
  addEventListener("keydown", (e) => {
    if (mode === "title" && e.key === "n") { mode = "playing"; age = 0; }
    else if (mode === "over" && e.code === "KeyR") { mode = "playing"; age = 0; at = 150; rounds += 1; }
    if (mode !== "playing") return;
    held.add(e.code);
    if (e.code === "KeyQ") flash = 1;             // seen in one frame only
    if (e.code === "Space") later = age + 40;      // seen 40 frames later
    if (e.code === "KeyM") beep();                 // heard and not seen
    if (e.code === "KeyH") ghost += 1;             // nothing of it is ever seen
  });
  addEventListener("keyup", (e) => held.delete(e.code));
  const line = (text, y) => x.fillText(text, 90, y);
  (function frame() {
    x.fillStyle = "#113"; x.fillRect(0, 0, 320, 180); x.fillStyle = "#ddd"; x.font = "12px sans-serif";
    age += 1;
    for (let i = 0; i < 30; i++) x.fillRect((i * 53 + age * (1 + i % 3)) % 320, (i * 31) % 180, 2, 2);
    if (mode === "title") { line("SHIP", 60); line("press N to start", 80); }
    if (mode === "playing") {
      at += 3 * (held.has("ArrowRight") - held.has("ArrowLeft"));
      x.fillStyle = flash ? "#fff" : "#fa3"; x.fillRect(at, 140, 20, 20);
      if (age > later && later) { x.fillStyle = "#f00"; x.fillRect(0, 0, 60, 60); }
      if (age > later + 20) later = 0;
      x.fillStyle = "#ddd"; line("← → to steer, K: kick, Space: beam", 170); line("M - mute", 20);
      if (age > 500) mode = "over";
    }
    if (mode === "over") { line("GAME OVER", 60); line("press R to restart", 80); }
    flash = 0;
    requestAnimationFrame(frame);
  })();
</script>"""

SHOP = """<style>body { margin: 0; font: 20px sans-serif } #ask { position: fixed; inset: 100px; background: #ccc }
  .piece { position: absolute; width: 80px; height: 80px; background: #36c }</style>
<h1>Pieces</h1><p id=said>Drag the piece. The lamp is a link.</p>
<a href="#" id=lamp>Lamp</a> <div class=piece id=p style="left:600px;top:320px"></div>
<div id=ask>Cookies are used here. <button id=yes>Accept</button></div>
<div id=who hidden>Your name: <input id=name> <button id=go>Play</button></div>
<script>
  // Elements only: a prompt for cookies, a name, a link that switches a lamp, and a piece that can be dragged.
  yes.onclick = () => { ask.remove(); who.hidden = false; };
  go.onclick = () => { if (!name_.value) return; who.remove(); said.textContent = "Hello " + name_.value; on = true; };
  const name_ = document.getElementById("name");
  let on = false, lit = false, held = null;
  lamp.onclick = (e) => { e.preventDefault(); lit = !lit;
    document.body.style.background = lit ? "#fd8" : ""; };
  p.onmousedown = (e) => { if (on) held = [e.clientX - p.offsetLeft, e.clientY - p.offsetTop]; };
  onmousemove = (e) => {
    if (held) { p.style.left = e.clientX - held[0] + "px"; p.style.top = e.clientY - held[1] + "px"; }
  };
  onmouseup = () => (held = null);
</script>"""

UNSURE = """<canvas id=c width=320 height=180></canvas><script>
  // What it shows depends on a clock that nobody owns: nothing can be said of its keys.
  const x = c.getContext("2d"); let real = 0;
  const clock = "setInterval(() => postMessage(performance.now()), 1)";
  new Worker(URL.createObjectURL(new Blob([clock]))).onmessage = (e) => (real = e.data);
  (function frame() {
    x.fillStyle = "#123"; x.fillRect(0, 0, 320, 180); x.fillStyle = "#fff";
    x.fillRect((real * 7) % 320, 50, 9, 9); x.fillText(real.toFixed(3), 20, 120);
    requestAnimationFrame(frame);
  })();
</script>"""

UPRIGHT = """<style>body { margin: 0; touch-action: none }</style><canvas id=c width=400 height=600></canvas><script>
  // Plays on a phone that is held upright, and asks for that where it is not.
  const x = c.getContext("2d"), upright = innerHeight > innerWidth;
  let at = 40, goes = 0;
  addEventListener("touchstart", (e) => { if (upright) goes = e.touches[0].clientX < innerWidth / 2 ? -2 : 2; });
  (function frame() {
    at = Math.min(360, Math.max(0, at + goes));
    x.fillStyle = "#123"; x.fillRect(0, 0, 400, 600); x.fillStyle = "#fd5"; x.fillRect(at, 300, 40, 40);
    if (!upright) x.fillText("Please rotate your device", 100, 200);
    requestAnimationFrame(frame);
  })();
</script>"""

FINGERS = """<style>body { margin: 0; touch-action: none }</style><canvas id=c width=640 height=360></canvas><script>
  // For a touch screen only: a tap jumps, a swipe to the left moves the box.
  const x = c.getContext("2d"); let at = 300, high = 0, from = null;
  c.addEventListener("touchstart", (e) => { high = 30; from = e.touches[0].clientX; }, { passive: true });
  c.addEventListener("touchmove", (e) => { if (from - e.touches[0].clientX > 40) at = 100; }, { passive: true });
  (function frame() {
    x.fillStyle = "#000"; x.fillRect(0, 0, 640, 360); x.fillStyle = "#fff"; x.fillRect(at, 250 - high, 40, 40);
    high = Math.max(0, high - 1);
    requestAnimationFrame(frame);
  })();
</script>"""

RUNNER = """<canvas id=c width=320 height=200></canvas><script>
  const x = c.getContext("2d"); let playing = false, n = 0, air = 0;
  addEventListener("keydown", ({ key }) => { if (key === "p") playing = true;
    if (playing && key === " " && !air) air = 1; if (air && key === "ArrowDown") air = 0; });
  const frame = () => { n += 1; x.clearRect(0, 0, 320, 200);
    if (!playing) x.fillText("(P)lay the game", 20, 20);
    else { if (air) air = (air + 1) % 40; x.fillRect((n * 2) % 320, 150, 20, 9);
      x.fillRect(40, 140 - Math.min(air, 40 - air) * 2 * (air > 0), 12, 12); }
    requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
</script>"""
"""P begins, Space jumps, ArrowDown falls faster and does nothing on the ground."""

BRIEF = """<canvas id=c width=320 height=200></canvas><script>
  const x = c.getContext("2d"); let left = -1, high = 0;
  addEventListener("keydown", ({ key }) => { if (key === "p" && left <= 0) left = 45; if (key === " ") high += 5; });
  const frame = () => { x.clearRect(0, 0, 320, 200); left -= left > 0;
    if (left < 0) x.fillText("(P)lay the game", 20, 20);
    else if (!left) x.fillText("So close! (P)lay again", 20, 20);
    else x.fillRect(left, 100 - high, 12, 12);
    requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
</script>"""
"""A round lasts for 45 frames."""

STOPS = """<canvas id=c width=320 height=200></canvas><script>
  const x = c.getContext("2d"); let n = 0, at = 10, held = 0, stopped = false;
  addEventListener("keydown", ({ key }) => { held = { ArrowLeft: -1, ArrowRight: 1 }[key] ?? held;
    if (stopped && key === "Enter") { stopped = false; n = 0; requestAnimationFrame(frame); } });
  addEventListener("keyup", () => { held = 0; });
  const frame = () => { n += 1; at += held; x.clearRect(0, 0, 320, 200); x.fillRect(at, n % 50, 12, 12);
    if (n < 300) requestAnimationFrame(frame); else stopped = true; };
  requestAnimationFrame(frame);
</script>"""
"""A round ends without a word: the loop stops, and Enter begins again."""

SPRITE = """<canvas id=c width=600 height=400 style="position:absolute;left:0;top:0"></canvas><script>
  const x = c.getContext("2d"); let at = [75, 314], held = null;
  const hits = (e) => Math.abs(e.offsetX - at[0]) < 25 && Math.abs(e.offsetY - at[1]) < 25;
  c.addEventListener("mousemove", (e) => { if (held) at = [e.offsetX, e.offsetY];
    c.style.cursor = hits(e) ? "pointer" : "default"; });
  c.addEventListener("mousedown", (e) => { held = hits(e); }); addEventListener("mouseup", () => { held = null; });
  const frame = () => { x.clearRect(0, 0, 600, 400); x.fillRect(at[0] - 25, at[1] - 25, 50, 50);
    requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
</script>"""
"""A box of 50 pixels can be dragged; the pointer becomes a hand over it."""

STANDS = """<canvas id=c width=320 height=200></canvas><script>
  const x = c.getContext("2d"); let left = 0, high = 0, crashed = false;
  const draw = (colour) => { x.clearRect(0, 0, 320, 200); x.fillStyle = colour; x.fillRect(left, 100 - high, 12, 12); };
  const frame = () => { left += 1; high -= high > 0; crashed = left === 150; draw(crashed ? "red" : "blue");
    if (!crashed) requestAnimationFrame(frame); };
  addEventListener("keydown", ({ key, repeat }) => { if (repeat) return;
    if (crashed && key === "Enter") { left = 0; crashed = false; frame(); }
    if (key === "ArrowUp" && !crashed) { high = 20; if (!left) frame(); } });
  draw("blue");
</script>"""
"""Nothing moves until the first ArrowUp. A round ends after 150 frames, without a word; Enter begins another one."""

SAYS = """<p>%s</p><canvas id=c width=800 height=400></canvas><script>
  const x = c.getContext("2d"), blinks = %s; let playing = false, n = 0, at = 0;
  const begin = () => { if (!playing && !blinks) requestAnimationFrame(frame); playing = true; };
  const frame = () => { n += 1; x.clearRect(0, 0, 800, 400); if (n %% 40 < 20) x.fillRect(700, 9, 9, 9);
    if (playing) x.fillRect((n * 2) %% 300, 50 + at, 20, 9); requestAnimationFrame(frame); };
  addEventListener("keydown", ({ key }) => { if (key === "Enter") begin(); if (playing && key === "w") at -= 9; });
  c.addEventListener("click", () => { if (%s) begin(); });
  if (blinks) frame();
</script>"""
"""A page that goes on saying how to begin: its text, whether its title moves, whether a click begins it."""
