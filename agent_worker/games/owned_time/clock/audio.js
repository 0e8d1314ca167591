// Web Audio makes no sound: contexts count the page's time, sources end when they would have. What is played is noted.

function replaceAudio(core, realm) {
  const { window, own, replace, answer } = realm;
  const { AudioBufferSourceNode, AudioContext, AudioParam, AudioScheduledSourceNode, BaseAudioContext } = window;
  if (!BaseAudioContext) return;
  const states = new WeakMap();
  const offline = (context) => context instanceof window.OfflineAudioContext; // computes as fast as it can, not in time
  const stateOf = (context) => {
    if (!states.has(context)) states.set(context, { name: "running", since: core.now, heard: 0 });
    return states.get(context);
  };
  const timeOf = (context) => {
    const state = stateOf(context);
    return (state.heard + (state.name === "running" ? core.now - state.since : 0)) / 1000;
  };
  const own_time = Object.getOwnPropertyDescriptor(BaseAudioContext.prototype, "currentTime");
  const own_state = Object.getOwnPropertyDescriptor(BaseAudioContext.prototype, "state");
  answer(BaseAudioContext.prototype, "currentTime", function () {
    return offline(this) ? Reflect.apply(own_time.get, this, []) : timeOf(this);
  });
  answer(BaseAudioContext.prototype, "state", function () {
    return offline(this) ? Reflect.apply(own_state.get, this, []) : stateOf(this).name;
  });
  const become = (name) =>
    function () {
      const state = stateOf(this);
      if (state.name !== name && state.name !== "closed") {
        Object.assign(state, { heard: timeOf(this) * 1000, since: core.now, name });
        core.addTimer(realm, () => this.dispatchEvent(new window.Event("statechange")), 1, []);
      }
      return own.Promise.resolve();
    };
  replace(AudioContext.prototype, "resume", become("running"));
  replace(AudioContext.prototype, "suspend", become("suspended"));
  replace(AudioContext.prototype, "close", become("closed"));
  replace(AudioContext.prototype, "getOutputTimestamp", function () {
    return { contextTime: timeOf(this), performanceTime: core.now };
  });

  const ends = new WeakMap();
  const over = (node) => core.addTimer(realm, () => node.dispatchEvent(new window.Event("ended")), 1, []);
  const starting = (start) =>
    function (when = 0, offset = 0, length = undefined) {
      if (offline(this.context)) return Reflect.apply(start, this, arguments);
      if (ends.has(this)) throw new window.DOMException("cannot call start more than once.", "InvalidStateError");
      const lasts = length ?? (this.buffer ? (this.buffer.duration - offset) / (this.playbackRate?.value || 1) : Infinity);
      core.heard(`start ${this.constructor.name} ${when} ${lasts} ${this.frequency?.value ?? ""}`);
      core.used.add("Web Audio");
      const wait = (Math.max(0, when - timeOf(this.context)) + lasts) * 1000;
      ends.set(this, this.loop || !Number.isFinite(lasts) ? 0 : core.addTimer(realm, () => this.dispatchEvent(new window.Event("ended")), Math.max(1, wait), []));
      return undefined;
    };
  replace(AudioScheduledSourceNode.prototype, "start", starting(AudioScheduledSourceNode.prototype.start));
  replace(AudioBufferSourceNode.prototype, "start", starting(AudioBufferSourceNode.prototype.start));
  const { stop } = AudioScheduledSourceNode.prototype;
  replace(AudioScheduledSourceNode.prototype, "stop", function (when = 0) {
    if (offline(this.context)) return Reflect.apply(stop, this, arguments);
    if (!ends.has(this)) throw new window.DOMException("cannot call stop without calling start first.", "InvalidStateError");
    core.removeTimer(ends.get(this));
    core.heard(`stop ${when}`);
    const wait = (when - timeOf(this.context)) * 1000;
    if (wait > 1) ends.set(this, core.addTimer(realm, () => this.dispatchEvent(new window.Event("ended")), wait, []));
    else over(this);
    return undefined;
  });

  // Values change in real time; that they were asked to is what is noted.
  const value = Object.getOwnPropertyDescriptor(AudioParam.prototype, "value");
  answer(AudioParam.prototype, "value", value.get, function (to) {
    core.heard(`value ${to}`);
    Reflect.apply(value.set, this, [to]);
  });
  const ramps = ["setValueAtTime", "linearRampToValueAtTime", "exponentialRampToValueAtTime", "setTargetAtTime"];
  for (const name of ramps) {
    const ramp = AudioParam.prototype[name];
    replace(AudioParam.prototype, name, function (to, ...rest) {
      core.heard(`${name} ${to} ${rest[0]}`);
      return Reflect.apply(ramp, this, [to, ...rest]);
    });
  }
}
