// Timeline: a row per word, a column per region of the photo, row by row from the top left. Pointing
// at a cell frames the region and highlights the words that attended there.

function drawTimeline(inside, caption, maps, scales, display, choose, chosen, point) {
  const colours = COLOURS[display.drawing === "spotlight" ? "inferno" : display.colours];
  const [rows, cols] = caption.grid;
  const line = (weights, scale) => {
    const canvas = make("canvas", { width: rows * cols, height: 1, "aria-hidden": "true" });
    const context = canvas.getContext("2d");
    const picture = context.createImageData(rows * cols, 1);
    weights.forEach((weight, n) => {
      const level = Math.min(255, Math.round((weight * 255) / scale)) * 4;
      picture.data.set(colours.subarray(level, level + 3), n * 4);
      picture.data[n * 4 + 3] = 255;
    });
    context.putImageData(picture, 0, 0);
    return canvas;
  };
  const regionAt = (event) => {
    const box = event.currentTarget.lastChild.getBoundingClientRect();
    const share = Math.min(0.999, Math.max(0, (event.clientX - box.left) / box.width));
    const region = Math.floor(share * rows * cols);
    return [Math.floor(region / cols), region % cols];
  };
  inside.replaceChildren(
    make(
      "div",
      { class: "timeline" },
      caption.words.map((word, n) =>
        make(
          "button",
          {
            type: "button",
            class: n === chosen ? "on" : "",
            "aria-label": note(word, maps[n], caption),
            onclick: () => choose(n),
            onpointermove: (event) => {
              const [row, col] = regionAt(event);
              point([row, col, row, col]);
            },
            onpointerleave: () => point(null),
          },
          make("span", {}, word.text),
          line(maps[n], scales[n]),
        ),
      ),
      make("small", {}, "regions of the photo, row by row from the top left"),
    ),
  );
}
