// What comes from elsewhere takes no time: the clock is held until it is here, and its handlers have run.

function holdLoads(core, realm) {
  const { window, own, replace, listen } = realm;

  const afterHandlers = async (end) => {
    await realm.hop();
    await realm.hop();
    end();
  };
  const hold = (kind, element = null, limit = core.holdLimit, gaveUp = null) => {
    if (core.gaveUp.has(kind)) {
      core.uncontrolled.add(`${kind} that takes longer than ${limit / 1000} s`);
      gaveUp?.();
      return () => {};
    }
    const held = { kind, element, realm, release: null };
    const late = own.setTimeout(() => {
      core.gaveUp.add(kind);
      core.uncontrolled.add(`${kind} that takes longer than ${limit / 1000} s`);
      gaveUp?.();
      end();
    }, limit);
    const end = () => {
      own.clearTimeout(late);
      if (core.holds.delete(held)) core.idle?.();
    };
    let released = false;
    held.release = () => {
      if (released) return;
      released = true;
      afterHandlers(end);
    };
    core.holds.add(held);
    core.used.add(kind);
    return held.release;
  };
  realm.hold = hold;

  // What was asked for comes in the order in which it was asked for, each with its handlers before the next.
  const asked = [];
  let coming = false;
  const deliver = async () => {
    if (coming) return;
    coming = true;
    while (asked[0]?.deliver) {
      asked.shift().deliver();
      await realm.hop();
    }
    coming = false;
  };
  // A place in that order. `ready` is given what delivers it. After `leave` nothing waits for it, nor does it wait.
  const inOrder = () => {
    const entry = { deliver: null };
    asked.push(entry);
    return {
      leave: () => {
        const at = asked.indexOf(entry);
        if (at < 0) return;
        asked.splice(at, 1);
        entry.deliver?.();
        deliver();
      },
      ready: (come) => {
        entry.deliver = come;
        if (asked.includes(entry)) deliver();
        else come();
      },
    };
  };
  realm.inOrder = inOrder;
  const track = (kind, promise) => {
    if (!(promise instanceof own.Promise)) return promise;
    const place = kind === "stream" || core.gaveUp.has(kind) ? null : inOrder();
    const release = hold(kind, null, core.holdLimit, () => place?.leave());
    return new own.Promise((done, failed) => {
      const settle = (by) => (what) => {
        const come = () => {
          by(what);
          release();
        };
        if (place) place.ready(come);
        else come();
      };
      Reflect.apply(own.then, promise, [settle(done), settle(failed)]);
    });
  };

  const promising = (owner, kind, names) => {
    for (const name of names) {
      const ask = owner?.[name];
      if (typeof ask !== "function") continue;
      replace(owner, name, function (...args) {
        return track(kind, Reflect.apply(ask, this, args));
      });
    }
  };
  const until = (kind, target, types, element = null) => {
    const release = hold(kind, element);
    for (const type of types) listen(target, type, release, { once: true });
    return release;
  };
  realm.until = until;

  promising(window, "fetch", ["fetch"]);
  const bodies = ["json", "text", "arrayBuffer", "blob", "formData", "bytes"];
  promising(window.Response.prototype, "fetch", bodies);
  promising(window.Blob.prototype, "blob", bodies);
  promising(window.ReadableStreamDefaultReader?.prototype, "stream", ["read"]);
  promising(window, "picture", ["createImageBitmap"]);
  promising(window.HTMLImageElement.prototype, "picture", ["decode"]);
  promising(window.OffscreenCanvas?.prototype, "picture", ["convertToBlob"]);
  promising(window.FontFace?.prototype, "font", ["load"]);
  promising(window.FontFaceSet?.prototype, "font", ["load"]);
  promising(window.WebAssembly, "wasm", ["compile", "compileStreaming", "instantiate", "instantiateStreaming"]);
  promising(window.BaseAudioContext?.prototype, "sound", ["decodeAudioData"]);
  promising(window.OfflineAudioContext?.prototype, "sound", ["startRendering"]);
  promising(window.CacheStorage?.prototype, "storage", ["match", "has", "open", "delete", "keys"]);
  promising(window.Cache?.prototype, "storage", ["match", "matchAll", "add", "addAll", "put", "delete", "keys"]);
  promising(window.StorageManager?.prototype, "storage", ["estimate", "persist", "persisted", "getDirectory"]);
  promising(window.Permissions?.prototype, "browser", ["query"]);
  promising(window.Element.prototype, "browser", ["requestFullscreen", "requestPointerLock"]);
  const ciphers = ["digest", "encrypt", "decrypt", "sign", "verify", "importKey", "exportKey", "deriveBits", "deriveKey"];
  promising(window.SubtleCrypto?.prototype, "crypto", ciphers);

  for (const name of ["readAsText", "readAsDataURL", "readAsArrayBuffer", "readAsBinaryString"]) {
    const read = window.FileReader.prototype[name];
    replace(window.FileReader.prototype, name, function (...args) {
      until("blob", this, ["loadend"]);
      return Reflect.apply(read, this, args);
    });
  }
  const { toBlob } = window.HTMLCanvasElement.prototype;
  replace(window.HTMLCanvasElement.prototype, "toBlob", function (callback, ...args) {
    const release = hold("picture");
    const done = (blob) => {
      release();
      return Reflect.apply(callback, window, [blob]);
    };
    return Reflect.apply(toBlob, this, [done, ...args]);
  });
  holdDatabases(realm);
  holdElements(core, realm);
}

