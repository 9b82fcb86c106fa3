// The page that makes a phone a device of the room: picture in, smashed data out, and what the room says of it.

import { Device, kept, Refused } from "./device.js";
import { lacking, openHead, Told } from "./head.js";
import { floats } from "./picture.js";
import { DEFENSES, encode, protect, refusal, title } from "./protect.js";
import { Camera, Still } from "./source.js";
import { defenseWords, percent, say, whole } from "./words.js";

const EACH_MS = { camera: 100, still: 500 }; // a chosen picture goes again and again, so that a new defense shows
const SHOWN_MS = 250;
const STATUS_MS = 250;

const at = (id) => document.getElementById(id);
const token = location.hash.slice(1).split(".")[0]; // a join code has the server's fingerprint behind the dot
const room = { wish: { defense: "none", options: {}, codec: "raw" }, refused: null, told: null };
let device = null;
let head = null;
let source = null;
let kind = "";
let facing = "user";
let admitted = true;
let round = 0;
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
    stop();
    say(document.querySelector("h1"), "This phone cannot join");
    document.title = "cutlayer live: this phone cannot join";
    document.body.classList.add("out");
  }
  if (sentence && name !== "open") trouble(sentence);
}

function ready() {
  const able = head !== null && device?.welcome !== null && !unable(device.welcome);
  at("camera").disabled = at("file").disabled = !able;
}

// What the split itself asks of the device, where a browser does not do it.
function unable({ defenses, text }) {
  if (text) return "This room reads sentences, and a phone sends pictures; use cutlayer edge --join with --text.";
  const foreign = defenses.find(({ defense }) => !Object.hasOwn(DEFENSES, defense));
  if (!foreign) return null;
  const names = Object.keys(DEFENSES).join(", ");
  return `This room's network is protected by ${foreign.defense}, which a browser cannot compute (${names}); use cutlayer edge --join.`;
}

function joined(welcome) {
  if (head && head.version !== welcome.version) return location.reload(); // the room has another network now
  trouble(unable(welcome));
  ready();
}

function wished(wish) {
  room.refused = refusal(wish);
  if (!room.refused) room.wish = wish;
  device.tell({ type: "status", refused: room.refused });
  show();
}

function name() {
  const kinds = [[/iPhone/, "iPhone"], [/iPad/, "iPad"], [/Android/, "Android phone"]];
  const found = kinds.find(([pattern]) => pattern.test(navigator.userAgent))?.[1] ?? "Browser";
  const digits = () => crypto.getRandomValues(new Uint16Array(1))[0].toString(36).padStart(3, "0").slice(-3);
  return kept("name", () => `${found} ${digits()}`);
}

async function begin(opening, which) {
  stop();
  const mine = ++round;
  trouble(null);
  try {
    const opened = await opening;
    if (mine !== round) return opened.close();
    source = opened;
    kind = which;
  } catch (error) {
    trouble(error.message);
    return;
  }
  at("video").hidden = kind !== "camera";
  at("still").hidden = kind !== "still";
  at("nothing").hidden = true;
  at("facts").hidden = at("stop").hidden = false;
  at("turn").hidden = kind !== "camera";
  at("camera").hidden = true;
  const awake = await navigator.wakeLock?.request("screen").catch(() => null);
  await send(mine);
  awake?.release();
}

function stop() {
  round++;
  source?.close();
  source = null;
  at("video").hidden = at("still").hidden = at("stop").hidden = at("turn").hidden = true;
  at("nothing").hidden = false;
  at("camera").hidden = !navigator.mediaDevices;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));

async function send(mine) {
  let complained = false;
  while (mine === round) {
    const began = performance.now();
    if (!source.live) {
      stop();
      trouble("The camera stopped; press the button to start it again.");
      return;
    }
    if (device.open && !document.hidden) {
      try {
        await once(began);
        if (complained) trouble(null);
        complained = false;
      } catch (error) {
        if (mine !== round) return;
        complained = device.open;
        if (complained) trouble(error.message);
        if (error instanceof Refused) await pause(error.retryAfterMs || 1000);
      }
    }
    await pause(EACH_MS[kind] - (performance.now() - began));
  }
}

