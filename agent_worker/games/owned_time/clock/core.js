// The clock that all frames of one origin share. Nothing here touches the page: core.js knows what is due and when.
//
// All files of this folder become one function (script.py), which runs before a page's own scripts, in each frame.

const FRAME_MS = 1000 / 60;
const EPOCH_MS = 1_700_000_000_000; // where Date begins: the same day for every run
const FREE_READS = 2000; // of the clock by one callback, for which it stands; then each is a step of a busy wait
const CREEP_MS = 0.05;
const FREE_TASKS = 100; // messages to itself at one moment, for which the clock stands; then each takes TASK_MS
const TASK_MS = 0.1;
const FRAME_LIMIT_MS = 20_000; // real time in which a real frame comes, however busy the machine is
const NESTED = 5; // timers that start timers, until their delay is at least 4 ms (HTML, timer initialization steps)

function createCore(seed, holdLimit, gaveUp, skips) {
  const STEP = 0x6d2b79f5;
  let random = seed >>> 0;
  let aside = 0; // as `random`, of what an input draws
  let asideAt = -1;
  let reads = 0;
  let tasksNow = 0;
  const core = {
    now: 0, // ms since the page's load, in its own time
    creep: 0, // what the running callback has waited busily
    frame: 0, // the newest frame
    depth: 0, // of timers started by timers
    hidden: false,
    dropped: 0, // frames without a callback, since the one before took too long
    order: 1,
    timers: [], // by time, then order
    frames: new Map(),
    batch: new Map(), // of `frames`: those that run now
    tasks: [],
    holdLimit, // ms of real time for which one load may hold the clock
    holds: new Set(),
    gaveUp: new Set(gaveUp), // kinds of loads that have held the clock for too long, in this document or an earlier one
    making: 1, // the frame that is played now
    blind: false, // nobody will look at that one
    skips, // such frames may be left undrawn
    missing: new Set(), // WebGL contexts whose picture was left out, as unseen.js knows them
    stale: false, // one of these would have been needed
    stride: 1, // frames from one that is compared to the next
    idle: null, // called when a hold goes
    input: null, // the newest event by which somebody has done something
    stopped: 0, // presses of keys that a handler has kept from others
    lets: false, // such presses are let through
    realms: new Set(),
    uncontrolled: new Set(),
    used: new Set(),
    sound: 2166136261, // fingerprint of all that was played
  };

  core.read = () => {
    if (++reads > FREE_READS) core.creep += CREEP_MS;
    return core.now + core.creep;
  };

  // The handlers of an input draw numbers of their own, those of its frame: what the game draws afterwards stays as it is
  // without it. Else any click that a library's handler hears would have an effect.
  core.random = () => {
    let drawn;
    if (!core.input?.eventPhase) drawn = random = (random + STEP) | 0;
    else {
      if (asideAt !== core.frame) aside = Math.imul((seed ^ (asideAt = core.frame)) + 1, 0x9e3779b1);
      drawn = aside = (aside + STEP) | 0;
    }
    let mixed = Math.imul(drawn ^ (drawn >>> 15), 1 | drawn);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };

  core.heard = (what) => {
    const text = `${core.frame} ${what}`;
    for (let n = 0; n < text.length; n++) core.sound = Math.imul(core.sound ^ text.charCodeAt(n), 16777619) >>> 0;
  };

  const insert = (timer) => {
    let low = 0;
    let high = core.timers.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = core.timers[middle];
      if (other.at < timer.at || (other.at === timer.at && other.order < timer.order)) low = middle + 1;
      else high = middle;
    }
    core.timers.splice(low, 0, timer);
  };

  core.addTimer = (realm, callback, delay, args, every = false) => {
    const depth = core.depth + 1;
    let after = Number(delay);
    after = after >= 0 && after <= 2147483647 ? Math.floor(after) : 0;
    if (depth > NESTED) after = Math.max(after, 4);
    if (every) after = Math.max(after, 1);
    const order = core.order++;
    insert({ id: order, order, at: core.now + core.creep + after, realm, callback, args, every: every ? after : 0, depth });
    return order;
  };

  core.removeTimer = (id) => {
    const at = core.timers.findIndex((timer) => timer.id === id);
    if (at >= 0) core.timers.splice(at, 1);
  };

  core.addFrame = (realm, callback) => {
    core.frames.set(core.order, { realm, callback });
    return core.order++;
  };

  core.removeFrame = (id) => {
    core.frames.delete(id);
    core.batch.delete(id);
  };

  core.addTask = (realm, callback, args = []) => {
    core.tasks.push({ realm, callback, args });
  };

  // Runs one callback. What it threw is the page's uncaught error, as it would be without us.
  core.run = (item, args) => {
    if (!item.realm.alive()) return;
    reads = 0;
    try {
      item.realm.call(item.callback, args);
    } catch (error) {
      item.realm.report(error);
    }
    core.now += core.creep;
    core.creep = 0;
    for (const realm of core.realms) realm.notice();
  };

  // Between callbacks: what the page waited for busily outside of them, in its scripts and in handlers of inputs.
  core.rest = () => {
    reads = 0;
    core.now += core.creep;
    core.creep = 0;
  };

  core.runTimer = (timer) => {
    core.timers.shift();
    if (timer.at > core.now) {
      core.now = timer.at;
      tasksNow = 0;
    }
    core.depth = timer.depth;
    const again = { ...timer, order: core.order++, depth: timer.depth + 1 };
    if (timer.every) {
      again.at = core.now + (again.depth > NESTED ? Math.max(timer.every, 4) : timer.every);
      insert(again); // before it runs: it may clear itself
    }
    core.run(timer, timer.args);
    core.depth = 0;
  };

  core.runTask = () => {
    const task = core.tasks.shift();
    if (++tasksNow > FREE_TASKS) core.now += TASK_MS;
    core.run(task, task.args);
  };

  core.beginFrame = () => {
    core.frame += 1;
    const due = core.frame * FRAME_MS;
    if (core.now > due + FRAME_MS / 2) {
      core.dropped += 1;
      return false;
    }
    core.now = Math.max(core.now, due);
    tasksNow = 0;
    return true;
  };

  return core;
}
