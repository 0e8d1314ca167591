/** Requests to an edge over HTTP: RPC calls and screenshots. */

const TIMEOUT_MS = 10_000;

/**
 * The address that the modules come from, with a slash at its end: the edge's root, wherever a proxy puts
 * it. The page's own address would not do, since a run's page is deeper. Empty where a module has no such address, as in
 * a bundle that is loaded from a blob.
 */
export const BASE = URL.canParse("..", import.meta.url) ? new URL("..", import.meta.url).href : "";

/** The address of a run's own page. @param {string} testId */
export const pageOf = (testId) => `${BASE}tests/${testId}`;

/**
 * The test of a run's own page; null for the main page.
 *
 * @param {string} pathname the page's
 * @param {string} [root] the path of the edge's root
 */
export function testOf(pathname, root = new URL(BASE).pathname) {
  const below = pathname.startsWith(root) ? pathname.slice(root.length) : pathname.slice(1);
  return /^tests\/([^/]+)\/?$/.exec(below)?.[1] ?? null;
}

/** Refusals that pass: not signed in at the moment, too slow, too early, too many requests. */
const PASSING = new Set([401, 408, 425, 429]);

/** The edge answered with an error. `status` is the HTTP status; 0 if the edge could not be reached. */
export class RpcError extends Error {
  /** @param {string} message @param {string} code @param {number} status */
  constructor(message, code, status) {
    super(message);
    this.name = "RpcError";
    this.code = code;
    this.status = status;
  }

  /** Whether asking again would bring the same answer. */
  get final() {
    return this.status >= 400 && this.status < 500 && !PASSING.has(this.status);
  }
}

/**
 * Calls an RPC method of an edge.
 *
 * @param {string} method
 * @param {Record<string, any>} [params]
 * @param {{get?: boolean, signal?: AbortSignal, base?: string, auth?: import("./auth.js").Auth|null, once?: boolean}} [how] get: use
 *   GET, for the read-only methods; base: the edge's address, with a slash at its end; auth: the caller's token. One
 *   that the edge refuses is replaced once, unless `once` is set
 * @returns {Promise<any>} the edge's answer
 * @throws {RpcError}
 */
export async function rpc(method, params = {}, { auth = null, once = false, ...how } = {}) {
  if (!auth) return call(method, params, how);
  try {
    return await call(method, params, how, await auth.token());
  } catch (error) {
    if (once || !(error instanceof RpcError) || error.status !== 401) throw error;
    auth.forget();
    return call(method, params, how, await auth.token());
  }
}

/**
 * @param {string} method
 * @param {Record<string, any>} params
 * @param {{get?: boolean, signal?: AbortSignal, base?: string}} how
 * @param {string} [token]
 * @returns {Promise<any>}
 */
async function call(method, params, { get = false, signal, base = BASE }, token) {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  /** @type {RequestInit} */
  const init = {
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    headers: { accept: "application/json", ...(token !== undefined && { authorization: `Bearer ${token}` }) },
    ...(token !== undefined && { credentials: "omit" }),
  };
  let url = `${base}rpc/${method}`;
  if (get) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(params))
      for (const each of Array.isArray(value) ? value : [value]) if (each !== undefined) query.append(name, each);
    if (query.size) url += `?${query}`;
  } else {
    Object.assign(init, { method: "POST", body: JSON.stringify(params) });
    init.headers = { ...init.headers, "content-type": "application/json" };
  }
  let response;
  let body;
  try {
    response = await fetch(url, init);
    body = await response.json();
  } catch (error) {
    if (response)
      throw new RpcError(`The edge answered ${response.status} without a reason.`, "no_json", response.status);
    throw new RpcError("The edge did not answer. Is it running?", "unreachable", 0);
  }
  if (response.ok) return body;
  const { code = "error", message = `The edge answered ${response.status}.` } = body?.error ?? {};
  throw new RpcError(message, code, response.status);
}

/**
 * Fetches the newest picture of a run.
 *
 * @param {string} testId
 * @param {string} etag of the known picture, or ""
 * @returns {Promise<Screenshot>} never rejects
 */
export const fetchScreenshot = (testId, etag) =>
  fetchPicture(`${BASE}rpc/getShot?testId=${encodeURIComponent(testId)}`, {
    headers: etag ? { "if-none-match": etag } : {},
    cache: "no-store",
  });

/**
 * Fetches a picture that never changes. A page that shows each picture once keeps none: with `no-store` the cache stays
 * small.
 *
 * @param {string} address
 * @param {{cache?: RequestCache}} [how]
 * @returns {Promise<Screenshot>} never rejects
 */
export const fetchFrame = (address, { cache = "default" } = {}) => fetchPicture(address, { cache });

/** @param {string} address @param {RequestInit} init @returns {Promise<Screenshot>} */
async function fetchPicture(address, init) {
  try {
    const response = await fetch(address, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) });
    const picture = response.status === 200 ? await response.blob() : null;
    return { status: response.status, etag: response.headers.get("etag") ?? "", picture };
  } catch {
    return { status: 0, etag: "", picture: null };
  }
}
