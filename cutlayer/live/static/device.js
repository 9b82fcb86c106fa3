// A device's connection to its room: it joins, asks, hears wishes, and comes back by itself when the room was away.

import { INFER, inferRequest, pack, PROTOCOL, readInferReply, Refused, unpack } from "./wire.js";

const PAUSES_MS = [300, 700, 1500, 3000, 5000];
const ANSWER_MS = 10_000;
const FINAL = [400, 401]; // of a connection that the room ended: another one would end alike
const ENDED_BY_ROOM = 4400;

/** What this tab has said of itself before it was loaded again, or says now for the first time. */
export function kept(key, made) {
  const value = sessionStorage.getItem(key) ?? made();
  sessionStorage.setItem(key, value);
  return value;
}

const hex = (n) => Array.from(crypto.getRandomValues(new Uint8Array(n)), (b) => b.toString(16).padStart(2, "0")).join("");

/** No answer came, because the connection was lost or the room is too slow. */
export class Lost extends Error {}

export class Device {
  #token;
  #introduction;
  #heard;
  #socket = null;
  #waiting = new Map();
  #sent = 0;
  #failures = 0;
  #secret = kept("secret", () => hex(16));

  /** @param heard Functions: `joined(welcome)`, `wish(wish)`, `state(name, sentence)`. */
  constructor(token, introduction, heard) {
    this.#token = token;
    this.session = kept("session", () => `phone-${hex(8)}`);
    this.#introduction = { kind: "phone", session: this.session, share_original: false, ...introduction };
    this.#heard = heard;
    this.welcome = null;
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
    this.#open();
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN && this.welcome !== null;
  }

  /** Say whether the room may have the originals themselves. */
  share(yes) {
    this.#introduction.share_original = yes;
    if (this.open) this.#tell({ type: "join", ...this.#introduction });
  }

  tell(message) {
    if (this.open) this.#tell(message);
  }

  /**
   * Ask for the answer to one encoded array of this shape.
   * @returns {Promise<{logits: Float32Array, parameters: object}>} Rejected by Lost or Refused.
   */
  ask(frame, encoded, shape, defense) {
    if (!this.open) return Promise.reject(new Lost("The room does not answer."));
    const correlation = ++this.#sent;
    const { datatype, data, parameters } = encoded;
    const header = inferRequest({
      model: this.welcome.model,
      version: this.welcome.version,
      id: `${this.session}-${frame}`,
      values: { protocol: PROTOCOL, session: this.session, secret: this.#secret, defense },
      tensor: { datatype, shape, parameters },
    });
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#settle(correlation, new Lost("The room does not answer in time.")), ANSWER_MS);
      this.#waiting.set(correlation, { resolve, reject, timer });
      this.#socket.send(pack(INFER, correlation, header, [data]));
    });
  }

  #open() {
    const address = new URL("/device/ws", location.href);
    address.protocol = location.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    this.#socket = socket;
    let denied = null;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#tell({ token: this.#token, ...this.#introduction });
    socket.onmessage = ({ data }) => {
      if (typeof data !== "string") return this.#answered(new Uint8Array(data));
      const message = JSON.parse(data);
      if (message.type === "denied") denied = message;
      else this.#told(message);
    };
    socket.onclose = ({ code }) => this.#closed(code >= ENDED_BY_ROOM ? denied : null);
  }

  #told(message) {
    if (message.type === "joined") {
      this.#failures = 0;
      this.welcome = message;
      this.#heard.state("open", "Connected");
      this.#heard.joined(message);
    }
    if (message.wish) this.#heard.wish(message.wish);
  }

  #answered(bytes) {
    let correlation = 0;
    try {
      const reply = unpack(bytes);
      correlation = reply.correlation;
      if (reply.error) throw reply.error;
      const { parameters } = readInferReply(reply.header);
      const logits = new Float32Array(reply.tensors[0].slice().buffer);
      this.#settle(correlation, { logits, parameters });
    } catch (error) {
      this.#settle(correlation, error instanceof Error ? error : new Lost(String(error)));
    }
  }

  #settle(correlation, outcome) {
    const waiting = this.#waiting.get(correlation);
    if (!waiting) return;
    this.#waiting.delete(correlation);
    clearTimeout(waiting.timer);
    if (outcome instanceof Error) waiting.reject(outcome);
    else waiting.resolve(outcome);
  }

  #closed(denied) {
    this.welcome = null;
    for (const correlation of [...this.#waiting.keys()]) this.#settle(correlation, new Lost("The room went away."));
    if (denied && FINAL.includes(denied.status)) {
      this.#heard.state("refused", denied.sentence);
      return;
    }
    this.#heard.state("lost", denied ? denied.sentence : "");
    const pause = PAUSES_MS[Math.min(this.#failures++, PAUSES_MS.length - 1)];
    this.timer = setTimeout(() => this.#open(), pause);
  }

  #hurry() {
    if (this.#socket?.readyState !== WebSocket.CLOSED || !this.timer) return;
    clearTimeout(this.timer);
    this.timer = 0;
    this.#open();
  }

  #tell(message) {
    this.#socket.send(JSON.stringify(message));
  }
}

export { Refused };
