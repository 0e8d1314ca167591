// @ts-nocheck
// Runs in the page of a run and records when a picture that was asked for is painted. recorder.py reads `window.waits`.
(() => {
  const screen = document.querySelector(".screen");
  let number = screen.dataset.number;
  let asked = 0;
  window.waits = [];
  const ask = ({ timeStamp }) => (asked = timeStamp);
  addEventListener("pointerdown", ask, true);
  addEventListener("keydown", ask, true);
  new MutationObserver(() => {
    if (screen.ariaBusy === "true" || screen.dataset.number === number) return;
    number = screen.dataset.number;
    const since = asked;
    // A task that starts after the callbacks of a frame runs after the frame was painted.
    requestAnimationFrame(() => setTimeout(() => waits.push(performance.now() - since)));
  }).observe(screen, { attributes: true });
})();
