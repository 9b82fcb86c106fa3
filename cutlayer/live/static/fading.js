// A canvas whose pictures fade into each other. The old one stays until the new one is there: nothing flickers.

export const STILL = matchMedia("(prefers-reduced-motion: reduce)");
// A fade takes half of the time between two pictures, so that each is seen by itself too.
const PART = 0.5;
const MOST_MS = 150;

// The pictures of data URLs by their URLs; what cannot be read is left out.
export async function decoded(urls) {
  const pictures = new Map();
  const decode = async (url) => {
    const picture = new Image();
    picture.src = url;
    await picture.decode().then(() => pictures.set(url, picture), () => null);
  };
  await Promise.all([...new Set(urls)].map(decode));
  return pictures;
}

export class Fading {
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.before = document.createElement("canvas");
    this.url = "";
    this.lastMs = 0;
    this.running = 0;
  }

  // Nothing belongs here now.
  clear() {
    this.url = "";
    cancelAnimationFrame(this.running);
    this.pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  // Show a decoded picture.
  show(picture) {
    if (!picture || picture.src === this.url) return;
    this.url = picture.src;
    this.fade(picture);
  }

  fade(picture) {
    const { canvas, before } = this;
    const now = performance.now();
    const resized = canvas.width !== picture.naturalWidth || canvas.height !== picture.naturalHeight;
    if (resized) {
      canvas.width = picture.naturalWidth;
      canvas.height = picture.naturalHeight;
    }
    before.width = canvas.width;
    before.height = canvas.height;
    before.getContext("2d").drawImage(canvas, 0, 0);
    const takes = resized || STILL.matches ? 0 : Math.min(MOST_MS, PART * (now - this.lastMs));
    this.lastMs = now;
    cancelAnimationFrame(this.running);
    const step = (time) => {
      const part = takes ? Math.min(1, Math.max(0, (time - now) / takes)) : 1;
      this.pen.globalAlpha = 1;
      this.pen.drawImage(part < 1 ? before : picture, 0, 0);
      if (part < 1) {
        this.pen.globalAlpha = part;
        this.pen.drawImage(picture, 0, 0);
        this.running = requestAnimationFrame(step);
      }
    };
    step(now);
  }
}
