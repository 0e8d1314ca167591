// One look at a page: a picture of 64 x 36 grey values, painted from its canvases, images and coloured boxes, without a
// screenshot (which takes ten times as long); what render_game_to_text() says. look.py describes the answer. Evaluated
// as an expression, whenever it is wanted; it leaves nothing behind and changes nothing that a game sees.
(() => {
  const WIDTH = 64;
  const HEIGHT = 36;
  const MAX_ELEMENTS = 1500; // a table of a game has hundreds
  const sheet = new OffscreenCanvas(WIDTH, HEIGHT);
  const context = sheet.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "medium"; // averages; "low" would miss what lies between its samples

  const hash = (text) => [...text].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 8191, 7);

  function picture(element, box, plain) {
    const kind = element.tagName;
    if (kind !== "CANVAS" && kind !== "IMG" && kind !== "VIDEO") return;
    context.fillStyle = "#667";
    if (plain) return context.fillRect(...box);
    try {
      context.drawImage(element, ...box);
    } catch {
      context.fillRect(...box); // not loaded, or broken
    }
  }

  function shortText(element, box) {
    // A letter or two are a piece on a board, "X" or "32"; longer text is read as words.
    if (element.childElementCount || element.textContent.length > 8) return;
    const text = element.textContent.trim();
    if (!text || text.length > 2) return;
    context.fillStyle = `hsl(0 0% ${20 + (hash(text) % 60)}%)`;
    context.fillRect(box[0] + box[2] / 4, box[1] + box[3] / 4, box[2] / 2, box[3] / 2);
  }

  function paint(inner, left, top, plain) {
    let count = 0;
    for (const element of inner.querySelectorAll("body, body *")) {
      if (++count > MAX_ELEMENTS) return;
      const at = element.getBoundingClientRect();
      if (!at.width || !at.height) continue;
      const style = getComputedStyle(element);
      if (style.visibility === "hidden" || style.opacity === "0") continue;
      const x = ((at.left + left) / innerWidth) * WIDTH;
      const y = ((at.top + top) / innerHeight) * HEIGHT;
      if (x > WIDTH || y > HEIGHT) continue;
      const box = [x, y, (at.width / innerWidth) * WIDTH, (at.height / innerHeight) * HEIGHT];
      if (!/^(transparent|rgba\(.*, 0\))$/.test(style.backgroundColor)) {
        context.fillStyle = style.backgroundColor;
        context.fillRect(...box);
      }
      picture(element, box, plain);
      shortText(element, box);
      if (element.tagName !== "IFRAME") continue;
      try {
        paint(element.contentDocument, left + at.left, top + at.top, plain);
      } catch {
        // a frame of another origin is not looked into
      }
    }
  }

  function greys(plain) {
    context.fillStyle = "#fff";
    context.fillRect(0, 0, WIDTH, HEIGHT);
    paint(document, 0, 0, plain);
    const { data } = context.getImageData(0, 0, WIDTH, HEIGHT);
    let text = "";
    for (let i = 0; i < data.length; i += 4) text += String.fromCharCode((data[i] * 3 + data[i + 1] * 6 + data[i + 2]) / 10);
    return btoa(text);
  }

  function told() {
    try {
      const text = window.render_game_to_text?.();
      return typeof text === "string" ? text.slice(0, 4000) : null;
    } catch {
      return null;
    }
  }

  let seen;
  try {
    seen = greys(false);
  } catch {
    seen = greys(true); // pictures of another origin may not be read: they are painted as boxes
  }
  return { seen, told: told() };
})()
