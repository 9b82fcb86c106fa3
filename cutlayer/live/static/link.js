// The connection to the room: it comes back by itself, unless the room says that this page has no business there.

const PAUSES_MS = [300, 700, 1500, 3000, 5000];
const REFUSED = [4401, 4403];

// heard(message) gets each message; changed(state, words) is told "open", "lost" or "refused".
export class Link {
  constructor(path, token, heard, changed) {
    this.path = path;
    this.token = token;
    this.heard = heard;
    this.changed = changed;
    this.failures = 0;
    this.timer = 0;
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    const address = new URL(this.path, location.href);
    address.protocol = location.protocol.replace("http", "ws");
    address.hash = "";
    this.socket = new WebSocket(address);
    this.socket.onopen = () => this.socket.send(JSON.stringify({ token: this.token }));
    this.socket.onmessage = (event) => {
      let message;
      try {
        message = JSON.parse(event.data);
      } catch {
        return; // what cannot be read is not shown, and what comes next is
      }
      if (message.type === "room") {
        this.failures = 0;
        this.changed("open", "");
      }
      this.heard(message);
    };
    this.socket.onclose = (event) => this.closed(event);
  }

  closed(event) {
    if (REFUSED.includes(event.code)) {
      this.socket = null;
      this.changed("refused", event.reason || "The room refuses this page.");
      return;
    }
    this.changed("lost", event.code === 4400 ? event.reason : "");
    this.timer = setTimeout(() => this.open(), PAUSES_MS[Math.min(this.failures++, PAUSES_MS.length - 1)]);
  }

  // Try now where a pause is being waited out.
  hurry() {
    if (this.socket?.readyState === WebSocket.CLOSED) this.open();
  }

  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}
