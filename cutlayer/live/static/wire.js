// The wire in a browser: messages of the Open Inference Protocol by hand, and their framing on the WebSocket.
// proto/README.md says what the bytes mean; cutlayer/live/gateway.py is the other end.

export const PROTOCOL = 1;
export const INFER = 1;
export const METADATA = 2;
const ERROR = 0;
const PREFIX_BYTES = 12;
const MOST_PARTS = 17;
const MOST_FIELDS = 1024;
const MOST_ID_BYTES = 127;

const utf8 = new TextEncoder();
const text = new TextDecoder("utf-8", { fatal: true });

/** What a server refuses, with its code and its sentence. */
export class Refused extends Error {
  constructor(code, sentence, retryAfterMs) {
    super(sentence);
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

/** Bytes that are no message of this protocol. */
export class DecodeError extends Error {}

// Protobuf, the parts of it that these messages have.

function varint(value) {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return bytes;
}

function joined(pieces) {
  const all = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

function bytesField(number, bytes) {
  return joined([varint((number << 3) | 2), varint(bytes.length), bytes]);
}

// Fields that are empty are left out, as proto3 does; those of a map and of a list are not.
const textField = (number, value) => (value ? bytesField(number, utf8.encode(value)) : new Uint8Array());

function parameter(value) {
  if (typeof value === "string") return bytesField(3, utf8.encode(value));
  if (typeof value === "boolean") return Uint8Array.from([0x08, value ? 1 : 0]);
  if (Number.isSafeInteger(value)) return joined([[0x10], varint(value)]);
  const bytes = new Uint8Array(9);
  bytes[0] = 0x21;
  new DataView(bytes.buffer).setFloat64(1, value, true);
  return bytes;
}

// In the order of the names, which is how protobuf writes a map where it promises an order.
function parameters(number, values) {
  const names = Object.keys(values).sort();
  return joined(
    names.map((name) =>
      bytesField(number, joined([bytesField(1, utf8.encode(name)), bytesField(2, parameter(values[name]))])),
    ),
  );
}

function tensorField(number, name, { datatype, shape, parameters: values }) {
  const sizes = joined(shape.map(varint));
  return bytesField(
    number,
    joined([
      textField(1, name),
      textField(2, datatype),
      shape.length ? bytesField(3, sizes) : new Uint8Array(),
      parameters(4, values),
    ]),
  );
}

/** The header of a request for one inference; the id comes last, so that a server recognizes the rest. */
export function inferRequest({ model, version, id, values, tensor }) {
  const name = utf8.encode(id);
  if (name.length > MOST_ID_BYTES) throw new Error(`An id has at most ${MOST_ID_BYTES} bytes.`);
  return joined([
    textField(1, model),
    textField(2, version),
    parameters(4, values),
    tensorField(5, "smashed", tensor),
    bytesField(3, name),
  ]);
}

/** The header that asks a server whether it holds this version of this model. */
export function metadataRequest(model, version) {
  return joined([textField(1, model), textField(2, version)]);
}

function readVarint(bytes, at) {
  let value = 0n;
  for (let index = 0; index < 10; index++) {
    if (at + index >= bytes.length) throw new DecodeError("The message ends in the middle of a field.");
    const byte = bytes[at + index];
    value |= BigInt(byte & 0x7f) << BigInt(7 * index);
    if (byte < 0x80) return [BigInt.asUintN(64, value), at + index + 1];
  }
  throw new DecodeError("A number in the message is longer than 64 bits.");
}

// Yields number, wire type and value of each field: a BigInt, or the bytes.
function* fields(bytes) {
  let at = 0;
  for (let count = 0; at < bytes.length; count++) {
    if (count >= MOST_FIELDS) throw new DecodeError(`A message holds at most ${MOST_FIELDS} fields.`);
    let tag, value, size;
    [tag, at] = readVarint(bytes, at);
    const type = Number(tag & 7n);
    if (type === 0) {
      [value, at] = readVarint(bytes, at);
    } else {
      if (type === 2) [size, at] = readVarint(bytes, at);
      else if (type === 1) size = 8n;
      else if (type === 5) size = 4n;
      else throw new DecodeError("The bytes are not a protobuf message.");
      if (size > BigInt(bytes.length - at)) throw new DecodeError("The message ends in the middle of a field.");
      value = bytes.subarray(at, at + Number(size));
      at += Number(size);
    }
    yield [Number(tag >> 3n), type, value];
  }
}

function decodedText(bytes) {
  try {
    return text.decode(bytes);
  } catch {
    throw new DecodeError("A text in the message is no UTF-8.");
  }
}

function readParameter(bytes) {
  let found = null;
  for (const [number, type, value] of fields(bytes)) {
    if (number === 1 && type === 0) found = value !== 0n;
    else if (number === 2 && type === 0) found = Number(BigInt.asIntN(64, value));
    else if (number === 3 && type === 2) found = decodedText(value);
    else if (number === 4 && type === 1) found = new DataView(value.buffer, value.byteOffset, 8).getFloat64(0, true);
    else if (number === 5 && type === 0) found = Number(value);
  }
  return found;
}

function readEntry(bytes) {
  let name = "";
  let value = null;
  for (const [number, type, content] of fields(bytes)) {
    if (number === 1 && type === 2) name = decodedText(content);
    else if (number === 2 && type === 2) value = readParameter(content);
  }
  return [name, value];
}

function readTensor(bytes) {
  const tensor = { name: "", datatype: "", shape: [], parameters: {} };
  for (const [number, type, value] of fields(bytes)) {
    if (number === 1 && type === 2) tensor.name = decodedText(value);
    else if (number === 2 && type === 2) tensor.datatype = decodedText(value);
    else if (number === 3 && type === 0) tensor.shape.push(Number(BigInt.asIntN(64, value)));
    else if (number === 3 && type === 2) {
      for (let at = 0, size; at < value.length; ) {
        [size, at] = readVarint(value, at);
        tensor.shape.push(Number(BigInt.asIntN(64, size)));
      }
    } else if (number === 4 && type === 2) {
      const [name, stated] = readEntry(value);
      if (stated !== null) tensor.parameters[name] = stated;
    }
  }
  return tensor;
}

/** What the header of an answer says: model, version, id, parameters with the durations, and its tensors. */
export function readInferReply(header) {
  const reply = { model: "", version: "", id: "", parameters: {}, outputs: [] };
  for (const [number, type, value] of fields(header)) {
    if (type !== 2) continue;
    if (number === 1) reply.model = decodedText(value);
    else if (number === 2) reply.version = decodedText(value);
    else if (number === 3) reply.id = decodedText(value);
    else if (number === 4) {
      const [name, stated] = readEntry(value);
      if (stated !== null) reply.parameters[name] = stated;
    } else if (number === 5) reply.outputs.push(readTensor(value));
  }
  return reply;
}

function readError(header) {
  const found = { code: "", sentence: "", retryAfterMs: 0 };
  for (const [number, type, value] of fields(header)) {
    if (number === 1 && type === 2) found.code = decodedText(value);
    else if (number === 2 && type === 2) found.sentence = decodedText(value);
    else if (number === 3 && type === 0) found.retryAfterMs = Number(value);
  }
  return new Refused(found.code, found.sentence, found.retryAfterMs);
}

// Framing: each part behind its length; the first part has the prefix of ZeroMQ and the header.

/** The binary message that carries a header and the bytes of its tensors. */
export function pack(kind, correlation, header, tensors) {
  const prefix = new Uint8Array(PREFIX_BYTES);
  prefix.set([0x43, 0x4c, PROTOCOL, kind]);
  new DataView(prefix.buffer).setBigUint64(4, BigInt(correlation), true);
  const pieces = [];
  for (const part of [joined([prefix, header]), ...tensors]) {
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, part.length, true);
    pieces.push(length, part);
  }
  return joined(pieces);
}

/** Undo `pack`: kind, correlation, header and tensors, or in place of the last two the error of a refusal. */
export function unpack(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const parts = [];
  for (let at = 0; at < bytes.length; ) {
    if (parts.length === MOST_PARTS) throw new DecodeError("The message has too many parts.");
    if (at + 4 > bytes.length) throw new DecodeError("The message ends in the middle of a length.");
    const size = view.getUint32(at, true);
    at += 4;
    if (size > bytes.length - at) throw new DecodeError("The message ends in the middle of a part.");
    parts.push(bytes.subarray(at, at + size));
    at += size;
  }
  const first = parts[0] ?? new Uint8Array();
  if (first.length < PREFIX_BYTES || first[0] !== 0x43 || first[1] !== 0x4c || first[2] !== PROTOCOL) {
    throw new DecodeError(`The answer is none of version ${PROTOCOL} of the protocol.`);
  }
  const correlation = Number(new DataView(first.buffer, first.byteOffset + 4, 8).getBigUint64(0, true));
  const kind = first[3];
  const header = first.subarray(PREFIX_BYTES);
  if (kind === ERROR) return { kind, correlation, error: readError(header) };
  return { kind, correlation, header, tensors: parts.slice(1) };
}
