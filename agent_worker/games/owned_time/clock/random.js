// What is drawn by chance comes from the run's seed.

// What an input leads to is one, too: the focus goes elsewhere, the page scrolls, the window becomes another one.
const INPUTS = [
  ...["keydown", "keypress", "keyup", "beforeinput", "input", "change", "submit", "reset", "wheel", "contextmenu", "click", "auxclick"],
  ...["dblclick", "touchstart", "touchmove", "touchend", "touchcancel", "drag", "dragstart", "dragend", "dragover", "dragenter"],
  ...["dragleave", "drop", "focus", "focusin", "blur", "focusout", "select", "selectionchange", "scroll", "scrollend", "resize"],
  ...["down", "move", "up", "over", "out", "enter", "leave"].flatMap((way) => [`mouse${way}`, `pointer${way}`]),
  ...["pointercancel", "pointerrawupdate", "gotpointercapture", "lostpointercapture", "pointerlockchange", "fullscreenchange"],
];

function replaceRandom(core, { window, replace, listen }) {
  const { Crypto, Uint8Array } = window;
  // An event has a phase as long as its handlers run, and what they have promised meanwhile.
  for (const kind of INPUTS)
    listen(window, kind, (event) => {
      // A handler may cause another event, and goes on when that one's handlers have run.
      if (event.isTrusted && !core.input?.eventPhase) core.input = event;
    }, true);
  replace(window.Math, "random", () => core.random());
  replace(Crypto.prototype, "getRandomValues", (array) => {
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    for (let n = 0; n < bytes.length; n++) bytes[n] = core.random() * 256;
    return array;
  });
  const digit = () => Math.floor(core.random() * 16).toString(16);
  // Pages without a secure origin have none, and are to notice that.
  if (Crypto.prototype.randomUUID) replace(Crypto.prototype, "randomUUID", () => "xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx".replace(/x/g, digit));
}
