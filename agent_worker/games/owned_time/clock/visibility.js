// The page is visible and has the focus until `happen` says otherwise, and its window is of its viewport's size.

function replaceVisibility(core, realm) {
  const { window, replace, answer, listen } = realm;
  const { Document, screen } = window; // a game may have a variable of the name `screen`
  for (const [name, value] of [["hidden", false], ["visibilityState", "visible"], ["webkitHidden", false], ["webkitVisibilityState", "visible"]])
    answer(Document.prototype, name, () => value);
  replace(Document.prototype, "hasFocus", () => true);
  // The real window is small, so that Chromium draws little of the page.
  answer(window, "outerWidth", () => screen.width);
  answer(window, "outerHeight", () => screen.height);

  const ours = new WeakSet();
  const refuse = (event) => {
    const whole = event.target === window || event.target === window.document;
    if (whole && !ours.has(event)) event.stopImmediatePropagation();
  };
  for (const type of ["blur", "focus", "visibilitychange"]) listen(window, type, refuse, true);
  realm.happen = (kind) => {
    if (kind === "hide" || kind === "show") core.hidden = kind === "hide";
    outside(window, kind, (event) => ours.add(event));
    realm.notice();
  };
}