async function once(began) {
  const { input, defenses } = device.welcome;
  const pixels = source.take(input);
  if (!pixels) return;
  const { wish } = room;
  const number = frame++;
  const started = performance.now();
  const smashed = await head.run(floats(pixels));
  const computed = performance.now();
  const sent = protect(smashed, [...defenses, wish]);
  const guarded = performance.now();
  const encoded = encode(sent, wish.codec);
  const coded = performance.now();
  if (at("share").checked) device.tell({ type: "original", frame: number, data: base64(pixels) });
  const stated = title(wish);
  const { logits, parameters } = await device.ask(number, encoded, stated === "none" ? split(defenses) : stated);
  const ended = performance.now();
  const server = ["queue_ns", "decode_ns", "tail_ns", "reply_ns"].reduce((sum, key) => sum + (parameters[key] ?? 0), 0);
  const ns = (ms) => Math.max(0, Math.round(1e6 * ms));
  const stages = { head: ns(computed - started), protect: ns(guarded - computed), encode: ns(coded - guarded) };
  stages.network = Math.max(0, ns(ended - coded) - server);
  const status = { stages_ns: stages, bytes: encoded.data.length, end_to_end_ns: ns(ended - started), frame: number };
  room.told = { ...status, began, ended, sent, logits, stated, periodMs: ended - (room.told?.ended ?? -Infinity) };
  if (ended - (room.statusMs ?? 0) > STATUS_MS) {
    room.statusMs = ended;
    device.tell({ type: "status", ...status });
  }
  if (ended - (room.shownMs ?? 0) > SHOWN_MS) {
    room.shownMs = ended;
    show();
  }
}

// What the split itself does is stated by its name, as every device does.
const split = (defenses) => defenses.map(({ defense }) => defense).join(" + ") || "none";

function base64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return btoa(text);
}

function show() {
  say(at("defense"), defenseWords(title(room.wish)) + (room.wish.codec === "raw" ? "" : `, codec ${room.wish.codec}`));
  at("refused").hidden = !room.refused;
  say(at("refused"), room.refused ?? "");
  const told = room.told;
  if (!told || !device.welcome) return;
  say(at("bytes"), `${whole(told.bytes)} bytes each time`);
  const rate = 1000 / Math.max(told.periodMs, EACH_MS[kind] ?? 1);
  say(at("rate"), kind === "still" ? "sent twice a second" : `${rate.toFixed(rate < 10 ? 1 : 0)} times a second`);
  const { stages_ns: stages, end_to_end_ns: all } = told;
  say(at("times"), `${whole(all / 1e6)}\u202fms, ${whole(stages.head / 1e6)} of it the network's part here`);
  const best = told.logits.indexOf(Math.max(...told.logits));
  const odds = told.logits.map((logit) => Math.exp(logit - told.logits[best]));
  const share = 1 / odds.reduce((sum, one) => sum + one, 0);
  say(at("answer"), `${device.welcome.labels[best] ?? `class ${best}`}, ${percent(share)}`);
  mosaic(told.sent, device.welcome.smashed);
}

// The numbers as they leave: channels side by side, the least black and the greatest white.
function mosaic(values, shape) {
  const [channels, height, width] = shape.length === 3 ? shape : [1, 1, values.length];
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

function consent() {
  const yes = at("share").checked;
  const words = yes ? "On: the big screen shows it beside what is rebuilt." : "Off: the big screen shows only what is rebuilt.";
  say(at("share-note"), words);
  say(at("caption"), yes ? "Shown on the big screen as well" : "Stays on this phone");
  device.share(yes);
}

async function security() {
  at("insecure").hidden = isSecureContext;
  at("camera").hidden = !navigator.mediaDevices; // which pages over http do not have
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
  at("camera").addEventListener("click", () => begin(Camera.open(at("video"), facing), "camera"));
  at("file").addEventListener("change", ({ target }) => {
    const [file] = target.files;
    target.value = ""; // the same file may be chosen again
    if (file) begin(Still.open(at("still"), file), "still");
  });
  at("turn").addEventListener("click", () => {
    facing = facing === "user" ? "environment" : "user";
    stop();
    begin(Camera.open(at("video"), facing), "camera");
  });
  at("stop").addEventListener("click", stop);
  at("share").addEventListener("change", consent);
  try {
    head = await openHead(token);
  } catch (error) {
    const words = error instanceof Told ? error.message : `The network does not start in this browser: ${error.message}`;
    if (admitted) trouble(words);
    return;
  }
  ready();
}

main();
