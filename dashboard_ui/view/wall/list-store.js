/** The store of the wall: the list of all tests, and no events. Pure. */

import { Store } from "../../client/store.js";

/** A feed that nobody reads. @implements {EventSink} */
class NoFeed {
  take() {}

  restart() {}

  recovered() {}

  setOpen() {}
}

/** @extends {Store<NoFeed>} */
export class ListStore extends Store {
  constructor() {
    super({ newFeed: () => new NoFeed() });
  }

  /** @override @returns {string[]} */
  subscriptions() {
    return [];
  }

  /** A test may start at any time. @override */
  get expecting() {
    return true;
  }
}
