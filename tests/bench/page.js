// @ts-nocheck
// Runs in the measured page before the page's modules and records when changes are painted. page.py reads `window.probe`.
(() => {
  // A task behind a frame records the frame's time: style, layout and paint of the frame are done when the task runs.
  const { port1, port2 } = new MessageChannel();
  const waiting = [];
  port2.onmessage = () => waiting.shift()();
  const afterThisTask = (then) => (waiting.push(then), port1.postMessage(0));
  const afterNextFrame = (then) => requestAnimationFrame(() => afterThisTask(then));

  const probe = (window.probe = {
    /** [test id, text, painted, a frame later], ms since 1970. */
    paints: [],
    /** Duration of each task of 50 ms or more, ms. */
    long: [],
    frames: 0,
    /** When the first and the hundredth card were painted, ms since the start of the navigation. */
    first: 0,
    hundredth: 0,
  });

  const observer = new MutationObserver((mutations) => {
    const changed = new Set();
    for (const { target } of mutations) if (target.matches?.(".message")) changed.add(target);
    for (const message of changed) {
      const card = message.closest("article");
      if (!card) continue; // the page of a run
      const note = [card.dataset.testId, message.textContent, 0, 0];
      afterThisTask(() => ((note[2] = Date.now()), probe.paints.push(note)));
      afterNextFrame(() => (note[3] = Date.now()));
    }
    if (probe.hundredth) return;
    const cards = document.querySelectorAll("article.card").length;
    if (cards >= 1) afterNextFrame(() => (probe.first ||= performance.now()));
    if (cards >= 100) afterNextFrame(() => (probe.hundredth ||= performance.now()));
  });
  observer.observe(document, { subtree: true, childList: true });
  /** Stops observing cards: with hundreds of cards the observer costs more than the page itself. */
  probe.leave = () => observer.disconnect();

  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) probe.long.push(duration);
  }).observe({ type: "longtask" });
  /** Counts every frame from now on. Requests a new frame each time, so that unchanged frames count too. */
  probe.count = () => (probe.frames++, requestAnimationFrame(probe.count));
})();
