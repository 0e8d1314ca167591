// What lives outside of the page's time is named when it is used: a run with it is not the same each time.

function nameUncontrolled(core, { window, replace }) {
  const names = ["Worker", "SharedWorker", "WebSocket", "WebTransport", "EventSource", "RTCPeerConnection", "AudioWorkletNode", "MediaRecorder"];
  for (const name of names) {
    const Made = window[name];
    if (!Made) continue;
    replace(window, name, new Proxy(Made, {
      construct: (target, args, made) => {
        core.uncontrolled.add(name);
        return Reflect.construct(target, args, made);
      },
    }));
  }
  const calls = [
    [window.AnalyserNode?.prototype, ["getByteFrequencyData", "getByteTimeDomainData", "getFloatFrequencyData", "getFloatTimeDomainData"], "AnalyserNode"],
    [window.BaseAudioContext?.prototype, ["createScriptProcessor"], "ScriptProcessorNode"],
    [window.Document.prototype, ["startViewTransition"], "view transition"],
    [window.ServiceWorkerContainer?.prototype, ["register"], "ServiceWorker"],
    [window.SpeechSynthesis?.prototype, ["speak"], "speech"],
  ];
  for (const [owner, methods, name] of calls) {
    for (const method of methods) {
      const call = owner?.[method];
      if (!call) continue;
      replace(owner, method, function (...args) {
        core.uncontrolled.add(name);
        return Reflect.apply(call, this, args);
      });
    }
  }
}
