// <video> and <audio> are not played: their place, their end and their events follow the page's time.

function replaceMedia(core, realm) {
  const { window, own, replace, answer } = realm;
  const media = window.HTMLMediaElement.prototype;
  const states = new WeakMap();
  const TIME_UPDATE_MS = 250;

  const stateOf = (element) => {
    if (!states.has(element)) states.set(element, { place: 0, playing: false, since: 0, ended: false, end: 0, update: 0 });
    return states.get(element);
  };
  const lengthOf = (element) => (Number.isFinite(element.duration) ? element.duration : 1); // s; 1 where nothing has loaded
  const placeOf = (element) => {
    const state = stateOf(element);
    if (!state.playing) return state.place;
    return Math.min(lengthOf(element), state.place + ((core.now - state.since) / 1000) * element.playbackRate);
  };
  const named = (element) => (element.currentSrc || element.src || element.id || "media").slice(-32);
  const later = (element, ...types) => core.addTimer(realm, () => tell(element, ...types), 1, []);
  const tell = (element, ...types) => {
    for (const type of types) element.dispatchEvent(new window.Event(type));
  };
  const disarm = (state) => {
    core.removeTimer(state.end);
    core.removeTimer(state.update);
  };
  const arm = (element) => {
    const state = stateOf(element);
    disarm(state);
    const left = ((lengthOf(element) - placeOf(element)) / (element.playbackRate || 1)) * 1000;
    state.end = core.addTimer(realm, () => finish(element), Math.max(1, left), []);
    const update = () => {
      state.update = core.addTimer(realm, update, TIME_UPDATE_MS, []);
      tell(element, "timeupdate");
    };
    state.update = core.addTimer(realm, update, TIME_UPDATE_MS, []);
  };
  const finish = (element) => {
    const state = stateOf(element);
    if (element.loop) {
      Object.assign(state, { place: 0, since: core.now });
      arm(element);
      return tell(element, "seeking", "seeked");
    }
    disarm(state);
    Object.assign(state, { place: lengthOf(element), playing: false, ended: true });
    return tell(element, "timeupdate", "pause", "ended");
  };

  const play = media.play;
  replace(media, "play", function () {
    core.used.add("media");
    if (this.error) return Reflect.apply(play, this, []); // it says itself why it cannot
    if (!this.muted && !window.navigator.userActivation.hasBeenActive) {
      const why = "play() failed because the user didn't interact with the document first.";
      return own.Promise.reject(new window.DOMException(why, "NotAllowedError"));
    }
    const state = stateOf(this);
    if (!state.playing) {
      if (state.ended) Object.assign(state, { place: 0, ended: false });
      Object.assign(state, { playing: true, since: core.now });
      core.heard(`play ${named(this)}`);
      arm(this);
      later(this, "play", "playing");
    }
    return own.Promise.resolve();
  });
  replace(media, "pause", function () {
    const state = stateOf(this);
    if (!state.playing) return;
    Object.assign(state, { place: placeOf(this), playing: false });
    disarm(state);
    core.heard(`pause ${named(this)}`);
    later(this, "timeupdate", "pause");
  });
  answer(
    media,
    "currentTime",
    function () {
      return placeOf(this);
    },
    function (place) {
      const state = stateOf(this);
      Object.assign(state, { place: Math.max(0, Number(place) || 0), since: core.now, ended: false });
      if (state.playing) arm(this);
      later(this, "seeking", "timeupdate", "seeked");
    },
  );
  answer(media, "paused", function () {
    return !stateOf(this).playing;
  });
  answer(media, "ended", function () {
    return stateOf(this).ended;
  });
  for (const name of ["muted", "volume"]) {
    const { get, set } = Object.getOwnPropertyDescriptor(media, name);
    answer(media, name, get, function (value) {
      core.heard(`${name} ${value} ${named(this)}`);
      Reflect.apply(set, this, [value]);
    });
  }
  const { load } = media;
  replace(media, "load", function () {
    const state = stateOf(this);
    disarm(state);
    Object.assign(state, { place: 0, playing: false, ended: false });
    return Reflect.apply(load, this, []);
  });
  replace(window, "Audio", new Proxy(window.Audio, {
    construct: (target, args, made) => {
      const element = Reflect.construct(target, args, made);
      if (args[0]) realm.until("media", element, ["canplaythrough", "error", "suspend", "stalled", "abort", "emptied"]);
      return element;
    },
  }));
}
