// From pixels to probabilities as timm's VisionTransformer goes, and Pillow's bicubic resize. No library.

// --- resizing: Pillow's BICUBIC, bit for bit (8-bit pixels, 22-bit weights, across first, then down). Pillow 13 takes
// tall pictures down first: rounding and clipping in between then fall elsewhere. On smooth pictures few pixels change,
// by a level; on noise, where the filter overshoots and is clipped, up to 21 levels were seen. ---

function cubic(x) {
  const a = -0.5, t = Math.abs(x);
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  return t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
}

// For each of `count` output pixels between `from` and `to`: the first input pixel, and the weights from there on.
function taps(length, from, to, count) {
  const scale = (to - from) / count, spread = Math.max(scale, 1), rows = [];
  for (let i = 0; i < count; i++) {
    const centre = from + (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - 2 * spread + 0.5));
    const end = Math.min(length, Math.trunc(centre + 2 * spread + 0.5));
    const weights = [];
    for (let k = first; k < end; k++) weights.push(cubic((k - centre + 0.5) / spread));
    const sum = weights.reduce((a, b) => a + b, 0);
    rows.push({ first, weights: weights.map((w) => Math.trunc((w / sum) * 2 ** 22 + (w < 0 ? -0.5 : 0.5))) });
  }
  return rows;
}

const clip8 = (x) => Math.min(255, Math.max(0, Math.floor((x + 2 ** 21) / 2 ** 22)));

// RGBA pixels of a width x height picture -> planes (3, down, across) of the part inside box = [left, top, right, bottom].
function resize(rgba, width, height, box, across, down) {
  const columns = taps(width, box[0], box[2], across), rows = taps(height, box[1], box[3], down);
  const top = rows[0].first, bottom = Math.max(...rows.map((row) => row.first + row.weights.length));
  const between = new Uint8Array(3 * (bottom - top) * across), out = new Uint8Array(3 * down * across);
  for (let c = 0; c < 3; c++) {
    for (let y = top; y < bottom; y++)
      for (let x = 0; x < across; x++) {
        const { first, weights } = columns[x];
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * rgba[4 * (y * width + first + k) + c];
        between[(c * (bottom - top) + y - top) * across + x] = clip8(sum);
      }
    for (let y = 0; y < down; y++)
      for (let x = 0; x < across; x++) {
        const { first, weights } = rows[y];
        let sum = 0;
        for (let k = 0; k < weights.length; k++)
          sum += weights[k] * between[(c * (bottom - top) + first - top + k) * across + x];
        out[(c * down + y) * across + x] = clip8(sum);
      }
  }
  return out;
}

const halfToEven = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x)); // as Python rounds

// The square that the student sees, (3, size, size): the middle of the picture ("crop"), or all of it on black.
function square(rgba, width, height, size, fit) {
  if (fit === "crop") {
    const side = Math.min(width, height), left = (width - side) / 2, top = (height - side) / 2;
    return resize(rgba, width, height, [left, top, left + side, top + side], size, size);
  }
  const scaled = (side) => Math.max(1, halfToEven((side * size) / Math.max(width, height)));
  const across = scaled(width), down = scaled(height), out = new Uint8Array(3 * size * size);
  const small = resize(rgba, width, height, [0, 0, width, height], across, down);
  const left = (size - across) >> 1, top = (size - down) >> 1;
  for (let c = 0; c < 3; c++)
    for (let y = 0; y < down; y++)
      for (let x = 0; x < across; x++)
        out[(c * size + top + y) * size + left + x] = small[(c * down + y) * across + x];
  return out;
}

// --- the network: every array is flat, its shape is in the comment ---

function linear(x, weight, bias) { // x (rows, from), weight (to, from) -> (rows, to)
  const to = bias.length, from = weight.length / to, rows = x.length / from, out = new Float32Array(rows * to);
  for (let r = 0; r < rows; r++)
    for (let o = 0; o < to; o++) {
      let sum = bias[o];
      for (let i = 0; i < from; i++) sum += x[r * from + i] * weight[o * from + i];
      out[r * to + o] = sum;
    }
  return out;
}

