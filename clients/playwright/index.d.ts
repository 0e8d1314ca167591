import type { FullConfig, FullResult, Reporter, Suite, TestCase, TestError, TestResult } from "@playwright/test/reporter";

export interface Options {
  /** The edge's address; by default `TESTCAST_EDGE_URL`. Without either, nothing is shown. */
  url?: string;
  /** The file with the token, for an edge that asks who publishes; by default `TESTCAST_TOKEN_FILE`. */
  tokenFile?: string;
  /** By default "Playwright" and the name of the folder. */
  title?: string;
  /** The project of testcast that the run belongs to. */
  project?: string;
  labels?: Record<string, string>;
  /** Shown as the tested address; by default the first `baseURL` of the configuration. */
  gameUrl?: string;
  /** The run ends with a score: the share of tests that passed, in percent. Then failed tests are no failed run. */
  score?: boolean;
}

/** A reporter for Playwright Test: `reporter: [["@testcast/playwright-reporter", { url }]]`. */
export default class TestcastReporter implements Reporter {
  constructor(options?: Options);
  onBegin(config: FullConfig, suite: Suite): void;
  onTestEnd(test: TestCase, result: TestResult): void;
  onError(error: TestError): void;
  onEnd(result: FullResult): Promise<void>;
  printsToStdio(): boolean;
}
