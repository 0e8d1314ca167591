// The public address of the client for other pages. docs/CLIENT.md describes it.
export * from "./client/testcast.js";
