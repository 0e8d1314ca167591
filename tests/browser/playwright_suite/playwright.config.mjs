// A small suite with every outcome there is, for the reporter's test.
import { defineConfig } from "@playwright/test";

export default defineConfig({
  testDir: ".",
  workers: 1,
  timeout: 150_000, // a busy machine is slow, and that is no failure
  expect: { timeout: 20_000 },
  retries: 1,
  reporter: [["@testcast/playwright-reporter", { title: "A small suite", labels: { commit: "abc" }, score: true }]],
  use: {
    baseURL: "http://127.0.0.1:9/",
    launchOptions: { executablePath: process.env.CHROMIUM, args: JSON.parse(process.env.CHROMIUM_FLAGS) },
  },
});
