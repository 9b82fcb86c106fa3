// One device: what it saw, what the attackers rebuild of it, who they take it for, and what can be switched.

import { Control } from "./controls.js";
import { decoded, Fading, STILL } from "./fading.js";
import { Reading, showTokens } from "./sentence.js";
import { showStages } from "./stages.js";
import { EARLY, waiting } from "./waiting.js";
import { ago, element, percent, say, titleAndWords, whole } from "./words.js";

// Words that change more often than this cannot be read.
const WORDS_MS = 400;
// A frame changes with all its figures, so that none comes sooner after another than figures can be followed.
const FRAME_MS = 250;
// A viewer who asked for less motion gets a frame this often.
const STILL_MS = 1000;
// Pictures of fewer pixels than this look better with their pixels than smoothed.
const COARSE = 24;

const KINDS = { python: "", phone: "phone", tap: "from the tap" };

export class Card {
  constructor(device, wish) {
    this.root = document.getElementById("card-template").content.firstElementChild.cloneNode(true);
    this.find = (selector) => this.root.querySelector(selector);
    this.saw = new Fading(this.find(".saw canvas"));
    this.candidate = new Fading(this.find(".verdict canvas"));
    this.tiles = new Map();
    this.frame = null;
    this.next = null;
    this.showing = false;
    this.pictures = new Map();
    this.wordsMs = -WORDS_MS;
    this.shownMs = -STILL_MS;
    this.later = 0;
    this.heading = `device-${device.id}`;
    this.find("h2").id = this.heading;
    this.root.setAttribute("aria-labelledby", this.heading);
    this.control = new Control(this.find(".control"), device.id, device.name, (asked) => wish(this.id, asked));
    this.adopt(device);
  }

  get id() {
    return this.device.id;
  }

  // Take what is known of the device; its id changes when it comes back to a server that was restarted.
  adopt(device) {
    const consent = this.device && this.device.shares_original !== device.shares_original;
    const urgent = !this.device || ["connected", "refused", "defense", "id"].some((key) => this.device[key] !== device[key]);
    this.device = device;
    this.root.dataset.id = device.id;
    this.root.dataset.name = device.name;
    this.heardMs = performance.now() - (device.last_ns_ago ?? 0) / 1e6;
    if (consent) this.draw();
    if (urgent) this.wordsMs = -WORDS_MS;
    this.words();
  }

  arrange(room) {
    this.room = room;
    this.control.offer(room.switchable, room.codecs);
    this.text = room.split.text === true;
    this.root.classList.toggle("text", this.text);
    if (this.text) {
      say(this.find(".saw figcaption"), "The device said");
      say(this.find(".saw .kept"), "The sentence stays on the device.");
      this.find(".saw canvas").hidden = true;
    }
    this.root.classList.toggle("coarse", !this.text && Math.max(...room.split.input.slice(-2)) < COARSE);
    const chosen = room.attackers.filter((one) => room.chosen.includes(one.name));
    this.find(".middle").style.setProperty("--attackers", Math.max(1, chosen.length));
    for (const [name, tile] of this.tiles) {
      if (!chosen.some((one) => one.name === name)) {
        tile.root.remove();
        this.tiles.delete(name);
      }
    }
    const place = this.find(".tiles");
    chosen.forEach((one, index) => {
      if (!this.tiles.has(one.name)) this.tiles.set(one.name, this.text ? new Reading(one) : new Tile(one, this.device.name));
      const tile = this.tiles.get(one.name);
      // Behind what the device saw; only what is not there yet moves.
      if (place.children[index + 1] !== tile.root) place.insertBefore(tile.root, place.children[index + 1] ?? null);
      tile.wait(one, this.device);
    });
    this.draw();
    this.wordsMs = -WORDS_MS;
    this.words();
  }

  // The newest frame is shown; one that is overtaken while it waits is left out.
  show(frame) {
    this.next = frame;
    if (!this.showing) this.showNext();
  }

  // The pictures of a frame are decoded first, and then they and all its figures change at once.
  async showNext() {
    this.showing = true;
    while (this.next) {
      const left = this.shownMs + (STILL.matches ? STILL_MS : FRAME_MS) - performance.now();
      if (left > 0) await new Promise((resolve) => setTimeout(resolve, left));
      const frame = this.next;
      if (!frame) break; // it was held back
      this.next = null;
      const drawn = [frame.original, frame.candidate?.picture, ...frame.rebuilt.map((one) => one.picture)];
      const urls = drawn.filter((one) => typeof one === "string");
      this.pictures = await decoded(urls);
      this.shownMs = performance.now();
      this.frame = frame;
      this.root.dataset.frame = frame.frame;
      this.root.dataset.defense = frame.defense ?? "";
      this.draw();
    }
    this.showing = false;
  }

