(window, kind, allow) => {
  // What happens to a window from outside, as its own document tells it: it loses or gets the focus, is hidden or shown.
  // `allow` is given each event before it is dispatched. An expression, for pages in real time and in owned time.
  const { document } = window;
  const answer = (name, value) => Object.defineProperty(document, name, { configurable: true, get: () => value });
  const tell = (target, event) => {
    allow(event);
    target.dispatchEvent(event);
  };
  if (kind === "hide" || kind === "show") {
    answer("hidden", kind === "hide");
    answer("visibilityState", kind === "hide" ? "hidden" : "visible");
    tell(document, new window.Event("visibilitychange", { bubbles: true }));
  } else {
    Object.defineProperty(document, "hasFocus", { configurable: true, value: () => kind === "focus" });
    tell(window, new window.FocusEvent(kind));
  }
}
