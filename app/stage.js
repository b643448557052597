// The photo with the overlay of the selected word; pointing at it shows which words attended there.

function drawStage(photo, { point, leave, pin }) {
  const overlay = make("canvas", { class: "overlay", "aria-hidden": "true" });
  const frame = make("div", { class: "frame", hidden: true });
  const picture = make("img", {
    class: "photo",
    src: photo.src,
    alt: "The photo",
    draggable: "false",
  });
  const stage = make(
    "div",
    {
      class: "stage",
      tabindex: 0,
      role: "application",
      style: { "--shape": photo.width / photo.height },
      "aria-label":
        "Photo. Use the arrow keys to select a region; words light up by their attention there.",
    },
    picture,
    overlay,
    frame,
  );

  let caption = null;
  let pinned = null; // a box [row, column, last row, last column] in regions
  let start = null;
  const inside = (n, count) => Math.min(Math.max(n, 0), count - 1);

  function regionAt(event) {
    const box = stage.getBoundingClientRect();
    const [rows, cols] = caption.grid;
    const [top, left, tall, wide] = caption.seen;
    const row = Math.floor((((event.clientY - box.top) / box.height - top) / tall) * rows);
    const col = Math.floor((((event.clientX - box.left) / box.width - left) / wide) * cols);
    return [inside(row, rows), inside(col, cols)];
  }
  // A box of regions as fractions of the photo's height and width: top, left, bottom, right.
  function toFractions([row, col, lastRow, lastCol]) {
    const [rows, cols] = caption.grid;
    const [top, left, tall, wide] = caption.seen;
    return [
      top + (row / rows) * tall,
      left + (col / cols) * wide,
      top + ((lastRow + 1) / rows) * tall,
      left + ((lastCol + 1) / cols) * wide,
    ].map((at) => Math.min(1, Math.max(0, at)));
  }
  function position(element, [top, left, bottom, right]) {
    const sides = { top, left, height: bottom - top, width: right - left };
    for (const [name, share] of Object.entries(sides)) element.style[name] = `${100 * share}%`;
  }
  function show(box) {
    frame.hidden = !box;
    stage.classList.toggle("pointed", Boolean(box));
    if (!box) return leave();
    position(frame, toFractions(box));
    point(box);
  }
  function drawn(event) {
    const here = regionAt(event);
    const [from, to] = [start ?? here, here];
    return [
      Math.min(from[0], to[0]),
      Math.min(from[1], to[1]),
      Math.max(from[0], to[0]),
      Math.max(from[1], to[1]),
    ];
  }
  stage.addEventListener("pointerdown", (event) => caption && (start = regionAt(event)));
  stage.addEventListener("pointermove", (event) => {
    if (caption && (start || (!pinned && event.pointerType !== "touch"))) show(drawn(event));
  });
  stage.addEventListener("pointerup", (event) => {
    if (!caption || !start) return;
    const box = drawn(event);
    start = null;
    const again = pinned && pinned.join() === box.join();
    show((pinned = again ? null : box));
    pin();
  });
  stage.addEventListener("pointercancel", () => (start = null));
  stage.addEventListener("pointerleave", () => {
    start = null;
    if (caption && !pinned) show(null);
  });
  stage.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[
      event.key
    ];
    if (!caption || (!step && event.key !== "Escape")) return;
    if (event.key === "Escape") {
      show((pinned = null));
      return pin();
    }
    event.preventDefault();
    const [rows, cols] = caption.grid;
    const from = pinned ?? [rows >> 1, cols >> 1];
    const [row, col] = pinned
      ? [inside(from[0] + step[0], rows), inside(from[1] + step[1], cols)]
      : from;
    show((pinned = [row, col, row, col]));
    pin();
  });
  return {
    stage,
    overlay,
    markBoxes(boxes) {
      // human boxes, as fractions of the photo
      for (const old of stage.querySelectorAll(".mark")) old.remove();
      for (const box of boxes) {
        const mark = make("div", { class: "mark" });
        position(mark, box);
        stage.append(mark);
      }
    },
    point(box) {
      // called by other parts of the page; null clears the region
      pinned = null;
      show(box);
    },
    box() {
      // the pinned box as fractions, or null
      return pinned && toFractions(pinned);
    },
    setCaption(next) {
      caption = next;
    },
    describe(text) {
      picture.alt = text;
    },
    release() {
      pinned = null;
      pin();
      frame.hidden = true;
      stage.classList.remove("pointed");
    },
    setImage(src) {
      picture.src = src;
    },
    redraw() {
      if (pinned) show(pinned);
    },
  };
}

// The mean weight of every word in a box of regions.
function averageBox(caption, maps, [top, left, bottom, right]) {
  const cols = caption.grid[1];
  return maps.map((weights) => {
    let sum = 0;
    for (let row = top; row <= bottom; row++) {
      for (let col = left; col <= right; col++) sum += weights[row * cols + col];
    }
    return sum / ((bottom - top + 1) * (right - left + 1));
  });
}
