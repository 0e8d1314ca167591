// What stands after a frame, as numbers of 32 bits that are equal where nothing differs.

const START = 2166136261;
const PRIME = 0x9e3779b1;
const LARGE = 300_000; // pixels; of a larger canvas each 2 x 2 are compared as one, their mean: that takes half the time
const HUGE = 600_000; // pixels; where a canvas has more, each third frame is compared
const HUGE_STRIDE = 3;
const MAX_TEXT = 20_000; // characters of what a game tells of itself
const CELLS = [16, 9]; // of the coarse picture, whose cells have four greys

const mixed = (hash, word) => Math.imul(((hash << 5) | (hash >>> 27)) ^ word, PRIME) >>> 0;

function ofText(hash, text) {
  let all = hash;
  for (let n = 0; n < text.length; n++) all = Math.imul(((all << 5) | (all >>> 27)) ^ text.charCodeAt(n), PRIME);
  return all >>> 0;
}

function ofWords(words) {
  // Four lanes, since each step of one waits for the step before.
  let [a, b, c, d] = [START, START + 1, START + 2, START + 3];
  const whole = words.length & ~3;
  for (let n = 0; n < whole; n += 4) {
    a = Math.imul(((a << 5) | (a >>> 27)) ^ words[n], PRIME);
    b = Math.imul(((b << 5) | (b >>> 27)) ^ words[n + 1], PRIME);
    c = Math.imul(((c << 5) | (c >>> 27)) ^ words[n + 2], PRIME);
    d = Math.imul(((d << 5) | (d >>> 27)) ^ words[n + 3], PRIME);
  }
  for (let n = whole; n < words.length; n++) a = Math.imul(((a << 5) | (a >>> 27)) ^ words[n], PRIME);
  return mixed(mixed(mixed(a, b), c), d);
}

// A coarse picture as one number: equal for pictures that a person would call the same scene.
function ofScene(words, width, height) {
  let hash = START;
  for (let row = 0; row < CELLS[1]; row++)
    for (let column = 0; column < CELLS[0]; column++) {
      let grey = 0;
      for (let n = 0; n < 16; n++) {
        const x = Math.floor(((column + ((n & 3) + 0.5) / 4) / CELLS[0]) * width);
        const y = Math.floor(((row + ((n >> 2) + 0.5) / 4) / CELLS[1]) * height);
        const word = words[y * width + x];
        grey += (word & 255) * 0.3 + ((word >> 8) & 255) * 0.59 + ((word >> 16) & 255) * 0.11;
      }
      hash = mixed(hash, Math.floor(grey / 16 / 64));
    }
  return hash;
}

function createFingerprints(core, realm) {
  const { window, own, canvases } = realm;
  const { CSSTransition } = window;
  const taken = new WeakMap(); // canvas -> { pixels, scene }
  let found = { canvases: [], inputs: [], page: START, layout: START };
  let copy = null; // where canvases are drawn that cannot be read themselves
  const { getImageData } = window.CanvasRenderingContext2D.prototype;

  const copied = (canvas, width, height) => {
    copy ??= window.document.createElement("canvas");
    if (copy.width !== width || copy.height !== height) Object.assign(copy, { width, height });
    const context = Reflect.apply(own.getContext, copy, ["2d", { willReadFrequently: true }]);
    context.globalCompositeOperation = "copy";
    Reflect.apply(own.drawImage, context, [canvas, 0, 0, width, height]);
    return context;
  };
  const read = (canvas) => {
    const shown = canvases.offscreen.get(canvas) ?? canvas;
    const known = canvases.kinds.get(shown);
    if (!known || !shown.width || !shown.height) return { pixels: START, scene: START };
    try {
      const large = shown.width * shown.height > LARGE;
      if (shown.width * shown.height > HUGE) core.stride = Math.max(core.stride, HUGE_STRIDE);
      const [width, height] = large ? [Math.ceil(shown.width / 2), Math.ceil(shown.height / 2)] : [shown.width, shown.height];
      const itself = known.kind === "2d" && shown === canvas && !large;
      const context = itself ? known.context : copied(shown, width, height);
      const words = new Uint32Array(Reflect.apply(getImageData, context, [0, 0, width, height]).data.buffer);
      return { pixels: mixed(ofWords(words), shown.width), scene: ofScene(words, width, height) };
    } catch {
      core.uncontrolled.add("canvas with pictures of another origin"); // it cannot be read
      return { pixels: START, scene: START };
    }
  };
  const canvasPrint = (canvas) => {
    const shown = canvases.offscreen.get(canvas) ?? canvas;
    if (!taken.has(canvas) || canvases.drawn.has(shown)) {
      canvases.drawn.delete(shown);
      taken.set(canvas, read(canvas));
    }
    return taken.get(canvas);
  };

  const look = () => {
    const { document } = window;
    const text = (document.body?.textContent ?? "").slice(0, MAX_TEXT).replace(/\d+/g, "");
    found = {
      canvases: [...document.querySelectorAll("canvas")],
      inputs: [...document.querySelectorAll("input,textarea,select")],
      page: ofText(START, document.documentElement?.outerHTML ?? ""),
      layout: ofText(document.getElementsByTagName("*").length, text),
    };
    realm.dirty = false;
  };
  const pagePrint = () => {
    let hash = found.page;
    for (const input of found.inputs) hash = ofText(hash, `${input.value} ${input.checked}`);
    for (const animation of realm.moving()) {
      // A transition follows a change of the document, which is compared, or the pointer that stands over an element:
      // that is no effect, and Chromium sees it when it likes.
      if (!(animation instanceof CSSTransition)) hash = mixed(hash, Math.round(animation.currentTime ?? 0));
    }
    // How far the page is scrolled is left out: it is the browser's own answer to arrows, Space and the wheel, no control.
    return ofText(hash, realm.gameText());
  };
  const stored = () => {
    let hash = START;
    try {
      for (const key of Object.keys(window.localStorage).sort()) hash = ofText(hash, `${key}=${window.localStorage[key]};`);
    } catch {
      // a document without an origin has no storage
    }
    return hash;
  };
  realm.gameText = () => {
    if (typeof window.render_game_to_text !== "function") return "";
    try {
      return String(window.render_game_to_text()).slice(0, MAX_TEXT);
    } catch (error) {
      return `error: ${error}`;
    }
  };
  realm.print = () => {
    realm.notice();
    if (realm.dirty) look();
    const print = { pixels: START, page: pagePrint(), stored: stored(), scene: found.layout, area: 0 };
    for (const canvas of found.canvases) {
      const { pixels, scene } = canvasPrint(canvas);
      print.pixels = mixed(print.pixels, pixels);
      if (canvas.width * canvas.height > print.area) Object.assign(print, { scene, area: canvas.width * canvas.height });
    }
    return print;
  };
}
