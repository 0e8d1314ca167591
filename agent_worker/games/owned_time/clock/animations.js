// CSS and Web animations and transitions stand, and are moved to their place before each frame.

function replaceAnimations(core, realm) {
  const { window, own, replace, answer, listen } = realm;
  const { Animation, EventTarget } = window;
  const { pause, play, finish } = Animation.prototype;
  const place = Object.getOwnPropertyDescriptor(Animation.prototype, "currentTime");
  const state = Object.getOwnPropertyDescriptor(Animation.prototype, "playState");
  const seen = new WeakMap(); // animation -> { since, place, held, done }, in ms of the page's time
  let heard = false; // the page listens for events of animations, which come with real frames
  let told = false; // an event is on its way
  let moving = [];
  realm.moving = () => moving;

  const placeOf = (animation, known) =>
    known.held ? known.place : known.place + (core.now - known.since) * animation.playbackRate;
  const meet = (animation) => {
    const known = { since: core.now, place: 0, held: false, done: false };
    seen.set(animation, known);
    told = true;
    core.used.add("animation");
    try {
      Reflect.apply(pause, animation, []);
    } catch {
      known.done = true; // its timeline is not time: scrolling moves it
    }
    return known;
  };
  const move = (animation, known) => {
    if (known.done || known.held) return;
    const { endTime, duration } = animation.effect?.getComputedTiming() ?? { endTime: 0, duration: 0 };
    const at = placeOf(animation, known);
    const round = Math.floor(at / duration);
    if (round !== known.round) told = told || known.round !== undefined;
    known.round = round;
    try {
      if (at >= endTime) {
        known.done = told = true;
        Reflect.apply(finish, animation, []);
      } else {
        Reflect.apply(place.set, animation, [Math.max(0, at)]);
      }
    } catch {
      known.done = true;
    }
  };

  // Pauses those that have begun since, before any real time passes; `all`: moves the others too.
  realm.animate = (all) => {
    if (!all && !realm.changed) return;
    realm.changed = false;
    moving = [];
    for (const animation of window.document.getAnimations()) {
      const known = seen.get(animation) ?? meet(animation);
      if (all) move(animation, known);
      if (!known.done) moving.push(animation);
    }
    if (all) moveSvg();
  };
  realm.notices.push(() => realm.animate(false));
  realm.animationEvents = async () => {
    if (told && heard) await realm.realFrames(2);
    told = false;
  };
  const moveSvg = () => {
    if (!window.document.querySelector("animate,animateTransform,animateMotion,set")) return;
    for (const svg of window.document.querySelectorAll("svg")) {
      svg.pauseAnimations();
      svg.setCurrentTime(core.now / 1000);
    }
  };

  replace(Animation.prototype, "pause", function () {
    const known = seen.get(this) ?? meet(this);
    Object.assign(known, { place: placeOf(this, known), held: true });
  });
  replace(Animation.prototype, "play", function () {
    const known = seen.get(this) ?? meet(this);
    const restart = known.done || known.place >= (this.effect?.getComputedTiming().endTime ?? 0);
    Object.assign(known, { place: restart ? 0 : placeOf(this, known), since: core.now, held: false, done: false });
    if (state.get.call(this) === "idle" || restart) Reflect.apply(play, this, []);
    Reflect.apply(pause, this, []);
  });
  replace(Animation.prototype, "finish", function () {
    (seen.get(this) ?? meet(this)).done = true;
    told = true;
    return Reflect.apply(finish, this, []);
  });
  answer(Animation.prototype, "currentTime", place.get, function (at) {
    const known = seen.get(this) ?? meet(this);
    Object.assign(known, { place: Number(at) || 0, since: core.now, done: false });
    Reflect.apply(place.set, this, [at]);
  });
  answer(Animation.prototype, "playState", function () {
    const real = Reflect.apply(state.get, this, []);
    return real === "paused" && !seen.get(this)?.held ? "running" : real;
  });

  const OF_ANIMATIONS = /^(animation|transition|webkitAnimation|webkitTransition|finish$)/;
  const { addEventListener } = EventTarget.prototype;
  replace(EventTarget.prototype, "addEventListener", function (type, ...rest) {
    if (OF_ANIMATIONS.test(type)) heard = true;
    return Reflect.apply(addEventListener, this, [type, ...rest]);
  });
  for (const owner of [window.HTMLElement.prototype, window.Document.prototype, window, Animation.prototype]) {
    for (const name of Object.getOwnPropertyNames(owner)) {
      if (!/^on(animation|transition|webkitanimation|webkittransition|finish$)/.test(name)) continue;
      const known = Object.getOwnPropertyDescriptor(owner, name);
      if (!known.set) continue;
      answer(owner, name, known.get, function (callback) {
        heard = true;
        Reflect.apply(known.set, this, [callback]);
      });
    }
  }
  const finished = Object.getOwnPropertyDescriptor(Animation.prototype, "finished");
  answer(Animation.prototype, "finished", function () {
    heard = true;
    return Reflect.apply(finished.get, this, []);
  });
}
