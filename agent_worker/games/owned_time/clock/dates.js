// What tells the time: Date, performance, Intl, Temporal, timelines, and the stamp of an event.

function replaceDates(core, { window, replace, answer }) {
  const { Date, Event, Intl, Performance, Temporal } = window;
  const now = () => Math.floor(EPOCH_MS + core.read());
  const OwnedDate = new Proxy(Date, {
    construct: (target, args, made) => Reflect.construct(target, args.length ? args : [now()], made === OwnedDate ? target : made),
    apply: () => new Date(now()).toString(),
    get: (target, name) => (name === "now" ? now : Reflect.get(target, name)),
  });
  Date.prototype.constructor = OwnedDate;
  replace(window, "Date", OwnedDate);

  const { mark, measure, getEntries, getEntriesByType, getEntriesByName } = Performance.prototype;
  replace(Performance.prototype, "now", () => core.read());
  answer(Performance.prototype, "timeOrigin", () => EPOCH_MS);
  const memory = Object.freeze({ jsHeapSizeLimit: 4e9, totalJSHeapSize: 2e7, usedJSHeapSize: 1e7 });
  answer(Performance.prototype, "memory", () => memory);
  const timing = new Proxy(window.performance.timing, {
    get: (target, name) => (name === "toJSON" ? () => ({}) : typeof target[name] === "number" ? EPOCH_MS : undefined),
  });
  answer(Performance.prototype, "timing", () => timing);
  replace(Performance.prototype, "mark", function (name, options) {
    return Reflect.apply(mark, this, [name, { startTime: core.now, ...options }]);
  });
  replace(Performance.prototype, "measure", function (name, from, to) {
    if (from !== null && typeof from === "object") {
      const ends = from.end !== undefined || from.duration !== undefined;
      return Reflect.apply(measure, this, [name, ends ? from : { ...from, end: core.now }]);
    }
    return Reflect.apply(measure, this, [name, { start: from ?? 0, end: to ?? core.now }]);
  });
  // Of other entries (loads, paints, long tasks) the times are real ones.
  const kept = (entries) => entries.filter(({ entryType }) => entryType === "mark" || entryType === "measure");
  for (const [name, get] of Object.entries({ getEntries, getEntriesByType, getEntriesByName }))
    replace(Performance.prototype, name, function (...args) {
      return kept(Reflect.apply(get, this, args));
    });
  replace(window, "PerformanceObserver", class PerformanceObserver {
    static supportedEntryTypes = Object.freeze(["mark", "measure"]);
    observe() {}
    disconnect() {}
    takeRecords() {
      return [];
    }
  });

  const stamps = new WeakMap();
  answer(Event.prototype, "timeStamp", function () {
    if (!stamps.has(this)) stamps.set(this, core.now);
    return stamps.get(this);
  });
  answer(window.AnimationTimeline.prototype, "currentTime", () => core.now);

  const format = Object.getOwnPropertyDescriptor(Intl.DateTimeFormat.prototype, "format").get;
  answer(Intl.DateTimeFormat.prototype, "format", function () {
    const bound = Reflect.apply(format, this, []);
    return (date) => bound(date === undefined ? now() : date);
  });
  const { formatToParts } = Intl.DateTimeFormat.prototype;
  replace(Intl.DateTimeFormat.prototype, "formatToParts", function (date) {
    return Reflect.apply(formatToParts, this, [date === undefined ? now() : date]);
  });
  if (Temporal) {
    const instant = () => Temporal.Instant.fromEpochMilliseconds(now());
    const zone = () => new Intl.DateTimeFormat().resolvedOptions().timeZone;
    const zoned = (where = zone()) => instant().toZonedDateTimeISO(where);
    replace(Temporal.Now, "instant", instant);
    replace(Temporal.Now, "zonedDateTimeISO", zoned);
    replace(Temporal.Now, "plainDateTimeISO", (where) => zoned(where).toPlainDateTime());
    replace(Temporal.Now, "plainDateISO", (where) => zoned(where).toPlainDate());
    replace(Temporal.Now, "plainTimeISO", (where) => zoned(where).toPlainTime());
  }
}
