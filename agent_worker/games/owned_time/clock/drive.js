// The tester's handle: moves the clock, frame by frame, and says what stands then.

const LEAVE_LIMIT_MS = 5_000; // real time for which the way to another document may hold the clock

function createDrive(core, realm, token) {
  const { window, own, hop, listen } = realm;

  // A document that goes to another one plays no frame on the way there, which takes real time. Before that it says how
  // far it has come, since nothing of `advance` is answered any more; nobody but the agent reads that.
  const born = own.timeOrigin; // tells one document from the next
  let advanced = [0, [], born, false]; // as `advance` answers
  let stay = null;
  let loaded = null; // ends the hold of the document's own loading
  listen(window, "beforeunload", () => {
    stay?.();
    stay = realm.hold("document", null, LEAVE_LIMIT_MS);
  });

  const settleLoads = async () => {
    for (;;) {
      for (const held of core.holds) if (held.element?.isConnected === false || !held.realm.alive()) core.holds.delete(held);
      for (const each of core.realms) {
        if (!each.alive()) core.realms.delete(each);
        else if (each.document.fonts.status === "loading" && !each.fonts) {
          each.fonts = each.hold("font");
          const ready = () => {
            each.fonts?.();
            each.fonts = null;
          };
          Reflect.apply(own.then, each.document.fonts.ready, [ready, ready]);
        }
      }
      if (!core.holds.size) return;
      if (stay) own.debug(token + JSON.stringify(advanced));
      await new own.Promise((done) => {
        core.idle = done;
      });
    }
  };
  const animations = async (all) => {
    for (const each of core.realms) {
      each.animate(all);
      await each.animationEvents();
    }
  };

  const callBack = async () => {
    const batch = core.frames;
    core.frames = new Map();
    core.batch = batch;
    const now = core.now;
    let called = false;
    for (const [id, item] of batch) {
      batch.delete(id);
      core.run(item, [now]);
      called = true;
      await hop();
    }
    return called;
  };
  // Games with this hook are moved by it where they ask for no frames.
  const advanceHook = async () => {
    if (typeof window.advanceTime !== "function" || core.timers.length) return;
    core.used.add("advanceTime");
    core.run({ realm, callback: window.advanceTime }, [FRAME_MS]);
    await hop();
  };
  const playFrame = async () => {
    if (!core.beginFrame()) return;
    await animations(true);
    if (!core.hidden && !(await callBack())) await advanceHook();
    await animations(false);
    for (const each of core.realms) await each.observed();
  };

  const sample = () => {
    const all = [START, START, core.sound, START, START]; // as in trace.Sample
    let area = -1;
    for (const each of core.realms) {
      const print = each.print();
      all[0] = mixed(all[0], print.pixels);
      all[1] = mixed(all[1], print.page);
      all[3] = mixed(all[3], print.stored);
      if (print.area > area) [area, all[4]] = [print.area, print.scene];
    }
    return all;
  };

  // Begins the next frame. The last one is always seen: it is what stands when `advance` returns.
  const look = (sampled, until) => {
    core.making = core.frame + 1;
    const seen = core.making === until || (sampled && core.making % Math.max(core.stride, sampled) === 0);
    core.blind = !seen;
    return seen;
  };

  // Plays `frames` frames, or as many as there are until `budget` ms of real time have passed: at least one. 
  // `sampled`: how many frames there are from one that is compared to the next, at least; 0: none is.
  const advance = async (frames, sampled, budget) => {
    const samples = [];
    const from = core.frame;
    const until = from + frames;
    advanced = [0, samples, born, core.stale];
    const began = own.realNow();
    core.rest();
    for (const each of core.realms) each.notice();
    await hop();
    if (!loaded) loaded = realm.until("document", window, ["load"]);
    if (window.document.readyState === "complete") loaded();
    await settleLoads();
    for (const each of core.realms) await each.observed();
    let seen = look(sampled, until);
    while (core.frame < until) {
      await settleLoads();
      const due = (core.frame + 1) * FRAME_MS;
      const timer = core.timers[0];
      if (core.tasks.length && core.now < due && !(timer?.at <= core.now)) {
        core.runTask();
        await hop();
      } else if (timer?.at <= due) {
        core.runTimer(timer);
        await hop();
      } else {
        await playFrame();
        if (seen && core.missing.size) core.stale = true; // it has drawn nothing, and the last picture was left out
        if (seen && sampled) samples.push([core.frame - from, ...sample()]);
        advanced[0] = core.frame - from;
        seen = look(sampled, until);
        if (own.realNow() - began > budget) break;
      }
    }
    core.blind = false;
    await hop();
    return [core.frame - from, samples, born, core.stale];
  };

  const loop = () => {
    let animations = 0;
    for (const each of core.realms) animations += each.moving().length;
    return { timers: core.timers.length, frames: core.frames.size, tasks: core.tasks.length, animations };
  };
  const about = () => ({
    frame: core.frame,
    loop: loop(),
    dropped: core.dropped,
    stopped: core.stopped,
    uncontrolled: [...core.uncontrolled],
    gaveUp: [...core.gaveUp],
    used: [...core.used],
    text: typeof window.render_game_to_text === "function" ? realm.gameText() : null,
    advances: typeof window.advanceTime === "function",
  });
  // Of an origin's frames the outermost one is asked: they share its clock.
  return { outermost: core.realms.size === 1, advance, about, sample, happen: (kind) => realm.happen(kind), let: () => (core.lets = true), stay: () => stay?.(), settle: () => realm.realFrames(2), hop };
}
