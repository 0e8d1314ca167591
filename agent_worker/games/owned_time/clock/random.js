// What is drawn by chance comes from the run's seed.

const INPUTS = [
  ...["keydown", "keypress", "keyup", "beforeinput", "input", "change", "submit", "wheel", "contextmenu", "click", "auxclick"],
  ...["dblclick", "touchstart", "touchmove", "touchend", "touchcancel", "drag", "dragstart", "dragend", "dragover", "drop"],
  ...["down", "move", "up", "over", "out", "enter", "leave"].flatMap((way) => [`mouse${way}`, `pointer${way}`]),
];

function replaceRandom(core, { window, replace, listen }) {
  const { Crypto, Uint8Array } = window;
  // An event has a phase as long as its handlers run, and what they have promised meanwhile.
  for (const kind of INPUTS)
    listen(window, kind, (event) => {
      if (event.isTrusted) core.input = event;
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
