// One input on its way: head, defense, codec, the question to the server and its answer, each with its time.

import { encode, protect, title } from "./protect.js";

const SERVER = ["queue_ns", "decode_ns", "tail_ns", "reply_ns"];

/**
 * Send what the head makes of an input, and wait for the answer.
 * @param device The connection.
 * @param head The head.
 * @param input What the head takes.
 * @param wish The defense and the codec in use, behind those of the split.
 * @param original Bytes of the input as the room takes them; null where they are not shared.
 * @returns What was sent, what came back and how long it took, in nanoseconds.
 */
export async function release(device, head, frame, input, wish, original) {
  const { defenses } = device.welcome;
  const started = performance.now();
  const { data, shape } = await head.run(input);
  const computed = performance.now();
  const sent = protect(data, [...defenses, wish], shape.at(-1));
  const guarded = performance.now();
  const encoded = encode(sent, wish.codec);
  const coded = performance.now();
  if (original) device.tell({ type: "original", frame, data: base64(original) });
  const stated = title(wish);
  const { logits, parameters } = await device.ask(frame, encoded, shape, stated === "none" ? split(defenses) : stated);
  const ended = performance.now();
  const server = SERVER.reduce((sum, key) => sum + (parameters[key] ?? 0), 0);
  const ns = (ms) => Math.max(0, Math.round(1e6 * ms));
  const stages = { head: ns(computed - started), protect: ns(guarded - computed), encode: ns(coded - guarded) };
  stages.network = Math.max(0, ns(ended - coded) - server);
  const status = { stages_ns: stages, bytes: encoded.data.length, end_to_end_ns: ns(ended - started), frame };
  return { status, sent, shape: shape.slice(1), logits, ended };
}

// What the split itself does is stated by its name, as every device does.
const split = (defenses) => defenses.map(({ defense }) => defense).join(" + ") || "none";

function base64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return btoa(text);
}