// A transaction's end comes after all that was asked in it.
function holdDatabases({ window, replace, until }) {
  const { open, deleteDatabase } = window.IDBFactory.prototype;
  for (const [name, ask] of Object.entries({ open, deleteDatabase }))
    replace(window.IDBFactory.prototype, name, function (...args) {
      const request = Reflect.apply(ask, this, args);
      until("database", request, ["success", "error", "blocked"]);
      return request;
    });
  const { transaction } = window.IDBDatabase.prototype;
  replace(window.IDBDatabase.prototype, "transaction", function (...args) {
    const begun = Reflect.apply(transaction, this, args);
    until("database", begun, ["complete", "abort", "error"]);
    return begun;
  });
}

function holdElements(core, realm) {
  const { window, own, replace, answer, until } = realm;
  const { HTMLIFrameElement, HTMLImageElement, HTMLLinkElement, HTMLMediaElement, HTMLScriptElement } = window;
  const LOADED = ["load", "error"];
  const PLAYABLE = ["canplaythrough", "error", "suspend", "stalled", "abort", "emptied"];
  const held = new WeakMap(); // element -> the address that it is held for

  const look = (element) => {
    const address = element.src || element.href || element.srcset || element.srcdoc || "";
    if (!address || held.get(element) === address) return;
    held.set(element, address);
    if (element instanceof HTMLImageElement) {
      if (!element.complete && element.loading !== "lazy") until("picture", element, LOADED);
    } else if (element instanceof HTMLScriptElement || element instanceof HTMLIFrameElement) {
      until(element instanceof HTMLIFrameElement ? "frame" : "script", element, LOADED, element);
    } else if (element instanceof HTMLLinkElement) {
      if (/stylesheet|preload/.test(element.rel)) until("stylesheet", element, LOADED, element);
    } else if (element instanceof HTMLMediaElement) {
      if (element.preload !== "none") until("media", element, PLAYABLE);
    }
  };
  const kinds = "img,script,link,iframe,video,audio";

  const watcher = new own.MutationObserver((records) => notice(records));
  const notice = (records) => {
    if (records.length) realm.dirty = realm.changed = true;
    for (const record of records) {
      if (record.type === "attributes" && /^(src|href|srcset|srcdoc)$/.test(record.attributeName)) {
        if (record.target.isConnected && record.target.matches(kinds)) look(record.target);
      }
      for (const added of record.addedNodes) {
        if (added.nodeType !== 1 || window.document.readyState === "loading") continue; // the parser's hold the load event
        if (added.matches(kinds)) look(added);
        for (const element of added.querySelectorAll(kinds)) look(element);
      }
    }
  };
  realm.notices.push(() => notice(watcher.takeRecords()));
  realm.observe = () =>
    watcher.observe(window.document, { subtree: true, childList: true, attributes: true, characterData: true });
  realm.observe();

  // Pictures and sounds load without being part of the document.
  for (const [owner, kind, types] of [[HTMLImageElement, "picture", LOADED], [HTMLMediaElement, "media", PLAYABLE]]) {
    const { get, set } = Object.getOwnPropertyDescriptor(owner.prototype, "src");
    answer(owner.prototype, "src", get, function (address) {
      if (address && this.loading !== "lazy" && this.preload !== "none") {
        until(kind, this, types);
        held.set(this, new window.URL(String(address), window.document.baseURI).href);
      }
      Reflect.apply(set, this, [address]);
    });
  }
  const { setAttribute } = window.Element.prototype;
  replace(window.Element.prototype, "setAttribute", function (name, value) {
    if (value && /^src$/i.test(name) && !this.isConnected) {
      if (this instanceof HTMLImageElement) until("picture", this, LOADED);
      else if (this instanceof HTMLMediaElement) until("media", this, PLAYABLE);
    }
    return Reflect.apply(setAttribute, this, [name, value]);
  });
}
