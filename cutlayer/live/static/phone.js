// The page that makes a phone a device of the room: picture or sentence in, smashed data out, and what the room says of it.

import { Device, kept } from "./device.js";
import { lacking, openHead, openSplit, Told } from "./head.js";
import { COMPUTED, DEFENSES, refusal, title } from "./protect.js";
import { release } from "./release.js";
import { Snapping } from "./snapping.js";
import { openTokens } from "./tokens.js";
import { Typing } from "./typing.js";
import { defenseWords, percent, say, whole } from "./words.js";

const SHOWN_MS = 250;
const STATUS_MS = 250;

// What stands where, before and after the switch of consent.
const CONSENT = {
  pictures: {
    caption: ["Stays on this phone", "Shown on the big screen as well"],
    "share-note": ["Off: the big screen shows only what is rebuilt.", "On: the big screen shows it beside what is rebuilt."],
  },
  text: {
    stays: ["The words stay on this phone. How many tokens they make can be seen.", "Shown on the big screen as well"],
    "share-note": ["Off: the big screen shows only what is read.", "On: the big screen shows it above what is read."],
  },
};

const at = (id) => document.getElementById(id);
const token = location.hash.slice(1).split(".")[0]; // a join code has the server's fingerprint behind the dot
const room = { wish: { defense: "none", options: {}, codec: "raw" }, refused: null, told: null };
let device = null;
let admitted = true;
let head = null;
let way = null; // how inputs come: Snapping or Typing
let kind = ""; // pictures or text
let failed = null; // why the head or the tokenizer does not start
let welcomed = null;
const welcome = new Promise((resolve) => { welcomed = resolve; });
let frame = Date.now(); // so that the session of a page that is loaded again repeats no number

function trouble(sentence) {
  at("trouble").hidden = !sentence;
  say(at("trouble"), sentence ?? "");
}

function state(name, sentence) {
  const words = { open: "Connected", lost: "Looking for the room", refused: "Not admitted" };
  at("state").dataset.state = name === "refused" ? "lost" : name;
  say(at("state"), words[name] ?? sentence);
  if (name === "open") trouble(null);
  if (name === "refused") {
    admitted = false;
    way?.stop();
    say(document.querySelector("h1"), "This phone cannot join");
    document.title = "cutlayer live: this phone cannot join";
    document.body.classList.add("out");
  }
  if (sentence && name !== "open") trouble(sentence);
}

function ready() {
  way?.ready(head !== null && device?.welcome !== null && !unable(device.welcome));
}

// What the split itself asks of the device, where a browser does not do it.
function unable({ defenses, text }) {
  const foreign = defenses.find(({ defense }) => !Object.hasOwn(COMPUTED, defense));
  if (!foreign) return null;
  const names = Object.keys(COMPUTED).join(", ");
  const instead = `use cutlayer edge --join${text ? " with --text" : ""}`;
  return `This room's network is protected by ${foreign.defense}, which a browser cannot compute (${names}); ${instead}.`;
}

function joined(said) {
  if (head && head.version !== said.version) return location.reload(); // the room has another network now
  if (!way) {
    kind = said.text ? "text" : "pictures";
    document.body.classList.add(kind);
    const page = { device, trouble, send };
    way = said.text ? new Typing(page) : new Snapping(page);
    notes();
    welcomed(said);
  }
  trouble(unable(said) ?? failed);
  ready();
}

async function open() {
  try {
    const split = await openSplit(token);
    const opening = openHead(split);
    opening.catch(() => {}); // it is told below
    const { text } = await welcome;
    if (text) way.speak(await openTokens(split, text));
    head = await opening;
  } catch (error) {
    failed = error instanceof Told ? error.message : `The network does not start in this browser: ${error.message}`;
    if (admitted) trouble(failed);
    return;
  }
  ready();
}

function wished(wish) {
  room.refused = refusal(wish);
  if (!room.refused) room.wish = wish;
  device.tell({ type: "status", refused: room.refused });
  show();
  if (!room.refused) way?.again();
}

