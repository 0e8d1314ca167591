// Frames that nobody looks at are not drawn by WebGL, which takes most of a frame's time without a graphics card.
//
// A picture that is cleared and drawn anew in each frame needs none of those before it. Where a page does need one that
// was left out, `core.stale` says so, and it is played again with everything drawn (stage.py).

const COLOR_BUFFER_BIT = 0x4000;
const SCISSOR_TEST = 0x0c11;
const FRAMEBUFFER = 0x8d40;
const READ_FRAMEBUFFER = 0x8ca8;
const DRAW_FRAMEBUFFER = 0x8ca9;

function leaveOutUnseen(core, realm) {
  const { window, replace, canvases, watch } = realm;
  const contexts = new WeakMap(); // context -> what is known of it
  const stateOf = (context) => {
    let state = contexts.get(context);
    if (!state) {
      // Framebuffers (null: the canvas), the frame in which all of the canvas was cleared, and what limits a clearing.
      state = { drawsTo: null, readsFrom: null, cleared: -1, scissor: null, cut: false, masked: false };
      contexts.set(context, state);
    }
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
  const isWhole = (context, { cut, scissor, masked }) => {
    if (masked) return false;
    if (!cut) return true;
    const [x, y, width, height] = scissor ?? [0, 0, Infinity, Infinity];
    return x <= 0 && y <= 0 && x + width >= context.drawingBufferWidth && y + height >= context.drawingBufferHeight;
  };
  const clear = (context, mask, call) => {
    const state = stateOf(context);
    if (!state.drawsTo && mask & COLOR_BUFFER_BIT && isWhole(context, state)) {
      state.cleared = core.making;
      if (!core.blind) core.missing.delete(state);
    }
    return draw(context, call);
  };
  // Somebody reads what a canvas shows.
  const reads = (context) => {
    if (context && core.missing.has(contexts.get(context))) core.stale = true;
  };
  Object.assign(realm, { draw, readsCanvas: (source) => reads(canvases.kinds.get(source)?.context) });

  const notes = {
    bindFramebuffer: (state, [target, framebuffer]) => {
      if (target !== READ_FRAMEBUFFER) state.drawsTo = framebuffer ?? null;
      if (target !== DRAW_FRAMEBUFFER) state.readsFrom = framebuffer ?? null;
    },
    deleteFramebuffer: (state, [framebuffer]) => {
      if (state.drawsTo === framebuffer) state.drawsTo = null;
      if (state.readsFrom === framebuffer) state.readsFrom = null;
    },
    scissor: (state, box) => {
      state.scissor = [...box];
    },
    colorMask: (state, colours) => {
      state.masked = ![...colours].every(Boolean);
    },
    enable: (state, [what]) => {
      if (what === SCISSOR_TEST) state.cut = true;
    },
    disable: (state, [what]) => {
      if (what === SCISSOR_TEST) state.cut = false;
    },
    // What is drawn has effects besides the picture.
    beginQuery: () => {
      core.skips = false;
    },
    beginTransformFeedback: () => {
      core.skips = false;
    },
    texImage2D: (_, given) => realm.readsCanvas(given[given.length - 1]),
    texSubImage2D: (_, given) => realm.readsCanvas(given[given.length - 1]),
    texImage3D: (_, given) => realm.readsCanvas(given[given.length - 1]),
    texSubImage3D: (_, given) => realm.readsCanvas(given[given.length - 1]),
  };
  const drawing = ["drawArrays", "drawElements", "drawArraysInstanced", "drawElementsInstanced", "drawRangeElements"];
  drawing.push("clearBufferfv", "clearBufferiv", "clearBufferuiv", "clearBufferfi");
  const reading = ["readPixels", "copyTexImage2D", "copyTexSubImage2D", "copyTexSubImage3D"];
  for (const Context of [window.WebGLRenderingContext, window.WebGL2RenderingContext]) {
    watch(Context, drawing, (context, _, call) => draw(context, call));
    watch(Context, ["clear"], (context, [mask], call) => clear(context, mask, call));
    watch(Context, reading, (context, _, call) => {
      if (!stateOf(context).readsFrom) reads(context);
      return call();
    });
    watch(Context, ["blitFramebuffer"], (context, _, call) => {
      if (!stateOf(context).readsFrom) reads(context);
      return draw(context, call);
    });
    for (const [name, note] of Object.entries(notes))
      watch(Context, [name], (context, given, call) => {
        note(stateOf(context), given);
        return call();
      });
  }
  for (const Canvas of [window.HTMLCanvasElement, window.OffscreenCanvas])
    watch(Canvas, ["toDataURL", "toBlob", "convertToBlob", "transferToImageBitmap", "captureStream"], (canvas, _, call) => {
      realm.readsCanvas(canvas);
      return call();
    });
  for (const Context of [window.CanvasRenderingContext2D, window.OffscreenCanvasRenderingContext2D])
    watch(Context, ["createPattern"], (_, [source], call) => {
      realm.readsCanvas(source);
      return call();
    });
  const { createImageBitmap } = window;
  replace(window, "createImageBitmap", function (source) {
    realm.readsCanvas(source);
    return Reflect.apply(createImageBitmap, window, arguments);
  });
}
