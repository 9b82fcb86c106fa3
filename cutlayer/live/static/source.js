// Where the pictures come from: a camera, or a picture that was chosen.

import { fitted } from "./picture.js";

const MOST_PIXELS = 12_000_000; // phones give a canvas of 16 million at most

const CAMERA = {
  NotAllowedError: "The camera was not allowed. Allow it for this page in the browser's settings, or choose a picture.",
  NotFoundError: "There is no camera here; choose a picture instead.",
  OverconstrainedError: "There is no such camera here; choose a picture instead.",
  NotReadableError: "The camera is in use by another program. Close that one and try again, or choose a picture.",
};

function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/** The camera of this phone, shown by a video element. */
export class Camera {
  #video;
  #stream;
  #context = null;

  constructor(video, stream) {
    this.#video = video;
    this.#stream = stream;
  }

  /** @throws An Error whose message is a sentence. */
  static async open(video, facing) {
    const wanted = { video: { facingMode: facing, width: { ideal: 640 }, height: { ideal: 480 } }, audio: false };
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia(wanted);
    } catch (error) {
      throw new Error(CAMERA[error.name] ?? `The camera does not start: ${error.message || error.name}.`);
    }
    video.srcObject = stream;
    video.hidden = false; // some browsers play no video that nobody sees
    const settings = stream.getVideoTracks()[0].getSettings();
    video.classList.toggle("mirrored", settings.facingMode === "user");
    await video.play();
    return new Camera(video, stream);
  }

  /** Whether the camera still runs; a phone may take it away. */
  get live() {
    return this.#stream.getVideoTracks().every((track) => track.readyState === "live");
  }

  /** The pixels of the newest frame as the head's input; null before the first. */
  take(shape) {
    const { videoWidth: width, videoHeight: height } = this.#video;
    if (!width || !height) return null;
    if (this.#context?.canvas.width !== width || this.#context.canvas.height !== height) {
      this.#context = canvasOf(width, height).getContext("2d", { willReadFrequently: true, alpha: false });
    }
    this.#context.drawImage(this.#video, 0, 0);
    return fitted(this.#context.getImageData(0, 0, width, height), shape);
  }

  close() {
    for (const track of this.#stream.getTracks()) track.stop();
    if (this.#video.srcObject === this.#stream) this.#video.srcObject = null; // not that of a camera opened since
  }
}

/** A picture from a file, shown by a canvas. */
export class Still {
  live = true;
  #image;
  #pixels = null;

  constructor(image) {
    this.#image = image;
  }

  /** @throws An Error whose message is a sentence. */
  static async open(canvas, file) {
    // As the bytes of the file say, without a correction of colors: what another device would read of it.
    const plainly = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
    let bitmap;
    try {
      bitmap = await createImageBitmap(file, plainly);
      const scale = Math.sqrt(MOST_PIXELS / (bitmap.width * bitmap.height));
      if (scale < 1) {
        const size = { resizeWidth: Math.round(bitmap.width * scale), resizeHeight: Math.round(bitmap.height * scale) };
        bitmap = await createImageBitmap(bitmap, { ...size, resizeQuality: "high" });
      }
    } catch {
      throw new Error("This file is no picture that this browser reads; choose a PNG, JPEG or WebP.");
    }
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    return new Still(context.getImageData(0, 0, bitmap.width, bitmap.height));
  }

  take(shape) {
    this.#pixels ??= fitted(this.#image, shape);
    return this.#pixels;
  }

  close() {}
}
