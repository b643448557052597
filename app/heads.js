// Every layer and head of the selected word as small overlays; selecting one shows it everywhere.

function drawHeads(inside, photo, caption, word, display) {
  const { layers, heads } = caption;
  const members = photo.model.split(" + "); // in an ensemble, each member is a head
  const nameOf = (head) => (members.length === heads ? members[head - 1] : `head ${head}`);
  const rows = Array.from({ length: layers }, (_, n) => n + 1).map((layer) => [
    { layer },
    ...(heads > 1 ? Array.from({ length: heads }, (_, n) => ({ layer, head: n + 1 })) : []),
  ]);
  const chosen = VIEWS[display.view];
  const cell = (view) => {
    const isDefault = view.layer === layers && !view.head;
    const [layer, head] = isDefault ? [null, null] : [view.layer, view.head ?? null];
    const number = VIEWS.findIndex(
      (other) => other.method === "layer" && other.layer === layer && other.head === head,
    );
    const weights = weigh(caption, word, view);
    const canvas = make("canvas", { "aria-hidden": "true" });
    paint(canvas, weights, Math.max(MIN_SCALE, heaviest(weights)), caption, display, 160);
    const name = `layer ${view.layer}${view.head ? `, ${nameOf(view.head)}` : ", mean of heads"}`;
    const on =
      chosen.method === "layer" &&
      (chosen.layer ?? layers) === view.layer &&
      chosen.head === (view.head ?? null);
    return make(
      "button",
      {
        type: "button",
        class: "cell",
        "aria-pressed": String(on),
        title: `${name}: ${times(heaviest(weights))}`,
        "aria-label": `${name}: ${times(heaviest(weights))}, most at the ${place(weights, caption)}`,
        onclick: () => writeDisplay({ ...readDisplay(), view: number }),
      },
      make("img", { src: photo.src, alt: "" }),
      canvas,
    );
  };
  inside.replaceChildren(
    make(
      "div",
      {
        class: "heads",
        style: { "--columns": rows[0].length, "--shape": photo.width / photo.height },
      },
      heads > 1
        ? [
            make("span", {}),
            make("span", {}, "mean"),
            ...rows[0].slice(1).map((view) => make("span", {}, nameOf(view.head))),
          ]
        : [],
      rows.map((views, n) => [make("span", {}, `layer ${n + 1}`), views.map(cell)]),
    ),
  );
}

// All words side by side, each with its own overlay.
function drawStrip(inside, photo, caption, maps, scales, display, choose, chosen) {
  inside.replaceChildren(
    make(
      "div",
      { class: "strip", style: { "--shape": photo.width / photo.height } },
      caption.words.map((word, n) => {
        const canvas = make("canvas", { "aria-hidden": "true" });
        paint(canvas, maps[n], scales[n], caption, display, 160);
        return make(
          "button",
          {
            type: "button",
            class: n === chosen ? "thumb on" : "thumb",
            "data-n": n,
            onclick: () => choose(n),
          },
          make("span", { class: "picture" }, make("img", { src: photo.src, alt: "" }), canvas),
          make("span", {}, word.text),
          make("small", {}, `${percent(word.probability)}, ${times(heaviest(maps[n]))}`),
        );
      }),
    ),
  );
}
