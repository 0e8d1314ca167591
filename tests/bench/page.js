// @ts-nocheck
// Runs in the measured page before its own modules: notes what is painted when. page.py reads `window.probe`.
(() => {
  // What is said of a frame is said by a task behind it: the frame's own style, layout and paint are done by then.
  const { port1, port2 } = new MessageChannel();
  const waiting = [];
  port2.onmessage = () => waiting.shift()();
  const afterThisTask = (then) => (waiting.push(then), port1.postMessage(0));
  const afterNextFrame = (then) => requestAnimationFrame(() => afterThisTask(then));

  const probe = (window.probe = {
    /** [test id, text, painted, a frame later], ms since 1970. */
    paints: [],
    /** How long each task of 50 ms and more took, ms. */
    long: [],
    frames: 0,
    /** When the first and the hundredth card were painted, ms since the navigation began. */
    first: 0,
    hundredth: 0,
  });

  const observer = new MutationObserver((mutations) => {
    const changed = new Set();
    for (const { target } of mutations) if (target.matches?.(".message")) changed.add(target);
    for (const message of changed) {
      const note = [message.closest("article").dataset.testId, message.textContent, 0, 0];
      afterThisTask(() => ((note[2] = Date.now()), probe.paints.push(note)));
      afterNextFrame(() => (note[3] = Date.now()));
    }
    if (probe.hundredth) return;
    const cards = document.querySelectorAll("article.card").length;
    if (cards >= 1) afterNextFrame(() => (probe.first ||= performance.now()));
    if (cards >= 100) afterNextFrame(() => (probe.hundredth ||= performance.now()));
  });
  observer.observe(document, { subtree: true, childList: true });
  /** Looks at no card any more: with hundreds of them that costs more than the page itself. */
  probe.leave = () => observer.disconnect();

  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) probe.long.push(duration);
  }).observe({ type: "longtask" });
  /** From now on every frame is counted, and none left out for want of a change. */
  probe.count = () => (probe.frames++, requestAnimationFrame(probe.count));
})();
