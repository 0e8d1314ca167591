/**
 * The state machine of the client's one socket: when it is opened, given up and tried again. Pure: the time and a
 * random number are arguments, and what must be done is returned as effects.
 *
 *   idle        nothing is wanted yet
 *   connecting  a socket is open or opening; nothing was delivered on it
 *   live        something was delivered
 *   waiting     the next attempt starts at `deadlineAt`
 *   finished    every watched test has ended: no socket and no attempts; a page with a list checks it now and then
 *   refused     the edge closed with a 44xx code: no attempts. After 4401 a client that can get another proof of who it
 *               is (`renews`) tries once with that before it gives up
 *
 * What carries events meanwhile is not a state of it, but a machine of its own (`FALLBACK`). It runs during `waiting` and
 * `connecting` after two failed attempts (see `polls`). A socket that delivers ends it; a socket that fails again does not
 * restart it.
 *
 * On `wake`, one request over HTTP is sent in addition to whatever the socket does (the effect `look`). The page is
 * current after one round trip, even if the socket is dead.
 */

/** Delays before attempts 1, 2, 3, …; the last is repeated. Each is multiplied by a random number from 0.8 to 1.0. */
export const BACKOFF_MS = [1000, 2000, 4000, 8000, 16_000, 30_000];
/** Attempts that are counted. After them, one attempt every 30 s without end. */
export const MAX_ATTEMPTS = 10;
/** Failed attempts before the fallback starts. */
export const POLL_AFTER_FAILURES = 2;
/** Without a frame for this long the socket is dead: an edge sends a heartbeat every 15 s, and two are missing. */
export const SILENCE_MS = 35_000;
/** A new socket must deliver something within this time: longer than one heartbeat. */
export const CONNECT_MS = 20_000;
/** A frame must arrive within this time after a probe. */
export const PROBE_MS = 5000;
/** A timer that fires this late means that the page was frozen: frames may be waiting in the event queue. */
export const LATE_MS = 2000;
/** On `wake`, a new socket that has delivered nothing for this long is replaced. */
export const STUCK_MS = 2000;
/** Time between two requests for the list while nothing is expected. */
export const LOOK_MS = 30_000;
/** The longest wait that a goodbye may ask for. */
export const MAX_RETRY_AFTER_MS = 60_000;

/** The close code of a socket whose client is not, or no longer, known. */
export const UNAUTHENTICATED = 4401;

/** @type {Connection} */
export const IDLE = {
  state: "idle",
  wanted: false,
  looks: false,
  attempt: 0,
  failures: 0,
  deadlineAt: Infinity,
  reason: "",
  code: 0,
  renews: false,
  renewed: false,
};

/** @type {Cell} */
const stay = (c) => [c, []];
/** @type {Cell} */
const want = (c) => [{ ...c, wanted: true }, []];
/** @type {Cell} */
const unwant = (c) => [{ ...c, wanted: false }, []];

/** Opens a socket for this attempt. @type {Cell} */
const open = (c, _, { now }) => [{ ...c, state: "connecting", deadlineAt: now + CONNECT_MS, reason: "", code: 0 }, ["open"]];
/** Opens a socket and resets the counts. @type {Cell} */
const connect = (c, event, chance) => open({ ...c, attempt: 0, failures: 0, renewed: false }, event, chance);
/** @type {Cell} */
const connectWanted = (c, event, chance) => connect({ ...c, wanted: true }, event, chance);
/** Continues the attempt on a new socket. @type {Cell} */
const reopen = (c, event, chance) => [open(c, event, chance)[0], ["detach", "open"]];

/** @type {Cell} */
const alive = (c, _, { now }) => [{ ...c, deadlineAt: now + SILENCE_MS }, []];
/** Only a delivery resets the backoff. A socket that opens and closes again does not. @type {Cell} */
const goLive = (c, event, chance) => alive({ ...c, state: "live", attempt: 0, failures: 0, renewed: false }, event, chance);
/** @type {Cell} */
const probe = (c, _, { now }) => [{ ...c, deadlineAt: Math.min(c.deadlineAt, now + PROBE_MS) }, ["probe"]];
/** @param {Cell} next @returns {Cell} */
const andLook = (next) => (c, event, chance) => {
  const [after, effects] = next(c, event, chance);
  return [after, [...effects, "look"]];
};

