// Occlusion: the server paints out a region, scores the caption again and generates a new one; each
// word shows how its probability changed.

function drawOcclusion(caption, occluded) {
  const words = occluded.rescored.words.map((word, n) => {
    const before = caption.words[n].probability;
    const fell = word.probability < before;
    const factor = Math.abs(Math.log2(Math.max(word.probability, 1e-6) / Math.max(before, 1e-6)));
    return make(
      "span",
      {
        class: fell ? "changed fell" : "changed rose",
        style: { "--by": Math.min(1, factor / 4).toFixed(3) },
      },
      word.text,
      make("small", {}, `${percent(before)} to ${percent(word.probability)}`),
    );
  });
  return make(
    "div",
    { class: "occlusion" },
    make("img", { src: occluded.src, alt: "The photo with the region painted out" }),
    make(
      "div",
      {},
      make("p", {}, "Word probabilities without this region:"),
      make("p", { class: "words" }, words),
      make(
        "p",
        {},
        occluded.text === caption.text
          ? "The new caption is the same."
          : `New caption: ${occluded.text}`,
      ),
    ),
  );
}
