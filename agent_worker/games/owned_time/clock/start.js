// Puts all of it into one frame: the topmost one of an origin makes the clock, those below it take that one.

function start({ token, seed, holdLimit, gaveUp, skips }) {
  if (window[HANDLE]) return window[HANDLE](token).renew(); // an empty frame's window, which gets its document now
  let core = null;
  try {
    if (window.parent !== window) core = window.parent[HANDLE](token).core;
  } catch {
    // the frame around it is of another origin: it has a clock of its own
  }
  core ??= createCore(seed, holdLimit, gaveUp, skips);
  const realm = createRealm(core, window);
  watchCanvases(core, realm);
  leaveOutUnseen(core, realm);
  replaceDates(core, realm);
  replaceRandom(core, realm);
  letThrough(core, realm);
  replaceTimers(core, realm);
  replaceMessages(core, realm);
  holdLoads(core, realm);
  orderRequests(core, realm);
  replaceMedia(core, realm);
  replaceAudio(core, realm);
  replaceAnimations(core, realm);
  settleObservers(core, realm);
  replaceVisibility(core, realm);
  nameUncontrolled(core, realm);
  createFingerprints(core, realm);
  const drive = { core, renew: realm.observe, ...createDrive(core, realm, token) };
  realm.handle = (asked) => (asked === token ? drive : asked === "frame" ? core.frame : undefined);
  Object.defineProperty(window, HANDLE, { value: realm.handle });
  return undefined;
}
