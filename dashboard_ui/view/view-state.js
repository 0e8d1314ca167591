/** How the main page shows its tests, as the address says it: cards or a table, the table's order, and groups. Pure. */

/** @typedef {"when"|"title"|"status"|"phase"|"score"|"duration"|"label"|"agent"} Column */
/** @typedef {{column: Column, down: boolean}} Sort down: the largest, the newest or Z first */
/** @typedef {{table: boolean, grouped: boolean, sort: Sort}} ViewState */

/** Of the table, in order. @type {ReadonlyArray<Column>} */
export const COLUMNS = ["when", "title", "status", "phase", "score", "duration", "label", "agent"];
/** @type {Sort} */
export const NEWEST_FIRST = { column: "when", down: true };

const NAMES = ["view", "group", "sort"];

/** @param {string} search of an address @returns {ViewState} */
export function viewState(search) {
  const said = new URLSearchParams(search);
  const [, minus, name] = /^(-?)([a-z]+)$/.exec(said.get("sort") ?? "") ?? [];
  const column = COLUMNS.find((each) => each === name);
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
