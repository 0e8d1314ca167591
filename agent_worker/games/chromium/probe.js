// Runs in every frame before the game's own scripts. Records what cannot be asked for afterwards: the text that is
// drawn on canvases, whether a main loop runs, the kinds of input events that have listeners. window.__testcast()
// returns the frame's state; page_state.py describes its fields.
(() => {
  const KEPT_WORDS = 100;
  const HEARD = /^(key|pointer|mouse|touch|click)/;
  const drawn = new Map(); // text -> when and where it was drawn last; oldest first
  const listens = new Set();
  let frames = 0;
  let lastDrawn = 0;
  // In owned time (owned_time/clock/) by its frames: asking performance.now() would make it pass.
  const realNow = performance.now.bind(performance);
  const now = window.__vt ? () => (window.__vt("frame") * 1000) / 60 : realNow;

  for (const name of ["fillText", "strokeText"]) {
    const draw = CanvasRenderingContext2D.prototype[name];
    CanvasRenderingContext2D.prototype[name] = function (text, x, y, ...rest) {
      const word = String(text).slice(0, 120);
      drawn.delete(word);
      drawn.set(word, { at: (lastDrawn = now()), canvas: this.canvas, ...placed(this, x, y) });
      if (drawn.size > KEPT_WORDS) drawn.delete(drawn.keys().next().value);
      return draw.call(this, text, x, y, ...rest);
    };
  }

  // What is painted over is no longer read: a round's last words would stand among those of the next.
  const erasing = {
    clearRect: (context, box) => erase(context, box),
    fillRect: (context, box) => opaque(context) && erase(context, box),
    drawImage: (context, [image, ...box]) => context.globalAlpha === 1 && erase(context, imageBox(image, box)),
  };
  for (const [name, before] of Object.entries(erasing)) {
    const draw = CanvasRenderingContext2D.prototype[name];
    CanvasRenderingContext2D.prototype[name] = function (...args) {
      if (drawn.size) before(this, args);
      return draw.apply(this, args);
    };
  }

  function placed(context, x, y) {
    const { a, b, c, d, e, f } = context.getTransform();
    return { x: a * x + c * y + e, y: b * x + d * y + f };
  }

  function opaque(context) {
    const { fillStyle, globalAlpha, globalCompositeOperation } = context;
    return globalAlpha === 1 && globalCompositeOperation === "source-over" && !String(fillStyle).startsWith("rgba");
  }

  function imageBox(image, box) {
    if (box.length === 8) return box.slice(4);
    return [box[0], box[1], box[2] ?? image?.width, box[3] ?? image?.height];
  }

  function erase(context, [left, top, width, height]) {
    if (Math.abs(width) < 32 || Math.abs(height) < 12) return; // a sprite that passes over a word leaves it readable
    const [one, other] = [placed(context, left, top), placed(context, left + width, top + height)];
    const within = (at, from, to) => at >= Math.min(from, to) && at <= Math.max(from, to);
    for (const [word, { canvas, x, y }] of drawn)
      if (canvas === context.canvas && within(x, one.x, other.x) && within(y, one.y, other.y)) drawn.delete(word);
  }

  const request = window.requestAnimationFrame;
  window.requestAnimationFrame = function (callback) {
    frames += 1;
    return request.call(window, callback);
  };

  const listen = EventTarget.prototype.addEventListener;
  EventTarget.prototype.addEventListener = function (type, ...rest) {
    if (HEARD.test(type)) listens.add(String(type));
    return listen.call(this, type, ...rest);
  };

  for (const owner of [window, Document.prototype, HTMLElement.prototype, SVGElement.prototype])
    for (const name of Object.getOwnPropertyNames(owner)) {
      const known = Object.getOwnPropertyDescriptor(owner, name);
      if (!HEARD.test(name.slice(2)) || !name.startsWith("on") || !known.set) continue;
      const set = function (handler) {
        if (handler) listens.add(name.slice(2));
        return known.set.call(this, handler);
      };
      Object.defineProperty(owner, name, { ...known, set });
    }

  function visible(element) {
    const box = element.getBoundingClientRect();
    const inside = box.width > 8 && box.height > 8 && box.top < innerHeight && box.bottom > 0 && box.left < innerWidth && box.right > 0;
    return inside && getComputedStyle(element).visibility !== "hidden" ? box : null;
  }

  function buttons() {
    const found = [];
    for (const element of document.querySelectorAll("button, a, [role=button], input[type=button], input[type=submit], [onclick], [class*=button], [class*=btn]")) {
      const text = (element.innerText || element.value || element.title || "").trim();
      if (!text || text.length > 24 || found.length >= 20) continue;
      if (element.tagName === "A" && element.href && new URL(element.href).origin !== location.origin) continue;
      const box = visible(element);
      if (box) found.push({ text, x: box.left + box.width / 2, y: box.top + box.height / 2 });
    }
    return found;
  }

  function fields() {
    const found = [];
    for (const element of document.querySelectorAll("input, select, textarea")) {
      const box = element.type === "hidden" || found.length >= 20 ? null : visible(element);
      if (!box) continue;
      const name = element.labels?.[0]?.innerText || element.placeholder || element.name || element.id || "";
      const options = [...(element.options ?? [])].slice(0, 40).map((each) => each.text.slice(0, 80));
      const [text, value] = [name.trim().slice(0, 80), element.value.slice(0, 200)];
      found.push([element.type, text, value, Boolean(element.checked), options, box.left + box.width / 2, box.top + box.height / 2]);
    }
    return found;
  }

  // The text around the elements that name keys, with these marked: "<kbd>P</kbd> to pause".
  function keys() {
    const shown = (element) => element.getClientRects().length && getComputedStyle(element).visibility !== "hidden";
    const named = [...document.querySelectorAll("kbd")].filter(shown).slice(0, 40); // one letter is less than 8 px wide
    const written = (node) => {
      if (node.nodeType === Node.TEXT_NODE) return node.data.replace(/\s+/g, " ");
      if (node.nodeType !== Node.ELEMENT_NODE || !node.getClientRects().length) return "";
      if (node.localName === "kbd") return `<kbd>${node.innerText.trim()}</kbd>`;
      const apart = node.localName === "br" || !getComputedStyle(node).display.startsWith("inline") ? "\n" : "";
      return apart + [...node.childNodes].map(written).join("") + apart;
    };
    const lines = [...new Set(named.map((each) => each.parentElement))].map((each) => written(each).trim().slice(0, 400));
    return lines.join("\n").slice(0, 2000);
  }

  function state() {
    const targets = [window, document, document.documentElement, document.body, ...document.querySelectorAll("canvas")];
    const kinds = ["keydown", "keyup", "keypress", "click", "mousedown", "pointerdown", "touchstart"];
    for (const kind of kinds) if (targets.some((target) => target && target["on" + kind])) listens.add(kind);
    if (document.querySelector("a, button, [onclick]")) listens.add("click");
    for (const kind of kinds) if (document.querySelector(`[on${kind}]`)) listens.add(kind);
    // Text of the last frame that drew any is still visible; older text has been painted over.
    const fresh = [...drawn].filter(([, { at }]) => lastDrawn - at < 300).map(([word]) => word);
    const canvases = [...document.querySelectorAll("canvas")].map(visible).filter(Boolean);
    return {
      frames,
      listens: [...listens],
      keys: keys(),
      words: [...fresh, (document.body?.innerText ?? "").slice(0, 3000)].join("\n"),
      canvases: canvases.map((box) => [box.left, box.top, box.width, box.height]),
      buttons: buttons(),
      fields: fields(),
      scroll: [scrollX, scrollY],
    };
  }

  Object.defineProperty(window, "__testcast", { value: state });
})();
