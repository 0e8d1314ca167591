// Frames that nobody looks at are not drawn by WebGL, which takes most of a frame's time without a graphics card.
//
// A picture that is cleared and drawn anew in each frame needs none of those before it. Where a page does need one that
// was left out, `core.stale` says so, and it is played again with everything drawn (stage.py).

const COLOR_BUFFER_BIT = 0x4000;
const SCISSOR_TEST = 0x0c11;
const DRAW_FRAMEBUFFERS = [0x8d40, 0x8ca9]; // FRAMEBUFFER, DRAW_FRAMEBUFFER
const READ_FRAMEBUFFERS = [0x8d40, 0x8ca8];

function leaveOutUnseen(core, realm) {
  const { window, replace, canvases } = realm;
  const contexts = new WeakMap(); // context -> what is known of it
  const stateOf = (context) => {
    let state = contexts.get(context);
    if (!state) contexts.set(context, (state = { drawsTo: null, readsFrom: null, cleared: -1, scissor: null, cut: false }));
    return state;
  };

  // Draws, or does not: nobody will see it.
  const draw = (context, call) => {
    canvases.drawn.add(context.canvas);
    const state = stateOf(context);
    if (!core.skips || state.drawsTo) return call();
    if (state.cleared !== core.making) {
      core.stale ||= core.missing.has(state); // it adds to a picture that was left out
      return call();
    }
    if (!core.blind) return call();
    core.missing.add(state);
    return undefined;
  };
  const covers = (context, { cut, scissor }) => {
    if (!cut) return true;
    const [x, y, width, height] = scissor ?? [0, 0, Infinity, Infinity];
    return x <= 0 && y <= 0 && x + width >= context.drawingBufferWidth && y + height >= context.drawingBufferHeight;
  };
  const clear = (context, mask, call) => {
    const state = stateOf(context);
    const whole = !state.drawsTo && mask & COLOR_BUFFER_BIT && covers(context, state);
    if (whole) state.cleared = core.making;
    if (whole && !core.blind) core.missing.delete(state);
    return draw(context, call);
  };
  // Somebody reads the picture of a canvas.
  const reads = (context) => {
    if (context && core.missing.has(contexts.get(context))) core.stale = true;
  };
  Object.assign(realm, { draw, readsCanvas: (source) => reads(canvases.kinds.get(source)?.context) });

  const watch = (Context, names, watching) => {
    for (const name of names) {
      const call = Context?.prototype[name];
      if (!call) continue;
      replace(Context.prototype, name, function () {
        return watching(this, arguments, () => Reflect.apply(call, this, arguments));
      });
    }
  };
  const drawing = ["drawArrays", "drawElements", "drawArraysInstanced", "drawElementsInstanced", "drawRangeElements"];
  drawing.push("blitFramebuffer", "clearBufferfv", "clearBufferiv", "clearBufferuiv", "clearBufferfi");
  for (const Context of [window.WebGLRenderingContext, window.WebGL2RenderingContext]) {
    watch(Context, drawing, (context, _, call) => draw(context, call));
    watch(Context, ["clear"], (context, [mask], call) => clear(context, mask, call));
    watch(Context, ["bindFramebuffer"], (context, [target, framebuffer], call) => {
      const state = stateOf(context);
      if (DRAW_FRAMEBUFFERS.includes(target)) state.drawsTo = framebuffer;
      if (READ_FRAMEBUFFERS.includes(target)) state.readsFrom = framebuffer;
      return call();
    });
    watch(Context, ["scissor"], (context, box, call) => {
      stateOf(context).scissor = [...box];
      return call();
    });
    for (const [name, cut] of [["enable", true], ["disable", false]]) {
      watch(Context, [name], (context, [what], call) => {
        if (what === SCISSOR_TEST) stateOf(context).cut = cut;
        return call();
      });
    }
    watch(Context, ["readPixels", "copyTexImage2D", "copyTexSubImage2D"], (context, _, call) => {
      if (!stateOf(context).readsFrom) reads(context);
      return call();
    });
    watch(Context, ["texImage2D", "texSubImage2D"], (_, given, call) => {
      realm.readsCanvas(given[given.length - 1]);
      return call();
    });
    watch(Context, ["beginQuery", "beginTransformFeedback"], (_, __, call) => {
      core.skips = false; // what is drawn has effects besides the picture
      return call();
    });
  }
  for (const Canvas of [window.HTMLCanvasElement, window.OffscreenCanvas])
    watch(Canvas, ["toDataURL", "toBlob", "convertToBlob", "transferToImageBitmap", "captureStream"], (canvas, _, call) => {
      realm.readsCanvas(canvas);
      return call();
    });
  for (const Context of [window.CanvasRenderingContext2D, window.OffscreenCanvasRenderingContext2D])
    watch(Context, ["drawImage", "createPattern"], (_, [source], call) => {
      realm.readsCanvas(source);
      return call();
    });
  const { createImageBitmap } = window;
  replace(window, "createImageBitmap", function (source) {
    realm.readsCanvas(source);
    return Reflect.apply(createImageBitmap, window, arguments);
  });
}
