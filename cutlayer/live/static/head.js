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

async function runtime() {
  try {
    const ort = await import("/runtime/ort.wasm.min.mjs");
    ort.env.wasm.wasmPaths = "/runtime/";
    ort.env.wasm.numThreads = 1; // a head is small, and threads take longer to start than they save
    return ort;
  } catch (error) {
    await fetched("/runtime/ort.wasm.min.mjs"); // says why, where the room knows
    throw error;
  }
}

async function checked(bytes, digest) {
  // Pages that came over http have no hashes; over https the bytes are known to be the room's.
  if (!crypto.subtle) return bytes;
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const hex = Array.from(found, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== digest) throw new Error("The network that came is not the one that split.json names; load the page again.");
  return bytes;
}

/**
 * Open the head of a room.
 * @returns {Promise<{version: string, run: (numbers: Float32Array) => Promise<Float32Array>}>}
 */
export async function openHead(token) {
  const ready = runtime();
  ready.catch(() => {}); // whatever fails first is told first
  const split = await (await fetched("/split/split.json", token)).json();
  const bytes = await (await fetched("/split/head.onnx", token)).arrayBuffer();
  const model = await checked(bytes, split.files["head.onnx"]);
  const ort = await ready;
  const session = await ort.InferenceSession.create(new Uint8Array(model), { executionProviders: ["wasm"] });
  const [input] = session.inputNames;
  const output = session.outputNames.includes("smashed") ? "smashed" : session.outputNames[0];
  const shape = [1, ...split.input.shape];
  const run = async (numbers) => {
    const given = new ort.Tensor("float32", numbers, shape);
    return (await session.run({ [input]: given }, [output]))[output].data;
  };
  await run(new Float32Array(shape.reduce((product, size) => product * size))); // what the first run sets up
  return { version: split.version, run };
}
