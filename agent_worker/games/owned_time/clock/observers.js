// Observers of sizes and of what is visible are told with real frames: after a change of the page these are waited for.

function settleObservers(core, realm) {
  const { window, replace } = realm;
  let watching = 0;
  let asked = false;
  for (const name of ["ResizeObserver", "IntersectionObserver"]) {
    const { observe } = window[name].prototype;
    replace(window[name].prototype, "observe", function (...args) {
      watching += 1;
      asked = true;
      core.used.add(name);
      return Reflect.apply(observe, this, args);
    });
  }
  let scrolled = "";
  realm.observed = async () => {
    if (!watching) return;
    const place = `${window.innerWidth} ${window.innerHeight} ${window.scrollX} ${window.scrollY}`;
    if (!asked && !realm.dirty && place === scrolled) return;
    asked = false;
    scrolled = place;
    await realm.realFrames(2);
  };
}
