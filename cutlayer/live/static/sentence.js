// Sentences, token by token: what a device said, and what an attacker read of it.

import { element, percent, say, titleAndWords, whole } from "./words.js";
import { EARLY, waiting } from "./waiting.js";

// Set the tokens of a sentence: [text, glued] or [text, glued, right]. What is wrong is marked by a line and read out.
export function showTokens(place, tokens) {
  const shown = JSON.stringify(tokens);
  if (place.dataset.shown === shown) return;
  place.dataset.shown = shown;
  const parts = [];
  for (const [text, glued, right] of tokens) {
    if (parts.length && !glued) parts.push(" ");
    const wrong = right === false;
    const part = element(wrong ? "s" : "span", text || "\u00a0\u00a0\u00a0");
    if (wrong) part.title = text ? "not what was said" : "nothing was read here";
    parts.push(part);
  }
  place.replaceChildren(...parts);
}

// What one attacker reads.
export class Reading {
  constructor(attacker) {
    this.root = document.getElementById("reading-template").content.firstElementChild.cloneNode(true);
    this.root.dataset.attacker = attacker.name;
    [this.title, this.meaning] = titleAndWords(attacker.title);
    say(this.root.querySelector("figcaption span"), this.title);
    this.read = null;
  }

  // Nothing of the frame that is shown comes from this attacker.
  clear() {
    if (!this.read) return;
    this.read = null;
    showTokens(this.root.querySelector(".sentence"), []);
    this.root.classList.add("unscored");
    this.root.querySelector(".leak").replaceChildren();
    this.wait(this.attacker, this.device);
  }

  wait(attacker, device) {
    this.attacker = attacker;
    this.device = device;
    waiting(this, "Waiting for a sentence", this.read);
  }

  show(read, _, shared) {
    if (!this.read) this.root.querySelector(".waiting").replaceChildren();
    this.read = read;
    const { tokens, right, of, unknown = 0 } = read;
    showTokens(this.root.querySelector(".sentence"), tokens);
    const share = of && right !== null ? right / of : 0;
    this.root.classList.toggle("unscored", right === null);
    this.root.style.setProperty("--leak", share);
    const line = this.root.querySelector(".leak");
    const unscored = shared ? "not scored: what the device said came too late" : "not scored";
    const words = of || !unknown ? [element("strong", percent(share)), element("span", `read, ${whole(right ?? 0)} of ${whole(of)} tokens`)] : [];
    if (unknown) words.push(element("span", `not counted: ${whole(unknown)} ${unknown === 1 ? "word" : "words"} that the vocabulary lacks`));
    if (right === null) words.splice(0, words.length, unscored);
    if (read.learned === false) words.push(element("span", EARLY));
    line.replaceChildren(...words);
  }
}
