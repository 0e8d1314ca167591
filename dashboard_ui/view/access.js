/** What the reader may do. An edge that asks nobody who they are allows everything, and its pages show nothing of this. */

/** The page of an edge that wants to know who its reader is says so, and the name of the provider to sign in at. */
const meta = document.querySelector('meta[name="testcast-access"]');

/** Where everybody may do everything. @implements {PageAccess} */
class OpenAccess {
  /** @type {HTMLElement|null} */
  root = null;
  /** @type {string|null} */
  blocked = null;

  may() {
    return true;
  }

  share() {
    return null;
  }

  whyNoSubmit() {
    return "";
  }

  async check() {}

  ended() {}

  expiring() {}

  lost() {}
}

/**
 * Asks the edge who the reader is, if it wants to know.
 *
 * @param {string|null} testId of a run's own page
 * @param {AccessHooks} hooks
 * @returns {Promise<PageAccess>}
 */
export async function accessOf(testId, hooks) {
  const secret = testId === null ? null : takeShareSecret();
  if (!meta) return new OpenAccess();
  const { SignedAccess } = await import("./signed-access.js");
  const access = new SignedAccess(testId, meta.getAttribute("content") ?? "", hooks);
  await access.start(secret);
  return access;
}

const SECRET = /^#share=([\w-]{20,100})$/;

/**
 * The secret of a share link. It is taken out of the address at once, so that it is not in the history, in a bookmark
 * or on a screenshot.
 *
 * @returns {string|null}
 */
function takeShareSecret() {
  const found = SECRET.exec(location.hash);
  if (location.hash.startsWith("#share=")) history.replaceState(null, "", location.pathname + location.search);
  return found?.[1] ?? null;
}
