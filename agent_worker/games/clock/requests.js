// XMLHttpRequests come in the order in which they were sent, whatever the network does: what they tell is kept until it
// is their turn. How far one has come, and that it was aborted, is told at once.

function orderRequests(core, realm) {
  const { window, replace, listen, hold, inOrder } = realm;
  const { XMLHttpRequest, Event, ProgressEvent } = window;
  const { open, send } = XMLHttpRequest.prototype;
  const { dispatchEvent } = window.EventTarget.prototype;
  const waits = new WeakSet(); // requests that are not sent synchronously
  const sent = new WeakMap(); // request -> { place, events, release }

  const leave = (request) => {
    const known = sent.get(request);
    sent.delete(request);
    known?.place.leave();
    return known;
  };
  const tell = (request, events) => {
    for (const event of events) Reflect.apply(dispatchEvent, request, [event]);
  };
  const gate = (event) => {
    const request = event.currentTarget;
    const known = sent.get(request);
    if (!known || !event.isTrusted || (event.type === "readystatechange" && request.readyState !== 4)) return;
    if (event.type === "abort") {
      leave(request);
      tell(request, known.events);
      known.release();
      return;
    }
    event.stopImmediatePropagation();
    const { type, lengthComputable, loaded, total } = event;
    known.events.push(type === "readystatechange" ? new Event(type) : new ProgressEvent(type, { lengthComputable, loaded, total }));
    if (type !== "loadend") return;
    sent.delete(request);
    known.place.ready(() => {
      tell(request, known.events);
      known.release();
    });
  };
  const Ordered = new Proxy(XMLHttpRequest, {
    construct: (target, args, made) => {
      const request = Reflect.construct(target, args, made === Ordered ? target : made);
      for (const type of ["readystatechange", "load", "error", "timeout", "abort", "loadend"]) listen(request, type, gate);
      return request;
    },
  });
  XMLHttpRequest.prototype.constructor = Ordered;
  replace(window, "XMLHttpRequest", Ordered);

  replace(XMLHttpRequest.prototype, "open", function (...args) {
    leave(this)?.release(); // one that is opened again is not told of any more
    waits[args.length < 3 || args[2] ? "add" : "delete"](this);
    return Reflect.apply(open, this, args);
  });
  replace(XMLHttpRequest.prototype, "send", function (...args) {
    if (!waits.has(this)) return Reflect.apply(send, this, args);
    const known = { place: inOrder(), events: [], release: null };
    sent.set(this, known);
    known.release = hold("request", null, core.holdLimit, () => {
      if (sent.get(this) === known) leave(this);
      tell(this, known.events);
    });
    try {
      return Reflect.apply(send, this, args);
    } catch (error) {
      leave(this);
      known.release();
      throw error;
    }
  });
}
