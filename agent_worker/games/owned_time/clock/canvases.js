// Which canvases there are, how they can be read, and which were drawn on since they were.

const SOLID_STRIDE = 4; // frames from one that is compared to the next, where WebGL draws: each costs 10 ms and more

function watchCanvases(core, realm) {
  const { window, own, replace, watch, answer } = realm;
  const { HTMLCanvasElement, OffscreenCanvas } = window;
  const kinds = new WeakMap(); // canvas -> { kind, context }
  const drawn = new WeakSet(); // canvases
  const offscreen = new WeakMap(); // canvas in the page -> the one that it shows
  realm.canvases = { kinds, drawn, offscreen };

  const getting = (get) =>
    function (kind, options) {
      let asked = options;
      // It is read outside of its frame. Smooth edges take half of the time of software, and change no claim.
      if (/webgl/.test(kind)) asked = { ...options, antialias: false, preserveDrawingBuffer: true };
      else if (kind === "2d") asked = { ...options, willReadFrequently: true };
      else if (kind === "webgpu") core.uncontrolled.add("WebGPU");
      const context = Reflect.apply(get, this, [kind, asked]);
      if (context && !kinds.has(this)) {
        kinds.set(this, { kind: String(kind), context });
        drawn.add(this);
        if (/webgl/.test(kind)) core.stride = SOLID_STRIDE;
      }
      return context;
    };
  replace(HTMLCanvasElement.prototype, "getContext", getting(own.getContext));
  if (OffscreenCanvas) replace(OffscreenCanvas.prototype, "getContext", getting(OffscreenCanvas.prototype.getContext));
  const { transferControlToOffscreen } = HTMLCanvasElement.prototype;
  replace(HTMLCanvasElement.prototype, "transferControlToOffscreen", function () {
    const shown = Reflect.apply(transferControlToOffscreen, this, []);
    offscreen.set(this, shown);
    return shown;
  });

  const draw = ({ canvas }, _, call) => {
    drawn.add(canvas);
    return call();
  };
  const flat = ["fill", "stroke", "fillRect", "strokeRect", "clearRect", "fillText", "strokeText", "putImageData", "reset"];
  flat.push("drawFocusIfNeeded");
  const drawImage = (context, given, call) => {
    realm.readsCanvas(given[0]);
    return draw(context, given, call);
  };
  for (const Context of [window.CanvasRenderingContext2D, window.OffscreenCanvasRenderingContext2D]) {
    watch(Context, flat, draw);
    watch(Context, ["drawImage"], drawImage);
  }
  watch(window.ImageBitmapRenderingContext, ["transferFromImageBitmap"], draw);
  for (const [Canvas, name] of [[HTMLCanvasElement, "width"], [HTMLCanvasElement, "height"], [OffscreenCanvas, "width"], [OffscreenCanvas, "height"]]) {
    if (!Canvas) continue;
    const { get, set } = Object.getOwnPropertyDescriptor(Canvas.prototype, name);
    answer(Canvas.prototype, name, get, function (value) {
      drawn.add(this);
      Reflect.apply(set, this, [value]);
    });
  }
  const drawing = ["ANGLE_instanced_arrays", "WEBGL_multi_draw", "WEBGL_draw_instanced_base_vertex_base_instance"];
  drawing.push("WEBGL_multi_draw_instanced_base_vertex_base_instance");
  for (const name of drawing) watchExtension(realm, name);
}

function watchExtension(realm, name) {
  const { window, replace } = realm;
  for (const Context of [window.WebGLRenderingContext, window.WebGL2RenderingContext]) {
    const get = Context?.prototype.getExtension;
    if (!get) continue;
    replace(Context.prototype, "getExtension", function (asked) {
      const extension = Reflect.apply(get, this, [asked]);
      if (asked !== name || !extension) return extension;
      for (const draw of Object.getOwnPropertyNames(Object.getPrototypeOf(extension)).filter((each) => /^(multiD|d)raw/.test(each))) {
        const call = extension[draw];
        if (typeof call === "function" && !Object.hasOwn(extension, draw))
          replace(extension, draw, (...args) => realm.draw(this, () => Reflect.apply(call, extension, args)));
      }
      return extension;
    });
  }
}
