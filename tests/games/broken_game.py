"""A small game that can be broken in one way at a time, by what its address says. Square, ball, arrow keys, Space."""

PAGE = """<!doctype html>
<meta charset="utf-8" />
<title>Catch</title>
<body style="margin: 0; background: #123; color: #bbb">
  <canvas id="c" width="320" height="180"></canvas>
  <p>Arrow keys move. Space jumps.</p>
  <script>
    const faults = new URLSearchParams(location.search).get("with").split(",");
    const fault = faults[0];
    const c = document.getElementById("c");
    const x = c.getContext("2d");
    const held = new Set();
    const kept = [];
    let at = faults.includes("wall") ? 20 : 150, jump = 0, moves = 0, jumps = 0, ball = 0, lefts = 0;
    let broken = false, locked = false, stopped = false, blank = false, ended = false;
    if (fault === "loaderror") undefinedAtLoad();

    function moved() {
      moves += 1;
      if (moves === 2) {
        if (faults.includes("rejection")) Promise.reject(new Error(`no move ${moves}`));
        if (faults.includes("console")) console.error("lost the score");
        if (fault === "hang") for (;;);
        if (faults.includes("left")) window.open("/elsewhere");
        if (faults.includes("asset")) new Image().src = "/sprites/missing.png";
        if (fault === "error") broken = true;
        if (fault === "freeze") stopped = true;
        if (fault === "softlock") locked = true;
        if (fault === "blank") blank = true;
        if (fault === "over") [locked, ended] = [true, true];
      }
    }
    let presses = 0;
    addEventListener("keydown", (event) => {
      // Stands in the way of the game's own: of Space from its second press on, or of all keys from the second one on.
      const kept = (faults.includes("keptonce") && event.code === "Space") || faults.includes("deaf");
      if (kept && presses) event.stopImmediatePropagation();
      if (event.code === "Space" || faults.includes("deaf")) presses += 1;
    }, true);
    addEventListener("keydown", (event) => {
      if (locked || event.repeat) return;
      if (event.code === "ArrowUp" && faults.includes("launch") && ball === 0) ball = 3;
      if (event.code === "ArrowDown" && faults.includes("launch")) at -= 4;
      if (event.code === "ArrowLeft" && faults.includes("onceleft") && lefts++) return;
      if (event.code === "ArrowLeft" || event.code === "ArrowRight") {
        held.add(event.code);
        moved();
      }
      if (event.code === "Space" && jump === 0 && fault !== "deadkey" && !(fault === "once" && jumps)) {
        jump = 20;
        jumps += 1;
      }
    });
    addEventListener("keyup", (event) => held.delete(event.code));
    function frame() {
      if (broken) null.score();
      if (stopped) return;
      requestAnimationFrame(frame);
      if (fault === "heap") kept.push(new Array(1000).fill(ball));
      if (held.has("ArrowLeft")) at = Math.max(0, at - 4);
      if (held.has("ArrowRight")) at = Math.min(280, at + 4);
      if (jump > 0) jump -= 1;
      if (ball > 0 || !faults.includes("launch")) ball = ((ball + 3) % 320) || 3;
      x.fillStyle = "#123";
      x.fillRect(0, 0, 320, 180);
      if (blank) return document.querySelector("p")?.remove();
      x.fillStyle = "#fd5";
      x.fillRect(at, 150 - 4 * Math.min(jump, 20 - jump), 24, 24);
      x.fillStyle = "#5df";
      x.fillRect(ball, 30, 10, 10);
      if (faults.includes("tally")) x.fillText(`Moves: ${moves}`, 20, 170);
      if (ended) x.fillText("Game over", 20, 80);
    }
    if (fault !== "noscripts") requestAnimationFrame(frame);
  </script>
</body>
"""
