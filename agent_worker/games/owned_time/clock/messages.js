// Messages that a page posts to itself are its scheduler: they come in its own time. Those that leave it are real.

function replaceMessages(core, realm) {
  const { window, own, replace, answer, listen } = realm;
  const { MessageEvent, MessagePort, structuredClone } = window;
  const pairs = new WeakMap(); // port -> { other, started, closed, queue }, for both ports while neither has left
  const post = MessagePort.prototype.postMessage;
  const start = MessagePort.prototype.start;
  const close = MessagePort.prototype.close;
  const onmessage = Object.getOwnPropertyDescriptor(MessagePort.prototype, "onmessage");

  const listed = (transfer) => (Array.isArray(transfer) ? transfer : Array.isArray(transfer?.transfer) ? transfer.transfer : []);
  const leave = (transfer) => {
    for (const each of listed(transfer)) {
      const pair = pairs.get(each);
      if (pair) {
        pairs.delete(pair.other);
        pairs.delete(each);
      }
    }
  };
  const deliver = (port, event) => port.dispatchEvent(event);
  const begin = (port) => {
    const pair = pairs.get(port);
    if (!pair || pair.started) return;
    pair.started = true;
    for (const event of pair.queue) core.addTask(realm, deliver, [port, event]);
    pair.queue = [];
  };

  replace(window, "MessageChannel", new Proxy(own.MessageChannel, {
    construct: (target, args) => {
      const made = Reflect.construct(target, args);
      pairs.set(made.port1, { other: made.port2, started: false, closed: false, queue: [] });
      pairs.set(made.port2, { other: made.port1, started: false, closed: false, queue: [] });
      return made;
    },
  }));
  replace(MessagePort.prototype, "postMessage", function (data, transfer) {
    leave(transfer);
    const pair = pairs.get(this);
    if (!pair) return Reflect.apply(post, this, arguments);
    const other = pairs.get(pair.other);
    const event = new MessageEvent("message", { data: structuredClone(data, { transfer: listed(transfer) }) });
    if (pair.closed || other.closed) return undefined;
    if (other.started) core.addTask(realm, deliver, [pair.other, event]);
    else other.queue.push(event);
    return undefined;
  });
  replace(MessagePort.prototype, "start", function () {
    begin(this);
    return Reflect.apply(start, this, []);
  });
  replace(MessagePort.prototype, "close", function () {
    if (pairs.has(this)) pairs.get(this).closed = true;
    return Reflect.apply(close, this, []);
  });
  answer(MessagePort.prototype, "onmessage", onmessage.get, function (heard) {
    Reflect.apply(onmessage.set, this, [heard]);
    begin(this);
  });

  // To its own window: setImmediate and its like. With other frames the source of a message is theirs to say: real then.
  if (window.top !== window) return core.restoreMessages?.();
  const toWindow = window.postMessage;
  replace(window, "postMessage", function (data, options, transfer) {
    leave(transfer ?? options);
    if (window.length > 0) return Reflect.apply(toWindow, window, arguments);
    const copy = structuredClone(data, { transfer: listed(transfer ?? options) });
    const event = new MessageEvent("message", { data: copy, origin: window.origin, source: window });
    core.addTask(realm, () => window.dispatchEvent(event));
    return undefined;
  });
  core.restoreMessages = () => replace(window, "postMessage", toWindow);
  return undefined;
}
