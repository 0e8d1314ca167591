// What calls back: timers, animation frames, idle time, and what a page posts to itself.

function replaceTimers(core, realm) {
  const { window, replace } = realm;
  const timer = (every) => (callback, delay, ...args) => {
    core.used.add(every ? "setInterval" : "setTimeout");
    return core.addTimer(realm, callback, delay, args, every);
  };
  const clear = (id) => core.removeTimer(Number(id));
  replace(window, "setTimeout", timer(false));
  replace(window, "setInterval", timer(true));
  replace(window, "clearTimeout", clear);
  replace(window, "clearInterval", clear);

  const request = (callback) => {
    if (typeof callback !== "function") throw new TypeError("requestAnimationFrame: the callback is not a function.");
    core.used.add("requestAnimationFrame");
    return core.addFrame(realm, callback);
  };
  const cancel = (id) => core.removeFrame(Number(id));
  replace(window, "requestAnimationFrame", request);
  replace(window, "cancelAnimationFrame", cancel);
  if (window.webkitRequestAnimationFrame) replace(window, "webkitRequestAnimationFrame", request);
  if (window.webkitCancelAnimationFrame) replace(window, "webkitCancelAnimationFrame", cancel);
  const video = window.HTMLVideoElement.prototype;
  replace(video, "requestVideoFrameCallback", function (callback) {
    const about = { mediaTime: this.currentTime, presentedFrames: core.frame, width: this.videoWidth, height: this.videoHeight };
    return core.addFrame(realm, (now) => callback(now, { presentationTime: now, expectedDisplayTime: now, ...about }));
  });
  replace(video, "cancelVideoFrameCallback", cancel);

  const deadline = Object.freeze({ didTimeout: false, timeRemaining: () => 10 });
  replace(window, "requestIdleCallback", (callback) => core.addTimer(realm, () => callback(deadline), 1, []));
  replace(window, "cancelIdleCallback", clear);

  const { AbortController, AbortSignal, DOMException, scheduler } = window;
  replace(AbortSignal, "timeout", (ms) => {
    const controller = new AbortController();
    core.addTimer(realm, () => controller.abort(new DOMException("signal timed out", "TimeoutError")), ms, []);
    return controller.signal;
  });
  if (!scheduler) return;
  const Scheduler = Object.getPrototypeOf(scheduler);
  replace(Scheduler, "postTask", (callback, { signal, delay } = {}) =>
    new realm.own.Promise((done, failed) => {
      let ended = Boolean(signal?.aborted);
      if (ended) return failed(signal.reason);
      const run = () => {
        if (ended) return;
        ended = true;
        try {
          done(callback());
        } catch (error) {
          failed(error);
        }
      };
      if (delay > 0) core.addTimer(realm, run, delay, []);
      else core.addTask(realm, run);
      signal?.addEventListener("abort", () => {
        if (!ended) failed(signal.reason);
        ended = true;
      });
    }));
  replace(Scheduler, "yield", () => new realm.own.Promise((done) => core.addTask(realm, done)));
}
