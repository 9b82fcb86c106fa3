// Of what an attacker makes of a frame before it has learned behind the defense of that frame.
export const EARLY = "not learned yet";

// What stands in the place of an attacker before there is something of it.

import { element, percent, say } from "./words.js";

// `tile` has root, title, meaning, attacker and device; `words` are for an attacker that is ready.
export function waiting(tile, words, made) {
  const { root, title, meaning, attacker, device } = tile;
  const busy = !/^(ready|knows)/.test(attacker.words ?? "");
  say(root.querySelector("figcaption small"), busy && attacker.ready ? attacker.words : meaning);
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
