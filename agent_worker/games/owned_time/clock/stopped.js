// Counts presses of keys that a handler keeps from those that would have come after it.

function countStopped(core, { window, watch }) {
  let last = null;
  watch(window.Event, ["stopPropagation", "stopImmediatePropagation"], (event, _, stop) => {
    if (event.isTrusted && event.type === "keydown" && event !== last) {
      last = event;
      core.stopped += 1;
    }
    return stop();
  });
}
