/** Keeps what a page shows in its address, so that a reload, Back and a copied address show it again. */

/**
 * @param {string} search what the address shall say after its path
 * @param {{step?: boolean}} [how] step: Back returns to what was shown before
 */
export function remember(search, { step = false } = {}) {
  if (search === location.search) return;
  const address = `${location.pathname}${search}${location.hash}`;
  try {
    if (step) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
  } catch {
    // Browsers limit how often an address may change. The next change brings it up to date.
  }
}
