/** Lists of texts that the browser keeps for the reader. A browser that keeps nothing is no problem of the page. */

/** @param {string} key @returns {string[]} empty if nothing is kept, or something else than a list of texts */
export function recall(key) {
  try {
    const kept = JSON.parse(localStorage.getItem(key) ?? "[]");
    return Array.isArray(kept) ? kept.filter((each) => typeof each === "string") : [];
  } catch {
    return [];
  }
}

/** @param {string} key @param {string[]} texts @returns {boolean} whether they are kept */
export function store(key, texts) {
  try {
    if (texts.length) localStorage.setItem(key, JSON.stringify(texts));
    else localStorage.removeItem(key);
    return true;
  } catch {
    return false;
  }
}
