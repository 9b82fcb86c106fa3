// The big screen: what a server rebuilds of what its devices send, while they send it.

import { Card } from "./card.js";
import { Control } from "./controls.js";
import { Link } from "./link.js";
import { element, say, titleAndWords, whole } from "./words.js";

// How long a card is kept whose device a restarted server does not know.
const MISSED_MS = 60_000;

const at = (id) => document.getElementById(id);
const cards = new Map();
const missed = new Map();
let room = null;
let everyone = null;
let held = false;

const link = new Link("/watch", location.hash.slice(1), heard, changed);
const wish = (id, asked) => link.send({ type: "wish", id, wish: asked });

addEventListener("hashchange", () => location.reload());
setInterval(() => {
  for (const card of cards.values()) card.words();
  for (const [card, sinceMs] of missed) {
    if (performance.now() - sinceMs > MISSED_MS) remove(card);
  }
}, 1000);

function heard(message) {
  if (message.type === "room") arrange(message);
  else if (message.type === "device") update(message);
  else if (message.type === "frame" && !held) cards.get(message.id)?.show(message);
  else if (message.type === "gone" && cards.has(message.id)) remove(cards.get(message.id));
}

function changed(state, words) {
  document.body.classList.toggle("lost", state !== "open");
  at("link").classList.toggle("lost", state !== "open");
  say(at("link"), { open: "Connected", lost: "Connection lost, trying again", refused: "Not connected" }[state]);
  const refused = location.hash.length > 1 ? words : "This address lacks its token.";
  const advice = "Open the whole address that the command has printed in its terminal, behind “page”.";
  at("trouble").hidden = !words;
  say(at("trouble"), state === "refused" ? `${refused} ${advice}` : words);
  // What the room has now comes with the new connection; what it does not name was lost with the old one.
  if (state !== "open") for (const card of cards.values()) missed.set(card, performance.now());
}

function arrange(message) {
  room = { switchable: [], codecs: [], attackers: [], ...message };
  room.chosen ??= room.attackers.map((one) => one.name);
  const { model, cut, data } = room.split;
  if (room.join === null) {
    document.title = "cutlayer: a recorded tap";
    say(document.querySelector("h1 span"), "a recorded tap");
  }
  say(at("split"), `${model}, cut at ${cut}: ${numbers(room.split)}${data ? `. Trained on ${data}` : ""}`);
  at("attackers").hidden = room.attackers.length === 0;
  showAttackers();
  showJoining();
  everyone ??= new Control(everyonePlace(), "all", "all devices", (asked) => wish("all", asked));
  everyone.offer(room.switchable, room.codecs);
  for (const card of cards.values()) card.arrange(room);
  count();
}

function numbers({ smashed, text }) {
  if (text) return `${whole(smashed.slice(1).reduce((a, b) => a * b, 1))} numbers leave the device for each token`;
  return `${whole(smashed.reduce((a, b) => a * b, 1))} numbers leave the device`;
}

function everyonePlace() {
  const place = element("div", "", "control");
  at("everyone").replaceChildren(element("h2", "All devices"), place);
  return place;
}

function update(device) {
  let card = cards.get(device.id) ?? comesBack(device);
  const before = card?.device.connected;
  if (card) {
    missed.delete(card);
    card.adopt(device);
  } else {
    card = new Card(device, wish);
    at("devices").append(card.root);
    cards.set(device.id, card);
    if (room) card.arrange(room);
  }
  if (before !== device.connected) say(at("news"), `${device.name} is ${device.connected ? "here" : "gone"}`);
  count();
}

// The card of a device that a restarted server has given another id.
function comesBack(device) {
  for (const card of missed.keys()) {
    if (card.device.name === device.name && card.device.kind === device.kind) {
      cards.delete(card.id);
      cards.set(device.id, card);
      return card;
    }
  }
  return null;
}

function remove(card) {
  cards.delete(card.id);
  missed.delete(card);
  card.root.remove();
  say(at("news"), `${card.device.name} has left`);
  count();
}

function count() {
  at("everyone").hidden = cards.size < 2 || !room?.switchable.length;
  at("hold").hidden = cards.size === 0;
  at("welcome").hidden = cards.size > 0 || !room;
  at("open-join").hidden = cards.size === 0 || !room?.join?.code;
}

function showAttackers() {
  const place = at("attackers").querySelector(".choices");
  const names = JSON.stringify(room.attackers.map((one) => one.name));
  if (place.dataset.names !== names) {
    place.dataset.names = names;
    place.replaceChildren(...room.attackers.map(choice));
  }
  room.attackers.forEach((one, index) => {
    const label = place.children[index];
    label.querySelector("input").checked = room.chosen.includes(one.name);
    const bar = label.querySelector("progress");
    bar.hidden = one.ready;
    bar.value = one.progress;
    label.title = one.words ?? "";
  });
}

function choice(attacker) {
  const label = element("label");
  const input = element("input");
  input.type = "checkbox";
  input.addEventListener("change", () => {
    const boxes = [...at("attackers").querySelectorAll("input")];
    room.chosen = room.attackers.filter((_, index) => boxes[index].checked).map((one) => one.name);
    link.send({ type: "attackers", names: room.chosen });
    for (const card of cards.values()) card.arrange(room);
  });
  const bar = element("progress");
  const [title] = titleAndWords(attacker.title);
  bar.setAttribute("aria-label", `Training of ${title}`);
  label.append(input, title, bar);
  return label;
}

function showJoining() {
  const { code, qr, local } = room.join ?? {};
  const shown = JSON.stringify([code, qr, local]);
  if (at("join").dataset.shown === shown) return;
  at("join").dataset.shown = shown;
  if (!code) {
    at("welcome").replaceChildren(element("p", "Waiting for the first request.", "soft"));
    return;
  }
  const places = [at("join").querySelector(".joining"), element("div", "", "joining")];
  at("welcome").replaceChildren(places[1]);
  for (const place of places) {
    place.replaceChildren(at(local ? "join-here-template" : "join-template").content.cloneNode(true));
    place.querySelector(".command code").textContent = `cutlayer edge --join '${code}' ${room.split.text ? "--text" : "--camera 0"}`;
    for (const one of place.querySelectorAll(room.split.text ? ".of-pictures" : ".of-text")) one.remove();
    const copy = place.querySelector(".copy");
    copy.hidden = !navigator.clipboard;
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(place.querySelector(".command code").textContent);
      say(copy, "Copied");
    });
    if (qr && !local) {
      const picture = element("img");
      picture.alt = "QR code with the address for phones";
      picture.src = `data:image/svg+xml,${encodeURIComponent(qr)}`;
      place.querySelector(".qr").append(picture);
    }
  }
}

at("open-join").addEventListener("click", () => at("join").showModal());
at("hold").addEventListener("click", () => {
  held = !held;
  if (held) for (const card of cards.values()) card.next = null;
  at("hold").setAttribute("aria-pressed", held);
});
