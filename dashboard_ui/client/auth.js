/**
 * The token of a client outside the edge's own pages, which have a cookie. It goes into the header of RPC calls. A page
 * can set no header on a WebSocket: it asks for a ticket, and offers that as a subprotocol.
 */

import { RpcError, rpc } from "./rpc.js";

const SUBPROTOCOL = "testcast.v1";
/** A new token is asked for this long before the old one expires, or at half of its time if that is later. */
export const LEAD_MS = 60_000;

export class Auth {
  /**
   * @param {() => string|Promise<string>} getToken the caller's; called again whenever another token is needed
   * @param {string} base the edge's address, with a slash at its end
   */
  constructor(getToken, base) {
    this.getToken = getToken;
    this.base = base;
    /** The token in use, or the request for it. @type {Promise<string>|null} */
    this.asked = null;
  }

  /** The token in use. One request for it runs at a time. @returns {Promise<string>} @throws {RpcError} there is none */
  token() {
    if (!this.asked) {
      const asked = ask(this.getToken);
      this.asked = asked;
      asked.catch(() => this.asked === asked && this.forget());
    }
    return this.asked;
  }

  /** The edge has refused the token, or it is about to expire: the next use asks for another. */
  forget() {
    this.asked = null;
  }

  /** The subprotocols to open a socket with. @returns {Promise<string[]>} @throws {RpcError} */
  async protocols() {
    const { ticket } = await rpc("getTicket", {}, { base: this.base, auth: this, once: true });
    if (typeof ticket !== "string" || !/^[\w.~-]+$/.test(ticket))
      throw new RpcError("The edge gave no ticket.", "no_ticket", 0);
    return [SUBPROTOCOL, `ticket.${ticket}`];
  }
}

/** @param {() => string|Promise<string>} getToken */
async function ask(getToken) {
  let token;
  try {
    token = await getToken();
  } catch (error) {
    throw new RpcError(`getToken has failed: ${error instanceof Error ? error.message : error}`, "no_token", 0);
  }
  if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token))
    throw new RpcError("getToken returned no token.", "unauthenticated", 401);
  return token;
}

/** When to ask for another token, ms from now; Infinity: never. @param {number} expiresAt ms @param {number} now ms */
export function renewIn(expiresAt, now) {
  const left = expiresAt - now;
  return Number.isFinite(left) && left > 0 ? Math.max(left - LEAD_MS, left / 2) : Infinity;
}
