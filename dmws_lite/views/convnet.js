// From pixels to probabilities as timm's MobileNets and EfficientNet-Lites go, BatchNorm folded into the convolutions.

// x (from, side, side), weight (to, from / groups, kernel, kernel), bias (to) -> (to, next, next)
function convolution(x, side, layer, weight, bias) {
  const { kernel, stride, groups, largest } = layer, to = bias.length, each = x.length / side ** 2 / groups;
  const next = layer.same ? Math.ceil(side / stride) : Math.floor((side + 2 * layer.pad - kernel) / stride) + 1;
  const pad = layer.same ? Math.max((next - 1) * stride + kernel - side, 0) >> 1 : layer.pad;
  const out = new Float32Array(to * next * next);
  for (let o = 0; o < to; o++) {
    const target = o * next * next, group = Math.floor((o * groups) / to);
    out.fill(bias[o], target, target + next * next);
    for (let i = 0; i < each; i++)
      for (let k = 0; k < kernel * kernel; k++) {
        const w = weight[(o * each + i) * kernel * kernel + k], down = Math.floor(k / kernel) - pad;
        const across = (k % kernel) - pad, plane = (group * each + i) * side * side;
        for (let row = 0; row < next; row++) {
          const y = row * stride + down;
          if (y < 0 || y >= side) continue;
          for (let column = 0; column < next; column++) {
            const from = column * stride + across;
            if (from >= 0 && from < side) out[target + row * next + column] += w * x[plane + y * side + from];
          }
        }
      }
  }
  return largest === null ? out : out.map((v) => Math.min(Math.max(v, 0), largest || Infinity)); // 0: no largest value
}

function convolve(planes, net, w) { // pixels (3, size, size), 0 to 255 -> probabilities (classes)
  const area = net.size ** 2, side = (x, channels) => Math.round(Math.sqrt(x.length / channels));
  let x = Float32Array.from(planes, (pixel, i) => (pixel / 255 - net.mean[Math.floor(i / area)]) / net.std[Math.floor(i / area)]);
  let entry = x; // of the block
  net.layers.forEach((layer, n) => {
    if (layer.first) entry = x;
    x = convolution(x, side(x, layer.channels), layer, w[n + ".weight"], w[n + ".bias"]);
    if (layer.skip) x = x.map((v, i) => v + entry[i]);
  });
  const channels = w["classifier.weight"].length / w["classifier.bias"].length, places = x.length / channels;
  const means = Float32Array.from({ length: channels }, (_, c) => x.subarray(c * places, (c + 1) * places).reduce((a, b) => a + b) / places);
  return softmax(linear(means, w["classifier.weight"], w["classifier.bias"]));
}
