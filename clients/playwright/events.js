/** What Playwright Test reports, as events of a run. Pure. */

export const PHASES = ["Collecting", "Testing", "Finishing"];

const MAX_DETAIL_CHARS = 4000; // as much of a failure's text as the page shows
const MAX_MESSAGE_CHARS = 400;
/** Shorter values of variables are no secrets, or would be found in every text. */
const MIN_SECRET_CHARS = 8;
const SECRET_NAME = /token|secret|passw|credential|api_?key|private_?key/i;
// Escape sequences: colours in messages of failures.
// eslint-disable-next-line no-control-regex
const ANSI = /\x1b\[[0-9;?]*[ -/]*[@-~]/g;

/**
 * Makes a function that takes secrets out of texts: the token, and the values of variables whose names say that they are
 * secret.
 *
 * @param {Record<string, string|undefined>} environment
 * @param {string[]} known
 */
export function redactor(environment, known = []) {
  const named = Object.entries(environment).flatMap(([name, value]) => (value && SECRET_NAME.test(name) ? [value] : []));
  const secrets = [...known, ...named].map((each) => each.trim()).filter((each) => each.length >= MIN_SECRET_CHARS);
  secrets.sort((a, b) => b.length - a.length); // one may contain another
  return (/** @type {string} */ text) => secrets.reduce((rest, secret) => rest.replaceAll(secret, "***"), text);
}

/** @param {string} text @param {number} limit */
const cut = (text, limit) => (text.length <= limit ? text : `${text.slice(0, limit - 1)}…`).toWellFormed();
/** @param {string} text */
const oneLine = (text) => cut(text.replace(ANSI, "").replace(/\s+/g, " ").trim(), MAX_MESSAGE_CHARS);

/** @param {number} number from 1 @param {number} now ms @param {Record<string, any>} [more] */
export function phase(number, now, more = {}) {
  const message = PHASES[number - 1];
  return { type: "status", status: "running", phase: `phase${number}`, message, timestamp: now, data: { phases: PHASES, ...more } };
}

/** @param {number} tests @param {number} workers @param {number} now ms */
export function collected(tests, workers, now) {
  const message = `${tests} ${tests === 1 ? "test" : "tests"}, ${workers} ${workers === 1 ? "worker" : "workers"}`;
  return { type: "progress", message, timestamp: now, data: { collected: tests } };
}

/**
 * The line of a test that has ended, or of one try at it.
 *
 * @param {{titlePath(): string[], expectedStatus: string, retries: number}} test
 * @param {{status: string, duration: number, retry: number, errors: any[]}} result
 * @param {number} now ms
 * @param {(text: string) => string} redacted
 */
export function testEnded(test, result, now, redacted) {
  const good = result.status === test.expectedStatus;
  const word = !good || result.status === "skipped" ? result.status : "passed";
  const again = !good && result.status !== "interrupted" && result.retry < test.retries ? ", is tried again" : "";
  const tried = result.retry > 0 ? `, retry ${result.retry}` : "";
  const name = test.titlePath().filter(Boolean).join(" › ");
  const took = `${(result.duration / 1000).toFixed(2)} s`;
  const message = oneLine(redacted(`${word.toUpperCase()} ${name} (${took}${tried}${again})`));
  const data = { test: cut(redacted(name), MAX_DETAIL_CHARS), outcome: word, durationS: result.duration / 1000 };
  if (good) return { type: "progress", message, timestamp: now, data };
  return { type: "progress", message, timestamp: now, data: { ...data, kind: "test", detail: detailOf(result.errors, redacted) } };
}

/** An error outside tests. @param {any} error @param {number} now ms @param {(text: string) => string} redacted */
export function wentWrong(error, now, redacted) {
  const detail = detailOf([error], redacted);
  return { type: "progress", message: oneLine(`ERROR ${detail.split("\n")[0]}`), timestamp: now, data: { kind: "test", detail } };
}

/** @param {any[]} errors @param {(text: string) => string} redacted */
function detailOf(errors, redacted) {
  const texts = errors.map(({ message, stack, value, snippet }) => [message ?? stack ?? value ?? "", snippet ?? ""].join("\n"));
  return cut(redacted(texts.join("\n").replace(ANSI, "").trim()), MAX_DETAIL_CHARS);
}

/**
 * The run's last event.
 *
 * @param {"passed"|"failed"|"timedout"|"interrupted"} status
 * @param {string[]} outcomes of all tests, as `TestCase.outcome()` has them
 * @param {{durationMs: number, score: boolean, now: number}} more
 */
export function ended(status, outcomes, { durationMs, score, now }) {
  const count = (/** @type {string} */ outcome) => outcomes.filter((each) => each === outcome).length;
  const [passed, failed, flaky, skipped] = ["expected", "unexpected", "flaky", "skipped"].map(count);
  const counts = { failed, passed, flaky, skipped };
  const words = Object.entries(counts).flatMap(([name, n]) => (n ? [`${n} ${name}`] : []));
  const message = words.join(", ") || "no tests ran";
  const metrics = { tests: outcomes.length, ...counts, seconds: Math.round(durationMs / 100) / 10 };
  const ran = passed + flaky + failed;
  const scored = score && ran > 0 ? { score: Math.round((10_000 * (passed + flaky)) / ran) / 100 } : {};
  if (status === "passed" || (status === "failed" && "score" in scored))
    return { type: "complete", phase: "phase3", message, timestamp: now, data: { metrics, ...scored } };
  const code = status === "failed" ? "tests_failed" : status;
  const why = { failed: message, timedout: `timed out: ${message}`, interrupted: `interrupted: ${message}` }[status];
  return { type: "error", status: "failed", phase: "phase3", message: why, timestamp: now, data: { code, metrics } };
}
