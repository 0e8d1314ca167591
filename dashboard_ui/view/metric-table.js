/** The metrics of a run as a table. */

import { h } from "./dom.js";
import { count } from "./format.js";
import { metricRows } from "./metrics.js";

export class MetricTable {
  constructor() {
    this.root = h("section.metrics", { hidden: true, "aria-label": "Metrics" });
    /** @type {unknown} */
    this.drawn = undefined;
  }

  /** @param {Shown} run @param {Set<string>} elsewhere metrics that the page shows already */
  update(run, elsewhere) {
    if (this.drawn === run.metrics) return;
    this.drawn = run.metrics;
    const { rows, more } = metricRows(run, elsewhere);
    this.root.hidden = rows.length === 0;
    const body = rows.map(({ name, values }) =>
      h("tr", h("th", { scope: "row" }, name), h("td", ...values.map((value) => h("span.metric", value)))),
    );
    this.root.replaceChildren(
      h("h2", "Metrics"),
      h("table", h("tbody", ...body)),
      more ? h("p.meta", `${count(more, "more row")} in the run's last event`) : "",
    );
  }
}
