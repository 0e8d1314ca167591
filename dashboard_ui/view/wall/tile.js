/** One run on the wall: its newest picture, and its title and status, which are seen when it is pointed at. */

import { ended } from "../../client/fold.js";
import { pageOf } from "../../client/rpc.js";
import { shown } from "../coerce.js";
import { h, setAttr, setText } from "../dom.js";
import { titleOf } from "../format.js";
import { badge } from "../parts.js";

/** @implements {PictureView} */
export class Tile {
  /** @param {string} id */
  constructor(id) {
    this.id = id;
    this.canvas = h("canvas.tile-picture", { "aria-hidden": "true", hidden: true });
    this.context = this.canvas.getContext("bitmaprenderer");
    this.badge = badge();
    this.mark = h("span.mark.mark-stalled", { hidden: true }, "stalled");
    this.title = h("span.tile-title");
    this.result = h("span.tile-result", { hidden: true });
    this.label = h("span.tile-label", this.title, this.mark, this.result, this.badge.root);
    this.root = h("a.tile", { href: pageOf(id), "data-test-id": id, draggable: "false" }, this.canvas, this.label);
  }

  /** @param {ShownRun} run */
  update(run) {
    const snapshot = shown(run.snapshot);
    setAttr(this.root, "data-look", snapshot.stalled ? "stalled" : snapshot.look);
    setAttr(this.root, "data-ended", ended(snapshot));
    setText(this.title, titleOf(snapshot));
    this.mark.hidden = !snapshot.stalled;
    this.result.hidden = snapshot.score === undefined;
    if (snapshot.score !== undefined) setText(this.result, `${Math.round(snapshot.score)}/100`);
    this.badge.update(snapshot, 0);
  }

  /** The run has ended just now. */
  flash() {
    this.root.classList.add("tile-flash");
  }

  /**
   * Shows a picture, which the browser decodes beside the page's own thread. The one before is released.
   *
   * @param {Blob} picture
   */
  async showPicture(picture) {
    const bitmap = await createImageBitmap(picture).catch(() => null);
    if (!bitmap) return; // no picture that this browser reads
    if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height)
      Object.assign(this.canvas, { width: bitmap.width, height: bitmap.height });
    this.context?.transferFromImageBitmap(bitmap);
    this.canvas.hidden = false;
    setAttr(this.root, "data-picture", true);
  }

  clear() {
    this.context?.transferFromImageBitmap(null);
    this.root.remove();
  }
}
