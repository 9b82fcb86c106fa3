// The device's half of the model, computed in this browser by ONNX Runtime.

// A module with one function that gives a vector: browsers without SIMD do not take it.
const SIMD = Uint8Array.of(
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
);

/** What keeps this browser from computing a head, as a sentence; null where nothing does. */
export function lacking() {
  if (typeof WebAssembly !== "object") {
    return "This browser has no WebAssembly, in which the network is computed. Switch off its lockdown mode, or use another browser.";
  }
  if (!WebAssembly.validate(SIMD)) {
    return "This browser has no SIMD in WebAssembly, which the network needs. Use Chrome 91, Firefox 89, Safari 16.4 or newer.";
  }
  return null;
}

/** What the room answers in place of a file, as a sentence. */
export class Told extends Error {}

async function fetched(path, token) {
  const answer = await fetch(path, token ? { headers: { Authorization: `Bearer ${token}` } } : {});
  if (answer.ok) return answer;
  const said = await answer.text();
  let sentence = said.trim();
  try {
    sentence = JSON.parse(said).error;
  } catch {
    // It is the sentence itself.
  }
  throw new Told(sentence || `The room has no ${path}.`);
}

/** A module of the runtime that the room serves. */
export async function imported(name) {
  try {
    return await import(`/runtime/${name}`);
  } catch (error) {
    await fetched(`/runtime/${name}`); // says why, where the room knows
    throw error;
  }
}

async function checked(name, bytes, digest) {
  // Pages that came over http have no hashes; over https the bytes are known to be the room's.
  if (!crypto.subtle) return bytes;
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const hex = Array.from(found, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== digest) throw new Error(`The ${name} that came is not the one that split.json names; load the page again.`);
  return bytes;
}

/**
 * What the room's split.json says, and its files.
 * @returns {Promise<{split: object, file: (name: string) => Promise<ArrayBuffer>}>}
 */
export async function openSplit(token) {
  const split = await (await fetched("/split/split.json", token)).json();
  const file = async (name) =>
    checked(name, await (await fetched(`/split/${name}`, token)).arrayBuffer(), split.files[name]);
  return { split, file };
}

/**
 * Open the head of a room. `run` takes the numbers of a picture, or the ids of a sentence as BigInt64Array in its own
 * length, and gives the smashed data with its shape, of which the first size is 1.
 * @returns {Promise<{version: string, run: (input: Float32Array | BigInt64Array) => Promise<{data: Float32Array, shape: number[]}>}>}
 */
export async function openHead({ split, file }) {
  const ready = imported("ort.wasm.min.mjs");
  ready.catch(() => {}); // whatever fails first is told first
  const model = await file("head.onnx");
  const ort = await ready;
  ort.env.wasm.wasmPaths = "/runtime/";
  ort.env.wasm.numThreads = 1; // a head is small, and threads take longer to start than they save
  const session = await ort.InferenceSession.create(new Uint8Array(model), { executionProviders: ["wasm"] });
  const [input] = session.inputNames;
  const output = session.outputNames.includes("smashed") ? "smashed" : session.outputNames[0];
  const run = async (given) => {
    const text = given instanceof BigInt64Array;
    const tensor = new ort.Tensor(text ? "int64" : "float32", given, [1, ...(text ? [given.length] : split.input.shape)]);
    const { data, dims } = (await session.run({ [input]: tensor }, [output]))[output];
    return { data, shape: dims };
  };
  const size = split.input.shape.reduce((product, side) => product * side, 1);
  await run(split.sequence ? BigInt64Array.of(1n) : new Float32Array(size)); // what the first run sets up
  return { version: split.version, run };
}
