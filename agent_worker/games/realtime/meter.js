// Runs before the game's own scripts, in the stretch that is played at true speed. Notes when frames are drawn, which
// tasks are long, and when inputs arrive. window.__testcastMeter() returns what came since the last call; stretch.py
// describes its fields. All times in ms of performance.now().
(() => {
  const MOST = 20000;
  let frames = [];
  let long = [];
  let inputs = [];
  let since = performance.now();

  const request = requestAnimationFrame.bind(window);
  const tick = () => {
    if (frames.length < MOST) frames.push(performance.now());
    request(tick);
  };
  request(tick);

  new PerformanceObserver((list) => {
    for (const each of list.getEntries()) if (long.length < MOST) long.push([each.startTime, each.duration]);
  }).observe({ entryTypes: ["longtask"] });

  for (const kind of ["keydown", "pointerdown", "touchstart"]) {
    const note = (event) => {
      if (event.isTrusted && !event.repeat && inputs.length < MOST) inputs.push([event.timeStamp, frames.length]);
    };
    addEventListener(kind, note, { capture: true, passive: true });
  }

  Object.defineProperty(window, "__testcastMeter", {
    value: () => {
      const [entry] = performance.getEntriesByType("navigation");
      const paint = performance.getEntriesByName("first-contentful-paint")[0];
      const told = { since, now: performance.now(), frames, long, inputs, loaded: entry ? entry.loadEventEnd : 0, painted: paint ? paint.startTime : null };
      [frames, long, inputs, since] = [[], [], [], performance.now()];
      return told;
    },
  });
})();
