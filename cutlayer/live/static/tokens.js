// From text to the ids of tokens, as the split's tokenizer.json says: by the library of its authors, and the same ids as
// cutlayer/data/text.py.

import { imported, Told } from "./head.js";

const PAD = 0;
const ELSEWHERE = "Use cutlayer edge --join with --text.";

// Ideographs of two units of UTF-16, which BERT's tokenizers set apart like all others.
const FAR = /[\u{20000}-\u{2a6df}\u{2a700}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;

/** Parts of a normalizer: itself, or those of which it consists. */
const parts = (normalizer) => (normalizer?.type === "Sequence" ? normalizer.normalizers.flatMap(parts) : [normalizer ?? {}]);

// Where the library differs from its model in Rust, the text is changed before, so that both give the same.
function evened(text, normalizers) {
  const lower = normalizers.some(({ type, lowercase }) => type === "Lowercase" || (type === "BertNormalizer" && lowercase));
  const apart = normalizers.some(({ type, handle_chinese_chars: apart }) => type === "BertNormalizer" && apart);
  const low = lower ? text.replaceAll("\u03a3", "\u03c3") : text; // a sigma at the end of a word stays a usual one
  return apart ? low.replace(FAR, " $& ") : low;
}

/**
 * Open the tokenizer of a split.
 * @param text What the room says of it: `shift` and `probes`.
 * @returns {Promise<(text: string) => {ids: number[], words: string[], total: number, said: number}>} A function that
 *   gives the ids that are sent and the tokens that they stand for, how many the whole text has, and how many of those
 *   that are sent are no marks.
 * @throws Told, where this browser would make other tokens than a device in Python.
 */
export async function openTokens({ split, file }, text) {
  const [{ Tokenizer }, content] = await Promise.all([imported("tokenizers.min.mjs"), file("tokenizer.json")]);
  const stated = JSON.parse(new TextDecoder().decode(content));
  const tokens = made(Tokenizer, stated, text.shift, split.input.shape[0]);
  const other = text.probes.find(([probe, ids]) => tokens(probe).ids.join() !== ids.join());
  if (other) {
    const which = [stated.normalizer, stated.pre_tokenizer, stated.model, stated.post_processor].map((part) => part?.type);
    const named = which.filter(Boolean).join(", ");
    throw new Told(`A browser makes other tokens than this room's tokenizer (${named}), here of “${other[0].slice(0, 40)}”. ${ELSEWHERE}`);
  }
  return tokens;
}

function made(Tokenizer, stated, shift, length) {
  let tokenizer;
  try {
    // The library looks for the unknown token of a WordLevel here alone.
    tokenizer = new Tokenizer(stated, { unk_token: stated.model.unk_token });
  } catch (error) {
    throw new Told(`A browser cannot make the tokens of this room: ${error.message}. ${ELSEWHERE}`);
  }
  const normalizers = parts(stated.normalizer);
  const marks = tokenizer.encode("").ids.length;
  const id = (token) =>
    tokenizer.added_tokens_map.get(token)?.id ?? tokenizer.token_to_id(token) ?? tokenizer.model.unk_token_id;
  return (text) => {
    const bare = tokenizer.encode_text(evened(text, normalizers)) ?? [];
    // What stands at the end of each text, such as [SEP], stays where the text is cut off.
    const kept = length > marks ? bare.slice(0, length - marks) : bare;
    const whole = tokenizer.post_processor ? tokenizer.post_processor(kept).tokens : kept;
    const own = whole.slice(0, length).map((word) => ({ word, id: id(word) }));
    const unknown = own.find((one) => one.id === undefined);
    if (unknown) throw new Error(`The vocabulary has nothing for “${unknown.word}”.`);
    // Who types the name of padding has said nothing.
    const said = own.filter((one) => one.id + shift !== PAD);
    return {
      ids: said.map((one) => one.id + shift),
      words: said.map((one) => tokenizer.id_to_token(one.id) ?? one.word),
      total: bare.length + marks,
      said: Math.max(0, said.length - marks),
    };
  };
}
