// What stands in the place of an attacker before there is something of it.

import { element, percent, say } from "./words.js";

// `tile` has root, title, meaning, attacker and device; `words` are for an attacker that is ready. What it made of the
// frame that is shown, if anything, says whether the attacker had learned behind the defense of that frame.
export function waiting(tile, words, made) {
  const { root, title, meaning, attacker, device } = tile;
  const busy = !/^(ready|knows)/.test(attacker.words ?? "");
  const elsewhere = made?.learned === false;
  root.classList.toggle("elsewhere", elsewhere);
  const now = busy && attacker.ready ? attacker.words : elsewhere ? "has not learned this defense yet" : meaning;
  say(root.querySelector("figcaption small"), now);
  root.querySelector("figcaption").title = `${meaning} (${attacker.words})`;
  const place = root.querySelector(".waiting");
  if (made) return;
  if (attacker.ready) {
    say(place, device.connected ? words : "");
    return;
  }
  const bar = place.querySelector("progress") ?? element("progress");
  bar.setAttribute("aria-label", `Training of ${title}`);
  bar.value = attacker.progress;
  if (!bar.isConnected) place.replaceChildren(element("span"), bar);
  say(place.firstChild, attacker.words || `In training, ${percent(attacker.progress)}`);
}
