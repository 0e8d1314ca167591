/**
 * When the page's one socket is opened, given up and tried again: one table of states × events (DESIGN 7).
 * Pure: the time and the random number come with the event, and what is to be done goes out as effects.
 *
 *   idle        nothing asked for yet
 *   connecting  a socket was asked for; nothing was delivered on it
 *   live        something was delivered
 *   waiting     the next attempt starts at `deadlineAt`
 *   finished    every watched test has ended: no socket, no attempts; whoever shows a list looks at it now and then
 *   refused     the edge closed with a 44xx: no attempts
 *
 * Polling is no state of its own: it goes on beside `waiting` and `connecting` once two attempts have
 * failed (`polls`), so a socket that comes back ends it and one that dies again does not restart it. And
 * whenever somebody looks again (`wake`), one question over HTTP goes out beside whatever the socket does
 * (`look`): the page is current after one round trip, even if the socket turns out to be dead.
 */

/** Delays before attempt 1, 2, 3, …; the last is for every one after. Each times 0.8 to 1.0 by chance. */
export const BACKOFF_MS = [1000, 2000, 4000, 8000, 16_000, 30_000];
/** Attempts that are counted; after them one every 30 s, for ever. */
export const MAX_ATTEMPTS = 10;
/** Failed attempts before polling starts. */
export const POLL_AFTER_FAILURES = 2;
/** An edge beats every 15 s; two beats and a little mean that nobody is there. */
export const SILENCE_MS = 35_000;
/** For a new socket to deliver something: longer than one heartbeat. */
export const CONNECT_MS = 20_000;
/** For a frame to come after a probe. */
export const PROBE_MS = 5000;
/** A timer this late means that the page was frozen: frames may be waiting behind it. */
export const LATE_MS = 2000;
/** A new socket that has delivered nothing for so long is not waited for when somebody looks. */
export const STUCK_MS = 2000;
/** Between two looks at the list while nothing is expected. */
export const LOOK_MS = 30_000;
/** Longest wait that a goodbye may ask for. */
export const MAX_RETRY_AFTER_MS = 60_000;

/** @type {Connection} */
export const IDLE = {
  state: "idle",
  wanted: false,
  looks: false,
  attempt: 0,
  failures: 0,
  deadlineAt: Infinity,
  reason: "",
};

/** @type {Cell} */
const stay = (c) => [c, []];
/** @type {Cell} */
const want = (c) => [{ ...c, wanted: true }, []];
/** @type {Cell} */
const unwant = (c) => [{ ...c, wanted: false }, []];

/** A socket for this attempt. @type {Cell} */
const open = (c, _, { now }) => [{ ...c, state: "connecting", deadlineAt: now + CONNECT_MS, reason: "" }, ["open"]];
/** A socket, with the counts at their start. @type {Cell} */
const connect = (c, event, chance) => open({ ...c, attempt: 0, failures: 0 }, event, chance);
/** @type {Cell} */
const connectWanted = (c, event, chance) => connect({ ...c, wanted: true }, event, chance);
/** The same attempt on a new socket. @type {Cell} */
const reopen = (c, event, chance) => [open(c, event, chance)[0], ["detach", "open"]];

/** @type {Cell} */
const alive = (c, _, { now }) => [{ ...c, deadlineAt: now + SILENCE_MS }, []];
/** Only what was delivered resets the backoff; an open that is cut again does not. @type {Cell} */
const goLive = (c, event, chance) => alive({ ...c, state: "live", attempt: 0, failures: 0 }, event, chance);
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
/** Somebody else may have started a run. @type {Cell} */
const lookAgain = (c, event, chance) => [finish(c, event, chance)[0], c.looks ? ["look"] : []];

/** The next attempt, after a wait; or none, when nobody waits for anything. @type {Cell} */
const wait = (c, event, chance) => {
  if (!c.wanted) return finish(c, event, chance);
  const attempt = c.attempt + 1;
  const deadlineAt = chance.now + (asked(event) ?? backoffMs(attempt, chance.random));
  return [{ ...c, state: "waiting", attempt, deadlineAt }, []];
};
/** @type {Cell} */
const fail = (c, event, chance) => wait({ ...c, failures: c.failures + 1 }, event, chance);
/** After a 44xx there is no next time. @param {Cell} next @returns {Cell} */
const orRefused = (next) => (c, event, chance) =>
  event.code >= 4400 && event.code < 4500
    ? [{ ...c, state: "refused", deadlineAt: Infinity, reason: event.reason || `closed with ${event.code}` }, []]
    : next(c, event, chance);