function name() {
  const kinds = [[/iPhone/, "iPhone"], [/iPad/, "iPad"], [/Android/, "Android phone"]];
  const found = kinds.find(([pattern]) => pattern.test(navigator.userAgent))?.[1] ?? "Browser";
  const digits = () => crypto.getRandomValues(new Uint16Array(1))[0].toString(36).padStart(3, "0").slice(-3);
  return kept("name", () => `${found} ${digits()}`);
}

// Send one input and wait for the answer; `original` goes beside it only if the switch says so.
async function send(input, original) {
  const { wish } = room;
  const told = await release(device, head, frame++, input, wish, at("share").checked ? original : null);
  told.periodMs = told.ended - (room.told?.ended ?? -Infinity);
  room.told = told;
  if (way.eachMs >= STATUS_MS || told.ended - (room.statusMs ?? 0) > STATUS_MS) {
    room.statusMs = told.ended;
    device.tell({ type: "status", ...told.status });
  }
  if (way.eachMs >= SHOWN_MS || told.ended - (room.shownMs ?? 0) > SHOWN_MS) {
    room.shownMs = told.ended;
    show();
  }
}

function show() {
  say(at("defense"), defenseWords(title(room.wish)) + (room.wish.codec === "raw" ? "" : `, codec ${room.wish.codec}`));
  at("refused").hidden = !room.refused;
  say(at("refused"), room.refused ?? "");
  const told = room.told;
  if (!told || !device.welcome) return;
  const { bytes, stages_ns: stages, end_to_end_ns: all } = told.status;
  say(at("bytes"), `${whole(bytes)} bytes each time`);
  say(at("rate"), way.rate(told.periodMs));
  say(at("times"), `${whole(all / 1e6)}\u202fms, ${whole(stages.head / 1e6)} of it the network's part here`);
  say(at("answer"), answerWords(told.logits, device.welcome));
  mosaic(told.sent, told.shape);
}

function answerWords(logits, { labels, text }) {
  if (text && !labels.length) return `a vector of ${whole(logits.length)} numbers`;
  const best = logits.indexOf(Math.max(...logits));
  const odds = logits.map((logit) => Math.exp(logit - logits[best]));
  return `${labels[best] ?? `class ${best}`}, ${percent(1 / odds.reduce((sum, one) => sum + one, 0))}`;
}

// The numbers as they leave: channels side by side, or a row for each token; the least black and the greatest white.
function mosaic(values, shape) {
  const [channels, height, width] = shape.length === 3 ? shape : [1, ...(shape.length === 2 ? shape : [1, values.length])];
  const side = Math.ceil(Math.sqrt(channels));
  const canvas = at("sent");
  canvas.width = side * width;
  canvas.height = Math.ceil(channels / side) * height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  for (let i = 0; i < values.length; i++) {
    const channel = Math.floor(i / (height * width));
    const x = (channel % side) * width + (i % width);
    const y = Math.floor(channel / side) * height + (Math.floor(i / width) % height);
    const gray = (255 * (values[i] - low)) / (high - low || 1);
    image.data.set([gray, gray, gray, 255], 4 * (y * canvas.width + x));
  }
  context.putImageData(image, 0, 0);
}

function notes() {
  const which = at("share").checked ? 1 : 0;
  for (const [id, words] of Object.entries(CONSENT[kind])) say(at(id), words[which]);
}

function consent() {
  notes();
  device.share(at("share").checked);
}

async function security() {
  at("insecure").hidden = isSecureContext;
  const host = location.hostname.replace(/^\[|\]$/g, "");
  const files = "--cert certs/server.pem --key certs/server.key";
  at("commands").textContent = `cutlayer certs init certs --host ${host}\ncutlayer live --host 0.0.0.0 --share ${host} ${files}`;
  if (location.protocol === "https:") at("trust").hidden = !(await fetch("/ca.pem", { method: "HEAD" })).ok;
}

async function main() {
  security();
  if (!token) return state("refused", "This address has no token; scan the code on the big screen, or open the whole address that `cutlayer live` prints behind `phones`.");
  const lack = lacking();
  if (lack) return state("refused", lack);
  device = new Device(token, { name: name(), allows: Object.keys(DEFENSES) }, { joined, wish: wished, state });
  at("share").addEventListener("change", consent);
  await open();
}

main();