/** @type {Cell} */
const finish = (c, _, { now }) => [
  { ...c, state: "finished", wanted: false, attempt: 0, failures: 0, deadlineAt: c.looks ? now + LOOK_MS : Infinity },
  [],
];
/** Checks for runs that others have started. @type {Cell} */
const lookAgain = (c, event, chance) => [finish(c, event, chance)[0], c.looks ? ["look"] : []];

/** Waits for the next attempt, or finishes if nothing is wanted. @type {Cell} */
const wait = (c, event, chance) => {
  if (!c.wanted) return finish(c, event, chance);
  const attempt = c.attempt + 1;
  const deadlineAt = chance.now + (asked(event) ?? backoffMs(attempt, chance.random));
  return [{ ...c, state: "waiting", attempt, deadlineAt }, []];
};
/** @type {Cell} */
const fail = (c, event, chance) => wait({ ...c, failures: c.failures + 1 }, event, chance);
/** @type {Cell} */
const refuse = (c, event) => [
  { ...c, state: "refused", deadlineAt: Infinity, code: event.code, reason: event.reason || `closed with ${event.code}` },
  [],
];
/** The edge wants to know who this is, and was told nothing valid. @type {Cell} */
const deny = (c, event, chance) =>
  c.renews && !c.renewed
    ? [{ ...open(c, event, chance)[0], renewed: true }, ["renew", "open"]]
    : refuse(c, { reason: event.reason, code: UNAUTHENTICATED }, chance);
/** @type {Cell} */
const detachAndDeny = (c, event, chance) => {
  const [after, effects] = deny(c, event, chance);
  return [after, ["detach", ...effects]];
};
/** A 44xx close code is final. @param {Cell} next @returns {Cell} */
const orRefused = (next) => (c, event, chance) => {
  if (event.code === UNAUTHENTICATED) return deny(c, event, chance);
  return event.code >= 4400 && event.code < 4500 ? refuse(c, event, chance) : next(c, event, chance);
};
/** @param {Cell} next @returns {Cell} */
const detachThen = (next) => (c, event, chance) => [next(c, event, chance)[0], ["detach"]];
/** No frame arrived. A late timer may run before waiting frames, so the socket is probed first. @type {Cell} */
const silence = (c, event, chance) =>
  event.lateMs > LATE_MS
    ? [{ ...c, deadlineAt: chance.now + PROBE_MS }, ["probe"]]
    : detachThen(wait)(c, event, chance);
/** Nothing was delivered. A late timer means that the page was frozen, and the attempt continues. @type {Cell} */
const giveUp = (c, event, chance) => (event.lateMs > LATE_MS ? reopen : detachThen(fail))(c, event, chance);
/** A page from the back/forward cache replaces its socket. @type {Cell} */
const probeOrReopen = (c, event, chance) => (event.restored ? reopen : probe)(c, event, chance);
/** A socket that was opened on another network, or before the machine slept, may hang for minutes. @type {Cell} */
const stayOrReopen = (c, event, chance) =>
  (event.restored || chance.now > c.deadlineAt - CONNECT_MS + STUCK_MS ? reopen : stay)(c, event, chance);
/** The back/forward cache does not accept a page with an open socket. @type {Cell} */
const leave = (c, event, chance) =>
  c.wanted ? [{ ...c, state: "waiting", deadlineAt: Infinity }, ["detach"]] : detachThen(finish)(c, event, chance);

/** @type {Record<ConnectionState, Record<ConnectionEventType, Cell>>} */
// prettier-ignore
export const TABLE = {
  idle: {
    watch: connectWanted, rest: unwant, frame: stay, delivered: stay,
    closed: stay, deadline: stay, wake: stay, retry: connect, leave: stay, denied: stay,
  },
  connecting: {
    watch: want, rest: unwant, frame: stay, delivered: goLive,
    closed: orRefused(fail), deadline: giveUp, wake: andLook(stayOrReopen), retry: andLook(reopen), leave, denied: detachAndDeny,
  },
  live: {
    watch: want, rest: unwant, frame: alive, delivered: alive,
    closed: orRefused(wait), deadline: silence, wake: andLook(probeOrReopen), retry: probe, leave, denied: stay,
  },
  waiting: {
    watch: want, rest: finish, frame: stay, delivered: stay,
    closed: stay, deadline: open, wake: andLook(open), retry: andLook(open), leave: stay, denied: deny,
  },
  finished: {
    watch: connectWanted, rest: stay, frame: stay, delivered: stay,
    closed: stay, deadline: lookAgain, wake: lookAgain, retry: connect, leave: stay, denied: deny,
  },
  refused: {
    watch: want, rest: unwant, frame: stay, delivered: stay,
    closed: stay, deadline: stay, wake: stay, retry: connect, leave: stay, denied: stay,
  },
};

