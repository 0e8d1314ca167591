const HANDLE = "__vt"; // a function: the tester's, who knows the token

// One frame of the page: its window, and what of it was there before anything was replaced.

function createRealm(core, window) {
  const own = {
    setTimeout: window.setTimeout.bind(window),
    clearTimeout: window.clearTimeout.bind(window),
    requestAnimationFrame: window.requestAnimationFrame.bind(window),
    debug: window.console.debug.bind(window.console),
    timeOrigin: window.performance.timeOrigin,
    realNow: window.performance.now.bind(window.performance),
    reportError: window.reportError.bind(window),
    evaluate: window.eval,
    then: window.Promise.prototype.then,
    addEventListener: window.EventTarget.prototype.addEventListener,
    getContext: window.HTMLCanvasElement.prototype.getContext,
    drawImage: window.CanvasRenderingContext2D.prototype.drawImage,
    MessageChannel: window.MessageChannel,
    MutationObserver: window.MutationObserver,
    Promise: window.Promise,
  };

  // One real task, before which all promises that wait come to their end. Of the usual priority: what Chromium has to
  // tell, such as a rejection that nobody handles, gets its turn as well.
  const post = window.scheduler.postTask.bind(window.scheduler);
  const hop = () =>
    new own.Promise((done) => {
      post(done);
    });

  const realm = {
    window,
    own,
    hop,
    dirty: true, // the document has changed since its fingerprint was taken
    get document() {
      return window.document; // of an empty frame the document changes, and its window stays
    },
    handle: null,
    alive: () => {
      try {
        return !window.closed && window[HANDLE] === realm.handle; // a window that is left gives way to another
      } catch {
        return false;
      }
    },
    call: (callback, args) =>
      typeof callback === "function" ? Reflect.apply(callback, window, args) : own.evaluate(String(callback)),
    report: (error) => own.reportError(error),
    listen: (target, type, heard, options) => Reflect.apply(own.addEventListener, target, [type, heard, options]),
    notices: [],
    notice: () => {
      for (const each of realm.notices) each();
    },
    replace: (owner, name, value) => {
      const known = Object.getOwnPropertyDescriptor(owner, name);
      Object.defineProperty(owner, name, { writable: true, configurable: true, enumerable: known?.enumerable ?? false, value });
    },
    // Has `watching` called in place of methods of a class, with the object, the arguments, and what calls the method.
    watch: (Class, names, watching) => {
      for (const name of names) {
        const method = Class?.prototype[name];
        if (!method) continue;
        realm.replace(Class.prototype, name, function () {
          return watching(this, arguments, () => Reflect.apply(method, this, arguments));
        });
      }
    },
    answer: (owner, name, get, set) => {
      const known = Object.getOwnPropertyDescriptor(owner, name);
      const both = { get, set: set ?? known?.set };
      Object.defineProperty(owner, name, { configurable: true, enumerable: known?.enumerable ?? true, ...both });
    },
    realFrames: async (count) => {
      // Real frames come late or not at all where the machine is busy: this waits for them, but not for ever.
      for (let n = 0; n < count; n++) {
        await new own.Promise((done) => {
          const late = own.setTimeout(done, FRAME_LIMIT_MS);
          own.requestAnimationFrame(() => {
            own.clearTimeout(late);
            done();
          });
        });
      }
      await hop();
    },
  };
  core.realms.add(realm);
  return realm;
}
