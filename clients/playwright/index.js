/**
 * A reporter for Playwright Test: the suite becomes a run of testcast, which can be watched while it goes on. Whatever goes
 * wrong with that, the suite does not notice: one line at its end says so.
 */

import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { basename } from "node:path";

import { collected, ended, phase, redactor, testEnded, wentWrong } from "./events.js";
import { Publisher } from "./publisher.js";

const MAX_TITLE_CHARS = 120;

/** @implements {Pick<import("@playwright/test/reporter").Reporter, "onBegin">} */
export default class TestcastReporter {
  /** @param {import("./index.js").Options} [options] */
  constructor(options = {}) {
    this.options = options;
    /** @type {Publisher|null} */
    this.publisher = null;
    /** Why nothing is shown. */
    this.trouble = "";
    this.redacted = redactor(process.env);
    /** @type {import("@playwright/test/reporter").Suite|null} */
    this.suite = null;
    this.ofTests = false;
  }

  /** The lines at the end go beside those of another reporter. */
  printsToStdio() {
    return false;
  }

  /** @param {import("@playwright/test/reporter").FullConfig} config @param {import("@playwright/test/reporter").Suite} suite */
  onBegin(config, suite) {
    this.harmless(() => {
      const { url, token, about } = settingsOf(this.options, config);
      if (!url) return;
      if (token) this.redacted = redactor(process.env, [token]);
      this.suite = suite;
      this.publisher = new Publisher(url, token, about);
      this.tell(phase(1, Date.now(), { attempt: 1, worker: `${hostname()}:${process.pid}` }));
      this.tell(collected(suite.allTests().length, config.workers, Date.now()));
    });
  }

  /** @param {import("@playwright/test/reporter").TestCase} test @param {import("@playwright/test/reporter").TestResult} result */
  onTestEnd(test, result) {
    this.harmless(() => {
      if (!this.ofTests) this.tell(phase(2, Date.now()));
      this.ofTests = true;
      this.tell(testEnded(test, result, Date.now(), this.redacted));
    });
  }

  /** @param {import("@playwright/test/reporter").TestError} error */
  onError(error) {
    this.harmless(() => this.tell(wentWrong(error, Date.now(), this.redacted)));
  }

  /** @param {import("@playwright/test/reporter").FullResult} result */
  async onEnd({ status, duration }) {
    const { publisher, suite } = this;
    try {
      if (publisher && suite) {
        const outcomes = suite.allTests().map((test) => (test.results.length ? test.outcome() : "skipped"));
        const more = { durationMs: duration, score: this.options.score === true, now: Date.now() };
        this.tell(phase(3, Date.now()));
        await publisher.finish(ended(status, outcomes, more));
      }
    } catch (error) {
      this.trouble ||= String(error);
    }
    if (publisher?.testId) console.log(`testcast: ${publisher.base}tests/${publisher.testId}`);
    const trouble = this.trouble || publisher?.trouble;
    const missing = publisher?.missing ? ` (${publisher.missing} events are missing)` : "";
    if (trouble) console.warn(`testcast: the suite is not shown as a whole: ${this.redacted(trouble)}${missing}`);
  }

  /** @param {any} event */
  tell(event) {
    this.publisher?.put(event);
  }

  /** The suite goes on, whatever happens here. @param {() => void} act */
  harmless(act) {
    try {
      act();
    } catch (error) {
      this.trouble ||= error instanceof Error ? error.message : String(error);
    }
  }
}

/**
 * @param {import("./index.js").Options} options
 * @param {import("@playwright/test/reporter").FullConfig} config
 * @returns {{url: URL|null, token: string, about: Record<string, any>}} url null: nothing is to be shown
 * @throws naming the option that is wrong
 */
function settingsOf(options, config) {
  const given = options.url ?? process.env.TESTCAST_EDGE_URL;
  const about = {
    title: (options.title ?? `Playwright in ${basename(config.rootDir)}`).slice(0, MAX_TITLE_CHARS),
    gameUrl: options.gameUrl ?? config.projects.map(({ use }) => use.baseURL).find((each) => /^https?:/.test(each ?? "")),
    project: options.project,
    labels: options.labels,
  };
  if (!given) return { url: null, token: "", about };
  if (!URL.canParse(given)) throw new TypeError("url: not an address"); // it is not repeated: it may hold a secret
  const url = new URL(given);
  if (!/^https?:$/.test(url.protocol)) throw new TypeError("url: expected http:// or https://");
  if (url.username || url.password) throw new TypeError("url: give the token in a file (tokenFile), not in the address");
  const file = options.tokenFile ?? process.env.TESTCAST_TOKEN_FILE;
  if (!file) return { url, token: "", about };
  let token;
  try {
    token = readFileSync(file, "utf8").trim();
  } catch {
    throw new Error(`tokenFile: ${file} cannot be read`);
  }
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Error(`tokenFile: ${file} holds no token`);
  return { url, token, about };
}
