// What is drawn by chance comes from the run's seed.

function replaceRandom(core, { window, replace }) {
  const { Crypto, Uint8Array } = window;
  replace(window.Math, "random", () => core.random());
  replace(Crypto.prototype, "getRandomValues", (array) => {
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    for (let n = 0; n < bytes.length; n++) bytes[n] = core.random() * 256;
    return array;
  });
  const digit = () => Math.floor(core.random() * 16).toString(16);
  // Pages without a secure origin have none, and are to notice that.
  if (Crypto.prototype.randomUUID) replace(Crypto.prototype, "randomUUID", () => "xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx".replace(/x/g, digit));
}
