// Attention weights of a caption's words: unpacks what `payload.py` packed, and spreads it over the
// pixels as `captioner.overlay.spread` does. Unit: 1 is uniform attention.

const MIN_SCALE = 4; // as in captioner.overlay
const DIFFUSE = 0.97;
const MIN_CONTRAST = 0.004; // contrast below this is 8-bit rounding error

function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed.levels), (letter) => letter.charCodeAt(0));
  const regions = bytes.length / packed.peaks.length;
  return packed.peaks.map((peak, n) =>
    Float32Array.from(
      bytes.subarray(n * regions, (n + 1) * regions),
      (level) => (level / 255) * peak * regions,
    ),
  );
}

function mean(maps) {
  const sum = new Float32Array(maps[0].length);
  for (const map of maps) map.forEach((weight, n) => (sum[n] += weight / maps.length));
  return sum;
}

// Subtracts from each region its smallest weight for any word, as `captioner.result.caption.contrast` does.
function contrast(caption, word, view) {
  const all = caption.words.map((other) => weigh(caption, other, view));
  const own = weigh(caption, word, view);
  const left = own.map((weight, n) => weight - Math.min(...all.map((weights) => weights[n])));
  const total = left.reduce((sum, weight) => sum + weight, 0) / left.length;
  return total > MIN_CONTRAST ? left.map((weight) => weight / total) : own;
}

// The weights of a word in one view; the default view if the model has no such layer or head.
function weigh(caption, word, view) {
  if (view.method === "contrast") return contrast(caption, word, { ...view, method: "layer" });
  word.maps ??= unpack(word);
  const { layers, heads } = caption;
  const derived = caption.derived.indexOf(view.method);
  if (derived >= 0) return word.maps[layers * heads + derived];
  const there = (view.layer ?? 1) <= layers && (view.head ?? 1) <= heads;
  const { method, layer, head } = there ? view : {};
  const chosen = (n) =>
    head ? word.maps[n * heads + head - 1] : mean(word.maps.slice(n * heads, (n + 1) * heads));
  if (method === "mean") return mean(Array.from({ length: layers }, (_, n) => chosen(n)));
  return chosen((layer ?? layers) - 1);
}

const heaviest = (weights) => weights.reduce((max, weight) => Math.max(max, weight), 0);

// The weight drawn at full opacity, per word: the word's own maximum, or that of all words.
function chooseScales(maps, shared) {
  const scales = maps.map((weights) => Math.max(MIN_SCALE, heaviest(weights)));
  return shared ? scales.map(() => Math.max(...scales)) : scales;
}

// Along one axis: for each pixel the two regions it lies between, and the weight of the second.
function axis(pixels, regions, start, length) {
  return Array.from({ length: pixels }, (_, n) => {
    const at = (((n + 0.5) / pixels - start) / length) * regions; // in regions
    if (at < 0 || at > regions) return null;
    const low = Math.floor(at - 0.5);
    const far = at - 0.5 - low;
    const inside = (region) => Math.min(Math.max(region, 0), regions - 1);
    return [inside(low), inside(low + 1), far * far * (3 - 2 * far)];
  });
}

function spread(weights, caption, width, height) {
  const [rows, cols] = caption.grid;
  const [top, left, tall, wide] = caption.seen;
  const down = axis(height, rows, top, tall);
  const across = axis(width, cols, left, wide);
  const pixels = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    if (!down[y]) continue;
    const [upper, lower, v] = down[y];
    for (let x = 0; x < width; x++) {
      if (!across[x]) continue;
      const [before, after, u] = across[x];
      const above = weights[upper * cols + before] * (1 - u) + weights[upper * cols + after] * u;
      const below = weights[lower * cols + before] * (1 - u) + weights[lower * cols + after] * u;
      pixels[y * width + x] = above * (1 - v) + below * v;
    }
  }
  return pixels;
}

// Draw the overlay of a word; `display` has drawing and colours; CSS sets the opacity.
function paint(canvas, weights, scale, caption, display, longest = 480) {
  const ratio = longest / Math.max(caption.width, caption.height);
  canvas.width = Math.max(1, Math.round(caption.width * ratio));
  canvas.height = Math.max(1, Math.round(caption.height * ratio));
  const colours = COLOURS[display.drawing === "spotlight" ? "spotlight" : display.colours];
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  spread(weights, caption, canvas.width, canvas.height).forEach((weight, n) => {
    const level = Math.min(255, Math.round((weight * 255) / scale)) * 4;
    picture.data.set(colours.subarray(level, level + 4), n * 4);
  });
  context.putImageData(picture, 0, 0);
}

function entropy(weights) {
  let nats = 0;
  for (const weight of weights) {
    const share = weight / weights.length;
    if (share > 0) nats -= share * Math.log(share);
  }
  return weights.length > 1 ? nats / Math.log(weights.length) : 1;
}

// Position of the attention peak, by thirds of the photo.
function place(weights, caption) {
  const cols = caption.grid[1];
  const [top, left, tall, wide] = caption.seen;
  const max = weights.indexOf(heaviest(weights));
  const third = (at) => Math.min(2, Math.max(0, Math.floor(3 * at)));
  const down = third(top + ((Math.floor(max / cols) + 0.5) / caption.grid[0]) * tall);
  const across = third(left + (((max % cols) + 0.5) / cols) * wide);
  const words = [["top", "", "bottom"][down], ["left", "", "right"][across]];
  return words.filter(Boolean).join(" ") || "centre";
}

function percent(probability) {
  if (probability > 0 && probability < 0.005) return "<1%";
  if (probability >= 0.995 && probability < 1) return ">99%";
  return `${Math.round(100 * probability)}%`;
}

const times = (weight) => `${weight.toFixed(weight < 3 ? 1 : 0)}x uniform`;

function note(word, weights, caption) {
  const probability = `${percent(word.probability)}${word.doubtful ? ", doubtful" : ""}`;
  const parts = [`${word.text}: ${probability}`, times(heaviest(weights))];
  parts.push(
    entropy(weights) >= DIFFUSE ? "nearly everywhere" : `most at the ${place(weights, caption)}`,
  );
  if (word.gate !== null) parts.push(`gate ${percent(word.gate)}`);
  return parts.join(", ");
}
