import { existsSync } from "node:fs";

import { expect, test } from "@playwright/test";

test.describe("the game", () => {
  test("starts", async ({ page }) => {
    await page.setContent("<h1>Star Hopper</h1>");
    await expect(page.getByRole("heading")).toHaveText("Star Hopper");
  });
  test("needs luck", async ({}, info) => expect(info.retry).toBe(1));
  test("waits for its reader", async () => expect.poll(() => existsSync(process.env.GO_ON), { timeout: 120_000 }).toBe(true));
  test("has a score", () => expect(`score ${process.env.GAME_TOKEN}`).toBe("score 42"));
  test.skip("flies", () => {});
  test("never ends", () => {
    test.fail();
    expect(1).toBe(2);
  });
});
