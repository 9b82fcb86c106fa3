// The defense, its strength and the codec of one device, or of all of them.

import { defenseWords, element, say, short, stepName } from "./words.js";

// What comes back is older than the hand on the slider for so long.
const HAND_MS = 1500;

export class Control {
  // wish(wish) is called with what somebody asks for.
  constructor(root, id, name, wish) {
    this.root = root;
    this.id = id;
    this.name = name;
    this.wish = wish;
    this.touched = -HAND_MS;
    this.usedCodec = "raw";
    root.append(document.getElementById("control-template").content.cloneNode(true));
    this.kinds = root.querySelector(".kinds");
    this.slider = root.querySelector("input[type=range]");
    this.output = root.querySelector("output");
    this.steps = root.querySelector(".steps");
    this.codec = root.querySelector("select");
    this.state = root.querySelector(".state");
    this.slider.addEventListener("input", () => this.ask());
    this.codec.addEventListener("change", () => this.ask());
  }

  offer(switchable, codecs) {
    const offered = JSON.stringify([switchable, codecs]);
    if (offered === this.offered) return;
    this.offered = offered;
    this.switchable = switchable;
    this.root.hidden = switchable.length === 0;
    this.kinds.querySelectorAll("label").forEach((label) => label.remove());
    this.kinds.querySelector("legend").textContent = `Defense of ${this.name}`;
    for (const one of switchable) {
      const label = element("label", one.title);
      const input = element("input");
      Object.assign(input, { type: "radio", name: `kind-${this.id}`, value: one.defense });
      input.addEventListener("change", () => {
        this.choose(one.defense);
        this.ask();
      });
      label.prepend(input);
      this.kinds.append(label);
    }
    this.codec.replaceChildren(...codecs.map((name) => new Option(name)));
    this.codec.closest("label").hidden = codecs.length < 2;
    if (switchable.length) this.choose(switchable[0].defense);
  }

  // Put the slider on the scale of a defense; the step stays where it is.
  choose(defense) {
    this.chosen = this.switchable.find((one) => one.defense === defense) ?? this.switchable[0];
    this.kinds.querySelector(`input[value="${CSS.escape(this.chosen.defense)}"]`).checked = true;
    const { values, title } = this.chosen;
    this.slider.max = values.length - 1;
    this.slider.setAttribute("aria-label", `Strength of ${title} on ${this.name}`);
    this.steps.replaceChildren(...values.map((_, step) => element("span", stepName(step, values.length))));
    this.label();
  }

  label() {
    const { values, knob } = this.chosen;
    const step = Number(this.slider.value);
    const name = stepName(step, values.length);
    const value = step ? `${knob} ${short(values[step])}` : "nothing is changed";
    this.output.replaceChildren(name, element("small", value));
    this.slider.setAttribute("aria-valuetext", `${name}, ${value}`);
    this.slider.style.setProperty("--at", `${(100 * step) / (values.length - 1)}%`);
    [...this.steps.children].forEach((span, at) => span.classList.toggle("now", at === step));
  }

  ask() {
    this.touched = performance.now();
    this.label();
    const step = Number(this.slider.value);
    const { defense, knob, values } = this.chosen;
    const wish = step ? { defense, options: { [knob]: values[step] } } : { defense: "none", options: {} };
    this.wish({ ...wish, codec: this.codec.value });
  }

  // Show what the device does, or what it was asked for and has not answered yet.
  follow(device) {
    if (!this.switchable?.length) return;
    const { refused, wish } = device;
    const asked = titleOf(wish);
    const obeyed = !refused && device.defense === asked;
    if (obeyed) this.usedCodec = wish.codec;
    const expected = device.wish_number > 0 && device.connected && !refused && !obeyed;
    if (performance.now() - this.touched > HAND_MS) this.show(expected ? wish : { ...wishOf(device.defense), codec: this.usedCodec });
    const words = [`In use: ${defenseWords(device.defense)}${refused ? "." : ""}`];
    if (expected) words.unshift(`Asked for: ${defenseWords(asked)}.`);
    if (refused) words.push(`The device refuses: ${refused}`);
    const [first, ...rest] = words;
    if (this.state.textContent !== words.join(" ")) {
      this.state.replaceChildren(first, ...rest.flatMap((each) => [" ", element("span", each)]));
    }
    this.state.classList.toggle("refused", Boolean(refused));
  }

  show(wish) {
    const one = this.switchable.find((each) => each.defense === wish.defense);
    const value = one ? (wish.options[one.knob] ?? 0) : 0;
    const step = one ? nearest(one.values, value) : 0;
    if (one && one !== this.chosen) this.choose(one.defense);
    if (this.codec.value !== wish.codec) this.codec.value = wish.codec;
    if (Number(this.slider.value) === step) return;
    this.slider.value = step;
    this.label();
  }
}

function nearest(values, value) {
  const away = values.map((each) => Math.abs(each - value));
  return away.indexOf(Math.min(...away));
}

// As requests state it: `gaussian-noise sigma=0.5`.
function titleOf(wish) {
  const options = Object.entries(wish.options).map(([knob, value]) => `${knob}=${Number(value.toPrecision(6))}`);
  return [wish.defense, ...options].join(" ");
}

// The other way round; what a split does by itself has no knob here.
function wishOf(title) {
  const [defense, ...options] = String(title).split(" ");
  const pairs = options.map((option) => option.split("=")).map(([knob, value]) => [knob, Number(value) || 0]);
  return { defense, options: Object.fromEntries(pairs) };
}
