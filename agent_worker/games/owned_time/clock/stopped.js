// Presses of keys that a handler of the page keeps from those that would have come after it: they are counted, and may be
// let through, to see what the game would have done.

function letThrough(core, { window, watch }) {
  let last = null;
  watch(window.Event, ["stopPropagation", "stopImmediatePropagation"], (event, _, stop) => {
    if (!event.isTrusted || !event.type.startsWith("key")) return stop();
    if (event.type === "keydown" && event !== last) {
      last = event;
      core.stopped += 1;
    }
    return core.lets ? undefined : stop();
  });
}
