// A sentence that is typed on this phone: each change of it is sent, as tokens through the head, and no letter of it.

import { Lost, Refused } from "./device.js";
import { element, say, whole } from "./words.js";

const EACH_MS = 250; // four changes a second at most, as from a terminal

const at = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));

export class Typing {
  #phone;
  #tokens = null;
  #made = null;
  #due = false;
  #busy = false;
  #complained = false;
  #sentMs = -EACH_MS;

  /** @param phone The page: `device`, `trouble(sentence)`, and `send(input, original)`, which waits for the answer. */
  constructor(phone) {
    this.#phone = phone;
    at("said").addEventListener("input", () => this.#typed());
    at("clear").addEventListener("click", () => {
      at("said").value = "";
      this.#typed();
      at("said").focus();
    });
  }

  eachMs = EACH_MS;

  /** Take what makes tokens of text; see `openTokens`. */
  speak(tokens) {
    this.#tokens = tokens;
  }

  ready(able) {
    at("said").disabled = at("clear").disabled = !able;
    if (able) this.#typed(); // what was typed before the network was there
  }

  stop() {
    this.#due = false;
    at("said").disabled = at("clear").disabled = true;
  }

  /** Send the same sentence again: the defense, the consent or the connection is another one. */
  again() {
    this.#due = this.#made !== null;
    this.#go();
  }

  rate() {
    return this.#made ? `for ${whole(this.#made.ids.length)} ${this.#made.ids.length === 1 ? "token" : "tokens"}` : "";
  }

  #typed() {
    const text = at("said").value;
    try {
      const made = this.#tokens(text);
      this.#note(text, made);
      this.#made = text.trim() && made.said ? made : null; // without a word, nothing is sent
    } catch (error) {
      this.#made = null;
      say(at("cut"), error.message);
    }
    at("facts").hidden &&= this.#made === null;
    this.again();
  }

  #note(text, { words, total, said }) {
    const cut = total > words.length && said ? `Only the first ${whole(words.length)} of ${whole(total)} tokens are sent; this network takes no more.` : "";
    say(at("cut"), text.trim() && !said ? "This has no token; type words." : cut);
    at("tokens").replaceChildren(...(said ? words : []).map((word) => element("span", word)));
  }

  async #go() {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#due && this.#phone.device.open) {
      await pause(this.#sentMs + EACH_MS - performance.now());
      const made = this.#made;
      if (!made || !this.#due) break;
      this.#due = false;
      this.#sentMs = performance.now();
      try {
        await this.#phone.send(BigInt64Array.from(made.ids, BigInt), new Uint8Array(Int32Array.from(made.ids).buffer));
        if (this.#complained) this.#phone.trouble(null);
        this.#complained = false;
      } catch (error) {
        this.#complained = this.#phone.device.open;
        if (this.#complained) this.#phone.trouble(error.message);
        this.#due ||= error instanceof Lost || error instanceof Refused; // other troubles come again with the same words
        if (error instanceof Refused) await pause(error.retryAfterMs || 1000);
      }
    }
    this.#busy = false;
  }
}