/** @param {Cell} next @returns {Cell} */
const detachThen = (next) => (c, event, chance) => [next(c, event, chance)[0], ["detach"]];
/** A frozen page's timer runs before the frames that wait behind it: ask first. @type {Cell} */
const silence = (c, event, chance) =>
  event.lateMs > LATE_MS
    ? [{ ...c, deadlineAt: chance.now + PROBE_MS }, ["probe"]]
    : detachThen(wait)(c, event, chance);
/** Nothing was delivered in time; a page that slept has not given the socket that time. @type {Cell} */
const giveUp = (c, event, chance) => (event.lateMs > LATE_MS ? reopen : detachThen(fail))(c, event, chance);
/** A page from the back/forward cache does not trust its old socket. @type {Cell} */
const probeOrReopen = (c, event, chance) => (event.restored ? reopen : probe)(c, event, chance);
/** A socket asked for from another network, or before a sleep, may hang for long. @type {Cell} */
const stayOrReopen = (c, event, chance) =>
  event.restored || chance.now > c.deadlineAt - CONNECT_MS + STUCK_MS ? reopen(c, event, chance) : stay(c, event, chance);
/** Into the back/forward cache, which takes no page with an open socket. @type {Cell} */
const leave = (c, event, chance) =>
  c.wanted ? [{ ...c, state: "waiting", deadlineAt: Infinity }, ["detach"]] : detachThen(finish)(c, event, chance);

/** @type {Record<ConnectionState, Record<ConnectionEventType, Cell>>} */
// prettier-ignore
export const TABLE = {
  idle: {
    watch: connectWanted, rest: unwant, frame: stay, delivered: stay,
    closed: stay, deadline: stay, wake: stay, retry: connect, leave: stay,
  },
  connecting: {
    watch: want, rest: unwant, frame: stay, delivered: goLive,
    closed: orRefused(fail), deadline: giveUp, wake: andLook(stayOrReopen), retry: andLook(reopen), leave,
  },
  live: {
    watch: want, rest: unwant, frame: alive, delivered: alive,
    closed: orRefused(wait), deadline: silence, wake: andLook(probeOrReopen), retry: probe, leave,
  },
  waiting: {
    watch: want, rest: finish, frame: stay, delivered: stay,
    closed: stay, deadline: open, wake: andLook(open), retry: andLook(open), leave: stay,
  },
  finished: {
    watch: connectWanted, rest: stay, frame: stay, delivered: stay,
    closed: stay, deadline: lookAgain, wake: lookAgain, retry: connect, leave: stay,
  },
  refused: {
    watch: want, rest: unwant, frame: stay, delivered: stay,
    closed: stay, deadline: stay, wake: stay, retry: connect, leave: stay,
  },
};

/**
 * @param {Connection} connection
 * @param {ConnectionEvent} event
 * @param {Chance} chance
 * @returns {Step} the next state, and what is to be done, in order
 */
export function step(connection, event, chance) {
  return TABLE[connection.state][event.type](connection, event, chance);
}

/** How long to wait before an attempt, ms. @param {number} attempt from 1 @param {number} random from 0 up to 1 */
export function backoffMs(attempt, random) {
  const base = attempt > MAX_ATTEMPTS ? 30_000 : BACKOFF_MS[Math.min(attempt, BACKOFF_MS.length) - 1];
  return base * (0.8 + 0.2 * random);
}

/** Whether to poll beside the attempts. @param {Connection} c */
export function polls(c) {
  return c.wanted && c.failures >= POLL_AFTER_FAILURES && (c.state === "waiting" || c.state === "connecting");
}

/** What a draining edge asked us to wait, ms. @param {any} event */
function asked(event) {
  const ms = event?.retryAfterMs;
  return typeof ms === "number" && ms >= 0 ? Math.min(ms, MAX_RETRY_AFTER_MS) : undefined;
}
