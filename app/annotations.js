// Human captions of a sample, and whether the attention of a word lies in the human boxes of the
// thing it names (pointing game).

const boxesOf = (annotations, word) => {
  const plain = word.text.toLowerCase().replace(/'s$/, "");
  const thing = Object.keys(annotations.names).find((name) => annotations.names[name].includes(plain));
  return { thing, boxes: annotations.boxes[thing] ?? [] };
};

// Whether the attention peak lies in a box, the share of attention inside, and the share of regions.
function measureBoxes(caption, weights, boxes) {
  const [rows, cols] = caption.grid;
  const [top, left, tall, wide] = caption.seen;
  const inside = Array.from(weights, (_, n) => {
    const y = top + ((Math.floor(n / cols) + 0.5) / rows) * tall;
    const x = left + (((n % cols) + 0.5) / cols) * wide;
    return boxes.some(([from, start, to, end]) => from <= y && y <= to && start <= x && x <= end);
  });
  const count = weights.length;
  return {
    hit: inside[weights.indexOf(heaviest(weights))],
    share: weights.reduce((sum, weight, n) => sum + (inside[n] ? weight : 0), 0) / count,
    area: inside.filter(Boolean).length / count,
  };
}

const SMALL = new Set("the and are with for his her two one its from next over into".split(" "));

function drawAnnotations(inside, annotations, caption, maps, choose) {
  const plain = (text) => text.toLowerCase().replace(/[^\p{L}]/gu, "");
  const ours = new Set(caption.words.map((word) => plain(word.text)));
  const shared = (word) => word.length > 2 && !SMALL.has(word) && ours.has(word);
  const named = caption.words.map((word) => boxesOf(annotations, word));
  const rows = named.flatMap(({ thing, boxes }, n) => {
    if (!boxes.length) return [];
    const { hit, share, area } = measureBoxes(caption, maps[n], boxes);
    const where = `${percent(share)} of its attention inside ${thing} boxes, which cover ${percent(area)}`;
    return make(
      "li",
      {},
      button(caption.words[n].text, { onclick: () => choose(n) }),
      make("b", { class: hit ? "hit" : "miss" }, hit ? "hit" : "miss"),
      make("span", {}, where),
    );
  });
  const missing = Object.keys(annotations.boxes).filter((name) => !named.some((n) => n.thing === name));
  inside.replaceChildren(
    make(
      "div",
      { class: "annotations" },
      rows.length ? make("p", {}, "Pointing game (hit: the attention peak lies in a human box):") : "",
      rows.length ? make("ul", {}, rows) : "",
      missing.length
        ? make("p", {}, `Annotated, but not mentioned: ${missing.join(", ")}.`)
        : "",
      make("p", {}, "Human captions, with shared words highlighted:"),
      make(
        "ul",
        {},
        annotations.captions.map((text) =>
          make(
            "li",
            {},
            text
              .split(/(\s+)/)
              .map((word) => (shared(plain(word)) ? make("b", { class: "same" }, word) : word)),
          ),
        ),
      ),
    ),
  );
}