function layerNorm(x, weight, bias, epsilon) { // over the last axis of x (rows, width)
  const width = weight.length, out = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += width) {
    let mean = 0, variance = 0;
    for (let i = 0; i < width; i++) mean += x[start + i] / width;
    for (let i = 0; i < width; i++) variance += (x[start + i] - mean) ** 2 / width;
    const scale = 1 / Math.sqrt(variance + epsilon);
    for (let i = 0; i < width; i++) out[start + i] = (x[start + i] - mean) * scale * weight[i] + bias[i];
  }
  return out;
}

function gelu(x) { // x times the normal distribution function; erf as in Abramowitz & Stegun 7.1.26, to 1.5e-7
  return x.map((v) => {
    const z = Math.abs(v) / Math.SQRT2, t = 1 / (1 + 0.3275911 * z);
    const p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    const erf = (1 - p * Math.exp(-z * z)) * Math.sign(v);
    return 0.5 * v * (1 + erf);
  });
}

function softmax(x) {
  const largest = x.reduce((a, b) => Math.max(a, b)), e = Array.from(x, (v) => Math.exp(v - largest));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
}

function attention(qkv, heads, width) { // qkv (tokens, 3 * width) -> (tokens, width)
  const tokens = qkv.length / (3 * width), part = width / heads, out = new Float32Array(tokens * width);
  for (let h = 0; h < heads; h++)
    for (let t = 0; t < tokens; t++) {
      const scores = new Float32Array(tokens), q = 3 * width * t + h * part;
      for (let s = 0; s < tokens; s++) {
        const k = 3 * width * s + width + h * part;
        for (let i = 0; i < part; i++) scores[s] += qkv[q + i] * qkv[k + i];
        scores[s] /= Math.sqrt(part);
      }
      softmax(scores).forEach((share, s) => {
        const v = 3 * width * s + 2 * width + h * part;
        for (let i = 0; i < part; i++) out[width * t + h * part + i] += share * qkv[v + i];
      });
    }
  return out;
}

function patches(planes, net) { // pixels (3, size, size) -> normalised patches (patch, 3 * side * side)
  const { size, patch, mean, std } = net, across = size / patch, out = new Float32Array(planes.length);
  let n = 0;
  for (let row = 0; row < across; row++)
    for (let column = 0; column < across; column++)
      for (let c = 0; c < 3; c++)
        for (let y = 0; y < patch; y++)
          for (let x = 0; x < patch; x++) {
            const pixel = planes[(c * size + row * patch + y) * size + column * patch + x];
            out[n++] = (pixel / 255 - mean[c]) / std[c];
          }
  return out;
}

function classify(planes, net, w) { // pixels (3, size, size), 0 to 255 -> probabilities (classes)
  const norm = (x, name) => layerNorm(x, w[name + ".weight"], w[name + ".bias"], net.epsilon);
  const dense = (x, name) => linear(x, w[name + ".weight"], w[name + ".bias"]);
  const add = (a, b) => a.map((v, i) => v + b[i]);
  const embedded = dense(patches(planes, net), "patch_embed.proj"); // (patches, width)
  let x = new Float32Array(w["pos_embed"].length); // (1 + patches, width): the class token comes first
  x.set(w["cls_token"]);
  x.set(embedded, net.width);
  x = add(x, w["pos_embed"]);
  for (let b = 0; b < net.depth; b++) {
    const block = "blocks." + b;
    const qkv = dense(norm(x, block + ".norm1"), block + ".attn.qkv");
    x = add(x, dense(attention(qkv, net.heads, net.width), block + ".attn.proj"));
    x = add(x, dense(gelu(dense(norm(x, block + ".norm2"), block + ".mlp.fc1")), block + ".mlp.fc2"));
  }
  return softmax(dense(norm(x, "norm").slice(0, net.width), "head"));
}
