/** Points in time for the reader, in the reader's time zone. Pure: the current time is an argument. */

import { clock } from "./format.js";

const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY_MS = 86_400_000;

/** The date, or null if `ms` is not a time. @param {number|undefined} ms */
function dateOf(ms) {
  const date = new Date(ms ?? NaN);
  return Number.isNaN(date.getTime()) ? null : date;
}

/** @param {Date} date */
const midnight = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();

/**
 * `12:03:07` today, `Mon 12:03` on the six days before, `12 Nov 12:03` on other days of this year, and
 * `12 Nov 2025 12:03` in other years; "--:--:--" if `ms` is not a time.
 *
 * @param {number|undefined} ms
 * @param {number} now ms
 */
export function when(ms, now) {
  const [date, today] = [dateOf(ms), dateOf(now)];
  if (!date || !today) return clock(ms);
  const days = Math.round((midnight(today) - midnight(date)) / DAY_MS); // a day may have 23 or 25 hours
  if (days === 0) return clock(ms);
  const minute = clock(ms).slice(0, 5);
  if (days > 0 && days < 7) return `${DAYS[date.getDay()]} ${minute}`;
  const year = date.getFullYear() === today.getFullYear() ? "" : ` ${date.getFullYear()}`;
  return `${date.getDate()} ${MONTHS[date.getMonth()]}${year} ${minute}`;
}

/** `Wed 25 Nov 2026`, which is different for every day; "" if `ms` is not a time. @param {number|undefined} ms */
export function day(ms) {
  const date = dateOf(ms);
  return date ? `${DAYS[date.getDay()]} ${date.getDate()} ${MONTHS[date.getMonth()]} ${date.getFullYear()}` : "";
}

/** `Wed 25 Nov 2026, 23:59:58 GMT+0100`; "" if `ms` is not a time. @param {number|undefined} ms */
export function fullTime(ms) {
  const date = dateOf(ms);
  return date ? `${day(ms)}, ${clock(ms)} ${/GMT[+-]\d+/.exec(String(date))?.[0] ?? ""}`.trim() : "";
}

/** For the attribute `datetime`; null if `ms` is not a time that it can hold. @param {number|undefined} ms */
export function machineTime(ms) {
  const date = dateOf(ms);
  return date && date.getFullYear() > 0 && date.getFullYear() < 10_000 ? date.toISOString() : null;
}
