// What if a part of the photo were not there? The server paints it out, reads the caption again, and
// writes another; words show how much likelier or less likely they became.

function drawChange(caption, changed) {
  const words = changed.read.words.map((word, n) => {
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
    { class: "whatif" },
    make("img", { src: changed.src, alt: "The photo with that part painted out" }),
    make(
      "div",
      {},
      make("p", {}, "Without that part, the same words are this probable:"),
      make("p", { class: "words" }, words),
      make(
        "p",
        {},
        changed.text === caption.text
          ? "The model would still write the same."
          : `The model would write: ${changed.text}`,
      ),
    ),
  );
}
