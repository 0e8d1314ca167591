/** Keeps what a page shows in its address, so that a reload, Back and a copied address show it again. */

/**
 * @param {string} search what the address shall say after its path
 * @param {{step?: boolean}} [how] step: Back returns to what was shown before
 */
export function remember(search, { step = false } = {}) {
  if (search !== location.search) change(`${location.pathname}${search}${location.hash}`, step);
}

/** @param {string} hash of the moment that is shown; "" for now @param {{step?: boolean}} [how] as in `remember` */
export function rememberMoment(hash, { step = false } = {}) {
  if (hash !== location.hash) change(`${location.pathname}${location.search}${hash}`, step);
}

/** @param {string} address @param {boolean} step */
function change(address, step) {
  try {
    if (step) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
  } catch {
    // Browsers limit how often an address may change. The next change brings it up to date.
  }
}
