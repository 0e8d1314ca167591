/** How the main page shows its tests, as the address says it: cards or a table, the table's order, and groups. Pure. */

import { COLUMNS, NEWEST_FIRST } from "./sorting.js";

/** @typedef {{table: boolean, grouped: boolean, sort: import("./sorting.js").Sort}} ViewState */

const NAMES = ["view", "group", "sort"];

/** @param {string} search of an address @returns {ViewState} */
export function viewState(search) {
  const said = new URLSearchParams(search);
  const [, minus, name] = /^(-?)([a-z]+)$/.exec(said.get("sort") ?? "") ?? [];
  const column = COLUMNS.find(([each]) => each === name)?.[0];
  return {
    table: said.get("view") === "table",
    grouped: said.get("group") === "game",
    sort: column ? { column, down: minus === "-" } : NEWEST_FIRST,
  };
}

/** Whether an address says anything of it. @param {string} search */
export const saysView = (search) => NAMES.some((name) => new URLSearchParams(search).has(name));

/** @param {string} search @param {ViewState} state @returns {string} `search` with this state, or "" */
export function withViewState(search, { table, grouped, sort }) {
  const all = new URLSearchParams(search);
  const newestFirst = sort.column === NEWEST_FIRST.column && sort.down === NEWEST_FIRST.down;
  const values = [table && "table", grouped && "game", !newestFirst && (sort.down ? "-" : "") + sort.column];
  NAMES.forEach((name, n) => (values[n] ? all.set(name, String(values[n])) : all.delete(name)));
  return all.size ? `?${all}` : "";
}
