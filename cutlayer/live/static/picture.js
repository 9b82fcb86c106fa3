// Pixels as the head takes them. A picture is laid on white where it is transparent, made gray or RGB, scaled until its
// shorter side fits, and cropped in the center, in the whole numbers in which Pillow computes the same
// (cutlayer/data/images.py): equal pixels in give equal pixels out. Only pictures more than twice as tall as wide may
// differ by one level of 255, since Pillow 13 scales the columns of these before their rows.

const BITS = 22; // of the fraction of a weight

// The weights by which pixels from..from+n of a row of `size` make each of `wanted` pixels of the part start..end.
function weights(size, start, end, wanted) {
  const f = Math.fround;
  const scale = f(f(end) - f(start)) / wanted;
  const wide = Math.max(scale, 1);
  return Array.from({ length: wanted }, (_, i) => {
    const center = f(start) + (i + 0.5) * scale;
    const from = Math.max(0, Math.trunc(center - wide + 0.5));
    const to = Math.min(size, Math.trunc(center + wide + 0.5));
    const each = [];
    for (let x = from; x < to; x++) each.push(Math.max(0, 1 - Math.abs((x - center + 0.5) * (1 / wide))));
    const sum = each.reduce((total, weight) => total + weight, 0);
    return { from, each: each.map((weight) => Math.trunc(0.5 + (weight / sum) * 2 ** BITS)) };
  });
}

const clipped = (sum) => Math.min(255, Math.max(0, sum >> BITS));

// One plane of bytes, scaled along the rows; `step` leads to the next pixel, `line` to the next row, in and out.
function scaled(plane, plan, rows, line, step, outLine, outStep, out) {
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < plan.length; i++) {
      const { from, each } = plan[i];
      let sum = 1 << (BITS - 1);
      let at = row * line + from * step;
      for (let k = 0; k < each.length; k++, at += step) sum += plane[at] * each[k];
      out[row * outLine + i * outStep] = clipped(sum);
    }
  }
  return out;
}

// The part of a picture that is kept: its middle, as long and as wide as the head's input is in proportion.
function middle(width, height, toWidth, toHeight) {
  const ratio = width / height;
  const wanted = toWidth / toHeight;
  const wide = ratio > wanted ? wanted * height : width;
  const tall = ratio < wanted ? width / wanted : height;
  const left = (width - wide) * 0.5;
  const top = (height - tall) * 0.5;
  return { left, top, right: left + wide, bottom: top + tall };
}

function fittedPlane(plane, width, height, toWidth, toHeight) {
  if (width === toWidth && height === toHeight) return plane;
  const { left, top, right, bottom } = middle(width, height, toWidth, toHeight);
  let [there, wide] = [plane, width];
  if (toWidth !== width || left || right !== toWidth) {
    const out = new Uint8Array(toWidth * height);
    there = scaled(plane, weights(width, left, right, toWidth), height, width, 1, toWidth, 1, out);
    wide = toWidth;
  }
  if (toHeight !== height || top || bottom !== toHeight) {
    const out = new Uint8Array(toWidth * toHeight);
    there = scaled(there, weights(height, top, bottom, toHeight), wide, 1, wide, 1, toWidth, out);
  }
  return there;
}

// Onto white, as Pillow's alpha_composite does it.
function opaque(color, alpha) {
  if (alpha === 255) return color;
  const share = Math.trunc((alpha * 255 * 255 * 128) / (255 * 255));
  const sum = color * share + 255 * (255 * 128 - share) + (0x80 << 7);
  return ((sum >> 8) + sum) >> 8 >> 7;
}

/**
 * The pixels of a picture as the head's input.
 * @param {{data: Uint8ClampedArray, width: number, height: number}} image As a canvas gives it, RGBA.
 * @param {[number, number, number]} shape Channels (1 or 3), height and width.
 * @returns {Uint8Array} Channel by channel, row by row.
 */
export function fitted({ data, width, height }, [channels, toHeight, toWidth]) {
  const planes = Array.from({ length: channels }, () => new Uint8Array(width * height));
  for (let i = 0, at = 0; i < width * height; i++, at += 4) {
    const alpha = data[at + 3];
    const [red, green, blue] = [opaque(data[at], alpha), opaque(data[at + 1], alpha), opaque(data[at + 2], alpha)];
    if (channels === 1) {
      planes[0][i] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    } else {
      planes[0][i] = red;
      planes[1][i] = green;
      planes[2][i] = blue;
    }
  }
  const out = new Uint8Array(channels * toHeight * toWidth);
  planes.forEach((plane, c) => {
    out.set(fittedPlane(plane, width, height, toWidth, toHeight), c * toHeight * toWidth);
  });
  return out;
}

/** Bytes as the numbers of the head's input: float32 in [0, 1]. */
export const floats = (pixels) => Float32Array.from(pixels, (value) => value / 255);
