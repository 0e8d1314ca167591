/**
 * A page that was opened as a file may start no worker. The site's search runs in one, so here its script runs in an
 * empty frame instead, with the same members. As with a worker, messages are copies and arrive later: whoever sends one
 * is not called back meanwhile. Served over HTTP, the site uses real workers.
 */
if (location.protocol === "file:") {
  window.Worker = class {
    #frame = document.createElement("iframe");
    /** @type {unknown[] | null} messages for the script until it is loaded; null: it is */
    #early = [];

    /** @param {string | URL} script address of the worker's script */
    constructor(script) {
      this.onmessage = this.onmessageerror = this.onerror = null;
      this.#frame.hidden = true;
      if (document.body) this.#begin(String(script));
      else addEventListener("DOMContentLoaded", () => this.#begin(String(script)), { once: true });
    }

    /** @param {string} script */
    #begin(script) {
      document.body.append(this.#frame);
      const inside = this.#frame.contentWindow;
      inside.postMessage = (data) => this.#later(data, (copy) => this.onmessage?.({ data: copy }));
      const element = inside.document.createElement("script");
      element.src = script;
      element.onload = () => {
        const early = this.#early;
        this.#early = null;
        for (const data of early) this.postMessage(data);
      };
      element.onerror = () => this.onerror?.(new Event("error", { cancelable: true }));
      inside.document.head.append(element);
    }

    /** @param {unknown} data for the script's `onmessage` */
    postMessage(data) {
      if (this.#early) this.#early.push(data);
      else this.#later(data, (copy) => this.#frame.contentWindow?.onmessage?.({ data: copy }));
    }

    /** @param {unknown} data @param {(copy: unknown) => void} deliver */
    #later(data, deliver) {
      const copy = structuredClone(data);
      setTimeout(() => deliver(copy));
    }

    terminate() {
      this.#frame.remove();
    }
  };
}
