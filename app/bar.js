// Below the caption: play, hide the overlay, copy, and the colour legend; then downloads.

function drawBar({ play, hide, copy, doubtful }) {
  const player = button("Play all words", { onclick: play, class: "small play" });
  const scale = make("span", { class: "scale", "aria-hidden": "true" });
  const meaning = make("span", { class: "meaning" });
  const bar = make(
    "div",
    { class: "bar" },
    player,
    button("Hide overlay", { onclick: hide }),
    button("Copy caption", { onclick: (event) => copyText(event.currentTarget, copy()) }),
    make("span", { class: "legend" }, scale, meaning),
    make(
      "span",
      { class: "legend" },
      make("span", { class: "probability", "aria-hidden": "true" }),
      doubtful ? "underline: probability; wavy: doubtful" : "underline: probability",
    ),
  );
  bar.playing = (on) => (player.textContent = on ? "Stop" : "Play all words");
  bar.showScale = (weight, display) => {
    scale.parentElement.hidden = weight === null;
    if (weight === null) return;
    const colours = COLOURS[display.drawing === "spotlight" ? "spotlight" : display.colours];
    const stops = Array.from({ length: 18 }, (_, n) => {
      const [red, green, blue, opacity] = colours.subarray(60 * n, 60 * n + 4);
      return `rgb(${red} ${green} ${blue} / ${(opacity / 255).toFixed(2)})`;
    });
    scale.style.background = `linear-gradient(to right, ${stops}), #888`;
    meaning.textContent = `0 to ${times(weight)}`;
  };
  return bar;
}

async function copyText(where, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea"); // no clipboard API without https
    area.value = text;
    where.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  where.textContent = "Copied";
  setTimeout(() => (where.textContent = "Copy caption"), 1500);
}

function drawSaving(save) {
  return make(
    "div",
    { class: "downloads" },
    ["png", "gif", "html", "json"].map((kind) =>
      button(`Save ${kind.toUpperCase()}`, { onclick: () => save(kind) }),
    ),
  );
}
