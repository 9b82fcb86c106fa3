// Pictures of this phone, sent one after the other: those of the camera, or one that was chosen.

import { Refused } from "./device.js";
import { floats } from "./picture.js";
import { Camera, Still } from "./source.js";

const EACH_MS = { camera: 100, still: 500 }; // a chosen picture goes again and again, so that a new defense shows

const at = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));

export class Snapping {
  #phone;
  #source = null;
  #kind = "";
  #facing = "user";
  #round = 0;

  /** @param phone The page: `device`, `trouble(sentence)`, and `send(input, original)`, which waits for the answer. */
  constructor(phone) {
    this.#phone = phone;
    at("camera").hidden = !navigator.mediaDevices; // which pages over http do not have
    at("camera").addEventListener("click", () => this.#camera());
    at("file").addEventListener("change", ({ target }) => {
      const [file] = target.files;
      target.value = ""; // the same file may be chosen again
      if (file) this.#begin(Still.open(at("still"), file), "still");
    });
    at("turn").addEventListener("click", () => {
      this.#facing = this.#facing === "user" ? "environment" : "user";
      this.stop();
      this.#camera();
    });
    at("stop").addEventListener("click", () => this.stop());
  }

  /** The shortest time between two pictures, in milliseconds. */
  get eachMs() {
    return EACH_MS[this.#kind] ?? 1;
  }

  ready(able) {
    at("camera").disabled = at("file").disabled = !able;
  }

  stop() {
    this.#round++;
    this.#source?.close();
    this.#source = null;
    at("video").hidden = at("still").hidden = at("stop").hidden = at("turn").hidden = true;
    at("nothing").hidden = false;
    at("camera").hidden = !navigator.mediaDevices;
  }

  /** Nothing: the next picture comes by itself. */
  again() {}

  rate(periodMs) {
    if (this.#kind === "still") return "sent twice a second";
    const rate = 1000 / Math.max(periodMs, this.eachMs);
    return `${rate.toFixed(rate < 10 ? 1 : 0)} times a second`;
  }

  #camera() {
    this.#begin(Camera.open(at("video"), this.#facing), "camera");
  }

  async #begin(opening, kind) {
    this.stop();
    const mine = ++this.#round;
    this.#phone.trouble(null);
    try {
      const opened = await opening;
      if (mine !== this.#round) return opened.close();
      this.#source = opened;
      this.#kind = kind;
    } catch (error) {
      this.#phone.trouble(error.message);
      return;
    }
    at("video").hidden = kind !== "camera";
    at("still").hidden = kind !== "still";
    at("nothing").hidden = true;
    at("facts").hidden = at("stop").hidden = false;
    at("turn").hidden = kind !== "camera";
    at("camera").hidden = true;
    const awake = await navigator.wakeLock?.request("screen").catch(() => null);
    await this.#send(mine);
    awake?.release();
  }

  async #send(mine) {
    const { device, trouble } = this.#phone;
    let complained = false;
    while (mine === this.#round) {
      const began = performance.now();
      if (!this.#source.live) {
        this.stop();
        trouble("The camera stopped; press the button to start it again.");
        return;
      }
      if (device.open && !document.hidden) {
        try {
          const pixels = this.#source.take(device.welcome.input);
          if (pixels) await this.#phone.send(floats(pixels), pixels);
          if (complained) trouble(null);
          complained = false;
        } catch (error) {
          if (mine !== this.#round) return;
          complained = device.open;
          if (complained) trouble(error.message);
          if (error instanceof Refused) await pause(error.retryAfterMs || 1000);
        }
      }
      await pause(this.eachMs - (performance.now() - began));
    }
  }
}
