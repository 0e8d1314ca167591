/** What the address of a page says about what it shows. Parts that are not known stay as they are. Pure. */

import { GROUPS } from "./lines.js";

/** @type {ReadonlyArray<Filter>} */
export const FILTERS = ["all", "running", "queued", "completed", "failed", "cancelled", "pinned"];
/** The most open feeds that an address names. */
export const MAX_OPEN = 10;
const ID = /^[0-9a-f-]{36}$/;

/** @typedef {{filter: Filter, query: string, open: string[]}} ListState */

/** @param {string} search of an address @returns {ListState} */
export function listState(search) {
  const said = new URLSearchParams(search);
  const open = (said.get("open") ?? "").split(",").filter((id) => ID.test(id));
  return {
    filter: FILTERS.find((filter) => filter === said.get("status")) ?? "all",
    query: said.get("q") ?? "",
    open: [...new Set(open)].slice(0, MAX_OPEN),
  };
}

/** @param {string} search @param {ListState} state @returns {string} `search` with this state, or "" */
export function withListState(search, { filter, query, open }) {
  return changed(search, {
    status: filter === "all" ? "" : filter,
    q: query,
    open: open.slice(-MAX_OPEN).join(","),
  });
}

/** @param {string} search @returns {{group: Group, sought: string}} the filter and the search of a feed */
export function feedState(search) {
  const said = new URLSearchParams(search);
  return { group: GROUPS.find(([group]) => group === said.get("show"))?.[0] ?? "all", sought: said.get("q") ?? "" };
}

/** @param {string} search @param {{group: Group, sought: string}} state @returns {string} */
export const withFeedState = (search, { group, sought }) =>
  changed(search, { show: group === "all" ? "" : group, q: sought });

/**
 * The moment that `#12` (an event) or `#12@345` (a picture, after that event) names; null if there is none.
 *
 * @param {string} hash
 * @returns {{seq: number, number: number}|null}
 */
export function momentOf(hash) {
  const [, seq, number = "0"] = /^#([1-9]\d{0,15})(?:@([1-9]\d{0,15}))?$/.exec(hash) ?? [];
  return seq ? { seq: Number(seq), number: Number(number) } : null;
}

/** The event that `#12` names; 0 if there is none. @param {string} hash */
export const seqOf = (hash) => momentOf(hash)?.seq ?? 0;

/** The address of a moment. @param {{seq: number, number: number}} moment */
export const hashOf = ({ seq, number }) => (number ? `#${seq}@${number}` : `#${seq}`);

/** @param {string} search @param {Record<string, string>} values empty ones are left out */
function changed(search, values) {
  const all = new URLSearchParams(search);
  for (const [name, value] of Object.entries(values)) value ? all.set(name, value) : all.delete(name);
  return all.size ? `?${all}` : "";
}
