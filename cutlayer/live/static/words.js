// Numbers and names as people read them.

const SOME = new Intl.NumberFormat("en");
const THREE = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export const whole = (number) => SOME.format(Math.round(number));

export const short = (number) => THREE.format(number);

export const percent = (share) => `${whole(100 * share).replace(/^-0$/, "0")}\u202f%`;

export const milliseconds = (ms) => `${ms < 100 ? ms.toFixed(1) : whole(ms)}\u202fms`;

export function ago(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))}\u202fs ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)}\u202fmin ago`;
  return `${Math.round(seconds / 3600)}\u202fh ago`;
}

const STEPS = ["off", "trace", "faint", "light", "medium", "strong", "heavy", "extreme"];

// The name of one of n steps of a slider; the first is off, the last extreme.
export function stepName(step, n) {
  if (step === 0 || n < 2) return STEPS[0];
  if (n === 2) return "on";
  return STEPS[1 + Math.round(((step - 1) * (STEPS.length - 2)) / (n - 2))];
}

// `gaussian-noise sigma=0.5` in words.
export function defenseWords(title) {
  const [name, ...options] = String(title).split(" ");
  if (name === "none") return "no defense";
  return [name.replace("-noise", " noise"), ...options.map((option) => option.replace("=", " "))].join(", ");
}

// `ridge: a linear formula for every small part` as a name and what it means.
export function titleAndWords(title) {
  const [name, ...rest] = title.split(": ");
  return [name.slice(0, 1).toUpperCase() + name.slice(1), rest.join(": ")];
}

export function element(name, words = "", className = "") {
  const made = document.createElement(name);
  if (words) made.textContent = words;
  if (className) made.className = className;
  return made;
}

// Set a text only where it changes, so that nothing is painted or read out twice.
export function say(node, words) {
  if (node.textContent !== words) node.textContent = words;
}