  draw() {
    const shared = this.device.shares_original;
    this.root.classList.toggle("shared", shared);
    const name = this.device.name;
    this.saw.canvas.setAttribute("aria-label", shared ? `What ${name} saw` : `${name} keeps its picture`);
    if (!shared) this.clearOriginal();
    if (!this.frame) return;
    // Pictures and figures of different frames never stand side by side.
    const { original, rebuilt, prediction, candidate } = this.frame;
    this.root.classList.toggle("late", shared && !original);
    if (shared && original) this.showOriginal(original);
    for (const [name, tile] of this.tiles) {
      const made = rebuilt.find((one) => one.attacker === name);
      if (made) tile.show(made, this.pictures.get(made.picture), shared);
      else tile.clear();
    }
    this.answer(prediction);
    this.verdict(candidate);
  }

  showOriginal(original) {
    if (this.text) showTokens(this.find(".saw .sentence"), original);
    else this.saw.show(this.pictures.get(original));
  }

  clearOriginal() {
    this.saw.clear();
    showTokens(this.find(".saw .sentence"), []);
  }

  // What is said of the device. Called for every message and every second, and does less.
  words() {
    const now = performance.now();
    clearTimeout(this.later);
    if (now - this.wordsMs < WORDS_MS) {
      this.later = setTimeout(() => this.words(), WORDS_MS);
      return;
    }
    this.wordsMs = now;
    const { device } = this;
    this.control.follow(device);
    this.root.classList.toggle("gone", !device.connected);
    say(this.find("h2"), device.name);
    say(this.find(".kind"), KINDS[device.kind] ?? device.kind);
    const [frames, none] = this.text ? ["requests", this.frame ? "nothing is typed" : "waiting for a sentence"] : ["frames", "waiting for a frame"];
    const rate = device.fps ? `${device.fps.toFixed(device.fps < 9.95 ? 1 : 0)} ${frames} a second` : none;
    say(this.find(".seen"), device.connected ? rate : `last seen ${ago((now - this.heardMs) / 1000)}`);
    if (!this.frame) this.answer(device.prediction);
    showStages(this.find("footer"), device, this.text ? "request" : "frame");
  }

  answer(prediction) {
    this.find(".answer").hidden = !prediction;
    say(this.find(".answer strong"), prediction ? prediction.label : "");
    say(this.find(".answer span"), prediction ? percent(prediction.share) : "");
  }

  verdict(candidate) {
    const place = this.find(".verdict");
    place.hidden = !candidate;
    if (!candidate) return;
    const picture = this.candidate.canvas;
    picture.hidden = !candidate.picture;
    if (candidate.picture) this.candidate.show(this.pictures.get(candidate.picture));
    say(place.querySelector("blockquote"), candidate.sentence ?? "");
    const { rank, of, index } = candidate;
    const named = `candidate ${whole(index + 1)}`;
    const unsure = rank === null ? `Perhaps ${named}, if it is one of the ${whole(of)} on the list.` : `Perhaps ${named} of ${whole(of)}.`;
    const first = candidate.sure ? `This is ${named} of ${whole(of)}.` : unsure;
    const second = verdictWords(rank);
    const words = place.querySelector("p");
    if (words.textContent !== first + second) words.replaceChildren(first, element("small", second));
  }
}

function verdictWords(rank) {
  if (rank === null) return "The truth is not known here.";
  return rank === 1 ? "The attacker is right." : `Wrong: the right one is in place ${whole(rank)}.`;
}

class Tile {
  constructor(attacker, name) {
    this.root = document.getElementById("tile-template").content.firstElementChild.cloneNode(true);
    this.root.dataset.attacker = attacker.name;
    [this.title, this.meaning] = titleAndWords(attacker.title);
    say(this.root.querySelector("figcaption span"), this.title);
    const canvas = this.root.querySelector("canvas");
    canvas.setAttribute("aria-label", `What ${this.title} rebuilds of the picture of ${name}`);
    this.picture = new Fading(canvas);
    this.rebuilt = null;
  }

  // No picture of the frame that is shown comes from this attacker.
  clear() {
    if (!this.rebuilt) return;
    this.rebuilt = null;
    this.picture.clear();
    this.root.classList.add("unscored");
    this.root.querySelector(".leak").replaceChildren();
    this.wait(this.attacker, this.device);
  }

  wait(attacker, device) {
    this.attacker = attacker;
    this.device = device;
    waiting(this, "Waiting for a frame", this.rebuilt);
  }

  show(rebuilt, picture, shared) {
    if (!this.rebuilt) this.root.querySelector(".waiting").replaceChildren();
    this.rebuilt = rebuilt;
    this.picture.show(picture);
    const unscored = shared ? "not scored: what the device saw came too late" : "not scored";
    const { leakage_gain: leak, psnr_db: psnr } = rebuilt;
    this.root.classList.toggle("unscored", leak === null);
    this.root.style.setProperty("--leak", Math.min(1, Math.max(0, leak ?? 0)));
    const line = this.root.querySelector(".leak");
    const words = leak === null ? [unscored] : [element("strong", percent(Math.max(0, leak))), element("span", "leaked")];
    // In the place of the other figure, so that the slider below does not move while it is drawn.
    if (rebuilt.learned === false) words.push(element("span", EARLY));
    else if (psnr !== null) words.push(element("span", `${psnr.toFixed(1)}\u202fdB`));
    line.replaceChildren(...words);
  }
}
