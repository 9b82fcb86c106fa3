// What a browser does to smashed data before it leaves: the defenses that are noise, a choice or a rounding of
// numbers, and the codecs. Each gives the bytes that the same code in Python gives (defenses/, cutlayer/wire/codecs/).
// An array is a Float32Array of one sample: a picture, or a sentence in its own length without padding, so that levels
// and greatest values are those of the whole sentence, as on a device in Python.

const round = Math.fround;

/** Random bytes of the system, in blocks, as numbers. */
class Source {
  #words = new Uint32Array(16384);
  #at = 16384;

  #next() {
    if (this.#at === this.#words.length) {
      crypto.getRandomValues(this.#words);
      this.#at = 0;
    }
    return this.#words[this.#at++];
  }

  /** A number in (0, 1], of 53 bits, so that its logarithm is finite. */
  above() {
    return ((this.#next() >>> 5) * 0x4000000 + (this.#next() >>> 6) + 1) / 0x20000000000000;
  }

  /** A number in [0, 1), of the 24 bits of a float32. */
  below() {
    return (this.#next() >>> 8) / 0x1000000;
  }
}

const source = new Source();

/** Two independent numbers of the standard normal law, by Box and Muller. */
function normals() {
  const radius = Math.sqrt(-2 * Math.log(source.above()));
  const angle = 2 * Math.PI * source.above();
  return [radius * Math.cos(angle), radius * Math.sin(angle)];
}

function gaussianNoise(values, { sigma }) {
  const out = new Float32Array(values.length);
  for (let i = 0; i < values.length; i += 2) {
    const [first, second] = normals();
    out[i] = values[i] + round(round(first) * round(sigma));
    if (i + 1 < values.length) out[i + 1] = values[i + 1] + round(round(second) * round(sigma));
  }
  return out;
}

function laplaceNoise(values, { scale }) {
  return values.map((value) => value + round(round(Math.log(source.above() / source.above())) * round(scale)));
}

/** Which numbers are the `count` greatest in magnitude; of equal ones the first. */
function greatest(values, count) {
  const sizes = values.map(Math.abs);
  const ordered = sizes.toSorted ? sizes.toSorted() : sizes.slice().sort();
  const least = ordered[values.length - count];
  let room = count;
  for (const size of sizes) room -= size > least;
  return Array.from(sizes, (size) => size > least || (size === least && room-- > 0));
}

function topK(values, { sparsity }) {
  const zeros = Math.trunc(sparsity * values.length + 1e-6);
  if (!zeros) return values;
  const kept = greatest(values, values.length - zeros);
  return values.map((value, i) => (kept[i] ? value : 0));
}

// Clip the norm of the sample, or of a sentence that of each row by itself, and add noise; defenses/local_dp.py.
function localDp(values, { noise, mechanism, clip, per_token: perToken }, width) {
  const laplace = mechanism === "laplace";
  const rows = perToken ? width : values.length;
  const clipped = new Float32Array(values.length);
  for (let at = 0; at < values.length; at += rows) {
    const row = values.subarray(at, at + rows);
    const size = row.reduce((sum, value) => sum + (laplace ? Math.abs(value) : value * value), 0);
    const norm = laplace ? size : Math.sqrt(size + 1e-24);
    const factor = round(clip / Math.max(norm, clip));
    for (let i = 0; i < row.length; i++) clipped[at + i] = row[i] * factor;
  }
  const strength = noise * 2 * clip;
  return laplace ? laplaceNoise(clipped, { scale: strength }) : gaussianNoise(clipped, { sigma: strength });
}

function extremes(values) {
  let low = values[0];
  let high = values[0];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

// To the nearest whole number, halves to the even one.
function nearest(x) {
  const whole = Math.floor(x);
  const rest = x - whole;
  return rest > 0.5 || (rest === 0.5 && whole % 2) ? whole + 1 : whole;
}

function quantize(values, { bits, rounding = "nearest" }) {
  const [low, high] = extremes(values);
  const most = 2 ** bits - 1;
  const step = round(round(high - low) / most) || 1;
  return values.map((value) => {
    const level = round(round(value - low) / step);
    const rounded =
      rounding === "stochastic" ? Math.min(Math.floor(round(level + source.below())), most) : nearest(level);
    return low + round(rounded * step);
  });
}

/** The defenses, each with its knob and the range of it, as in edge/wishes.py. */
export const DEFENSES = {
  "gaussian-noise": { knob: "sigma", most: 10, protect: gaussianNoise },
  "laplace-noise": { knob: "scale", most: 10, protect: laplaceNoise },
  "top-k": { knob: "sparsity", most: 0.995, protect: topK },
  quantize: { knob: "bits", most: 8, whole: true, protect: quantize },
};

/** All that a split itself may ask of a browser: those, and what cannot be switched while a device runs. */
export const COMPUTED = { ...DEFENSES, "local-dp": { knob: "noise", protect: localDp } };

// Codecs: the bytes, and their description in the header.

function raw(values) {
  return { datatype: "FP32", data: littleEndian(values), parameters: { codec: "raw" } };
}

// Typed arrays have the order of the machine, and every machine with a browser is little-endian.
function littleEndian(values) {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function fp16(values) {
  const halves = new Uint16Array(values.length);
  const bits = new Uint32Array(1);
  const number = new Float32Array(bits.buffer);
  const signed = values.some((value) => value < 0);
  for (let i = 0; i < values.length; i++) {
    // Multiplied by 2^-112, a float32 has the bits of a half float in its upper part, apart from rounding.
    number[0] = Math.min(Math.max(values[i], -65504), 65504) * 2 ** -112;
    const sign = signed ? (bits[0] >>> 16) & 0x8000 : 0;
    const magnitude = bits[0] & 0x7fffffff;
    halves[i] = sign | ((magnitude + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  return { datatype: "FP16", data: littleEndian(halves), parameters: { codec: "fp16" } };
}

function affine(values, name, bits) {
  const most = 2 ** bits - 1;
  const data = new Uint8Array(8 + Math.ceil((values.length * bits) / 8));
  const [low, high] = extremes(values);
  let step = round(round(high - low) / most);
  if (!Number.isFinite(round(low + round(step * most)))) throw new Error(`${name} cannot carry numbers so far apart.`);
  if (step < 2 ** -126) step = 0;
  const view = new DataView(data.buffer);
  view.setFloat32(0, low, true);
  view.setFloat32(4, step, true);
  const inverse = step > 0 ? round(1 / step) : 0;
  for (let i = 0; i < values.length; i++) {
    const level = nearest(round(round(values[i] - low) * inverse));
    if (bits === 8) data[8 + i] = level;
    else data[8 + (i >> 1)] |= i % 2 ? level << 4 : level;
  }
  return { datatype: "UINT8", data, parameters: { codec: name, per: "tensor" } };
}

const KEPT = 0.1; // the share that the codec top-k keeps where no other is named

function topKCodec(values) {
  const kept = greatest(values, Math.ceil(KEPT * values.length));
  const bits = new Uint8Array((values.length + 7) >> 3);
  const numbers = [];
  for (let i = 0; i < values.length; i++) {
    if (!kept[i] || !values[i]) continue;
    bits[i >> 3] |= 1 << (i & 7);
    numbers.push(values[i]);
  }
  const data = new Uint8Array(bits.length + 4 * numbers.length);
  data.set(bits);
  data.set(littleEndian(Float32Array.from(numbers)), bits.length);
  return { datatype: "FP32", data, parameters: { codec: "top-k" } };
}

/** The codecs by name. */
export const CODECS = {
  raw,
  fp16,
  int8: (values) => affine(values, "int8", 8),
  int4: (values) => affine(values, "int4", 4),
  "top-k": topKCodec,
};

/** What a wish asks of a browser that it does not do, as a sentence; null where it does all. */
export function refusal({ defense, options, codec }) {
  const names = Object.keys(DEFENSES);
  if (!Object.hasOwn(CODECS, codec)) {
    return `A browser cannot compute the codec ${codec}; it computes ${Object.keys(CODECS).join(", ")}.`;
  }
  if (defense === "none") return null;
  if (!Object.hasOwn(DEFENSES, defense)) {
    return `A browser cannot compute ${defense}; it computes ${names.join(", ")}.`;
  }
  const { knob, most, whole } = DEFENSES[defense];
  const value = options?.[knob];
  const fits = typeof value === "number" && value >= 0 && value <= most && (!whole || Number.isInteger(value));
  return fits ? null : `${knob} of ${defense} must be ${whole ? "a whole number" : "a number"} from 0 to ${most}.`;
}

/** A defense as a request states it: `none`, `gaussian-noise sigma=0.5`. */
export function title({ defense, options }) {
  if (!isOn({ defense, options })) return "none";
  return [defense, ...Object.entries(options).map(([name, value]) => `${name}=${value}`)].join(" ");
}

const isOn = ({ defense, options }) => defense !== "none" && options[COMPUTED[defense].knob] > 0;

/** What leaves the device: the defenses of the split, then that of the wish, one after the other; rows have `width`. */
export function protect(values, defenses, width) {
  const protectedBy = (sent, { defense, options }) => COMPUTED[defense].protect(sent, options, width);
  return defenses.filter(isOn).reduce(protectedBy, values);
}

/** The bytes of an array and their description. */
export function encode(values, codec) {
  if (!values.every(Number.isFinite)) throw new Error("The head gave infinite or undefined numbers.");
  return CODECS[codec](values);
}
