// Where the time of a request goes: a bar, and the same in words.

import { element, milliseconds, say, whole } from "./words.js";

const SIDES = {
  device: ["head", "protect", "encode"],
  network: ["network"],
  server: ["queue", "decode", "tail", "reply"],
};

function sideOf(stage) {
  return Object.keys(SIDES).find((side) => SIDES[side].includes(stage)) ?? "rest";
}

export function showStages(footer, device, one) {
  const order = Object.values(SIDES).flat();
  const place = (stage) => (order.includes(stage) ? order.indexOf(stage) : order.length);
  const stages = Object.entries(device.stages_ms).filter(([, ms]) => ms > 0).sort(([a], [b]) => place(a) - place(b));
  const sums = {};
  for (const [stage, ms] of stages) sums[sideOf(stage)] = (sums[sideOf(stage)] ?? 0) + ms;
  const total = device.end_to_end_ms ?? Object.values(sums).reduce((sum, ms) => sum + ms, 0);
  footer.hidden = stages.length === 0 && !device.bytes;
  say(footer.querySelector(".took"), total ? milliseconds(total) : "");
  const bar = footer.querySelector(".stages");
  bar.hidden = stages.length === 0;
  while (bar.children.length > stages.length) bar.lastChild.remove();
  while (bar.children.length < stages.length) bar.append(element("span"));
  stages.forEach(([stage, ms], at) => {
    const part = bar.children[at];
    part.className = sideOf(stage);
    part.title = `${stage} ${milliseconds(ms)}`;
    part.style.setProperty("--share", ms);
  });
  bar.setAttribute("aria-label", stages.map(([stage, ms]) => `${stage} ${milliseconds(ms)}`).join(", ") || "no times yet");
  const parts = footer.querySelector(".parts");
  const pieces = ["device", "network", "server"].filter((side) => sums[side]).map((side) => {
    const piece = element("span", `${side} ${milliseconds(sums[side])}`);
    piece.prepend(element("i", "", side));
    return piece;
  });
  if (device.bytes) pieces.push(element("span", `${whole(device.bytes)} bytes a ${one}`));
  const words = pieces.map((piece) => piece.textContent).join(" ");
  if (parts.textContent !== words) parts.replaceChildren(...pieces.flatMap((piece, at) => (at ? [" ", piece] : [piece])));
}
