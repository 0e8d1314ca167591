// XMLHttpRequests come in the order in which they were sent, whatever the network does: what they tell is kept until it
// is their turn. How far one has come, and that it was aborted, is told at once.

function orderRequests(core, realm) {
  const { window, replace, listen, hold, inOrder } = realm;
  const { XMLHttpRequest, Event, ProgressEvent } = window;
  const { open, send } = XMLHttpRequest.prototype;
  const { dispatchEvent } = window.EventTarget.prototype;
  const waits = new WeakSet(); // requests that are not sent synchronously
  const sent = new WeakMap(); // request -> { place, events, release }; until it was told

  const tell = (request, known) => {
    sent.delete(request);
    for (const event of known.events) Reflect.apply(dispatchEvent, request, [event]);
    known.release();
  };
  // It waits no longer for its turn.
  const tellNow = (request, known) => {
    known.place.leave(); // which tells it, if it has come
    if (sent.get(request) === known) tell(request, known);
  };
  const gate = (event) => {
    const request = event.currentTarget;
    const known = sent.get(request);
    if (!known || !event.isTrusted || (event.type === "readystatechange" && request.readyState !== 4)) return;
    if (event.type === "abort") {
      tellNow(request, known);
      return;
    }
    event.stopImmediatePropagation();
    const { type, lengthComputable, loaded, total } = event;
    known.events.push(type === "readystatechange" ? new Event(type) : new ProgressEvent(type, { lengthComputable, loaded, total }));
    if (type === "loadend") known.place.ready(() => tell(request, known));
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
    const known = sent.get(this);
    if (known) {
      known.events = []; // what is opened again tells of its new address only
      tellNow(this, known);
    }
    waits[args.length < 3 || args[2] ? "add" : "delete"](this);
    return Reflect.apply(open, this, args);
  });
  replace(XMLHttpRequest.prototype, "send", function (...args) {
    if (!waits.has(this)) return Reflect.apply(send, this, args);
    const known = { place: inOrder(), events: [], release: () => {} };
    sent.set(this, known);
    known.release = hold("request", null, core.holdLimit, () => {
      if (sent.get(this) === known) tellNow(this, known);
    });
    try {
      return Reflect.apply(send, this, args);
    } catch (error) {
      tellNow(this, known);
      throw error;
    }
  });
}