/**
 * Handles an event.
 *
 * @param {Connection} connection
 * @param {ConnectionEvent} event
 * @param {Chance} chance
 * @returns {Step} the next state, and the effects to carry out in order
 */
export function step(connection, event, chance) {
  return TABLE[connection.state][event.type](connection, event, chance);
}

/** The wait before an attempt, ms. @param {number} attempt from 1 @param {number} random from 0 up to 1 */
export function backoffMs(attempt, random) {
  const base = attempt > MAX_ATTEMPTS ? 30_000 : BACKOFF_MS[Math.min(attempt, BACKOFF_MS.length) - 1];
  return base * (0.8 + 0.2 * random);
}

/** Whether something else is needed during the attempts: a stream over HTTP, or polling. @param {Connection} c */
export function polls(c) {
  return c.wanted && c.failures >= POLL_AFTER_FAILURES && (c.state === "waiting" || c.state === "connecting");
}

/** The wait that a draining edge asked for, ms. @param {any} event */
function asked(event) {
  const ms = event?.retryAfterMs;
  return typeof ms === "number" && ms >= 0 ? Math.min(ms, MAX_RETRY_AFTER_MS) : undefined;
}

/** A stream that has delivered nothing for this long is not waited for: polling starts beside it. */
export const STREAM_MS = 3000;
/** A stream that has lived for this long resets the waits between streams. */
export const STEADY_MS = 10_000;

/**
 * What carries events while sockets fail: a stream over HTTP (stream.js), or polling where that fails too.
 *
 *   off        not needed
 *   asked      a stream is asked for; nothing was delivered on it
 *   both       so it is, for more than 3 s: the edge is polled meanwhile
 *   streaming  the stream delivers. It does not tell of pictures: these are polled
 *   polling    the edge is polled; the next stream is asked for at `deadlineAt`
 *
 * @type {Fallback}
 */
export const OFF = { state: "off", deadlineAt: Infinity, tries: 0, askedAt: 0 };

/** @type {FallbackCell} */
const keep = (f) => [f, []];
/** @type {FallbackCell} */
const end = () => [OFF, ["close", "rest"]];
/** @param {Fallback["state"]} state @param {number} ms @returns {FallbackCell} */
const ask = (state, ms) => (f, _, { now }) => [{ ...f, state, askedAt: now, deadlineAt: now + ms }, ["stream"]];
/** @type {FallbackCell} */
const pollToo = (f, _, { now }) => [{ ...f, state: "both", deadlineAt: now + SILENCE_MS }, ["poll"]];
/** @type {FallbackCell} */
const flow = (f, _, { now }) => [
  { ...f, state: "streaming", deadlineAt: now + SILENCE_MS, tries: now - f.askedAt < STEADY_MS ? f.tries : 0 },
  f.state === "streaming" ? [] : ["pictures"],
];
/** @type {FallbackCell} */
const poll = (f, event, { now, random }) => {
  const tries = f.tries + 1;
  const deadlineAt = now + (asked(event) ?? backoffMs(tries, random));
  return [{ ...f, state: "polling", tries, deadlineAt }, ["close", "poll"]];
};

/** @type {Record<Fallback["state"], Record<FallbackEventType, FallbackCell>>} */
// prettier-ignore
export const FALLBACK = {
  off: {
    start: ask("asked", STREAM_MS), stop: keep, frame: keep, delivered: keep,
    closed: keep, deadline: keep, wake: keep, leave: keep,
  },
  asked: {
    start: keep, stop: end, frame: keep, delivered: flow,
    closed: poll, deadline: pollToo, wake: ask("asked", STREAM_MS), leave: poll,
  },
  both: {
    start: keep, stop: end, frame: keep, delivered: flow,
    closed: poll, deadline: poll, wake: ask("both", SILENCE_MS), leave: poll,
  },
  streaming: {
    start: keep, stop: end, frame: flow, delivered: flow,
    closed: poll, deadline: poll, wake: ask("streaming", PROBE_MS), leave: poll,
  },
  polling: {
    start: keep, stop: end, frame: keep, delivered: keep,
    closed: keep, deadline: ask("both", SILENCE_MS), wake: ask("both", SILENCE_MS), leave: keep,
  },
};
