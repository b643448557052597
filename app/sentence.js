// The caption: words to select, underlined by probability, highlighted by attention.

function drawSentence(caption, key, choose) {
  const words = caption.words.flatMap((word, n) => [
    word.spaced && n ? " " : null,
    make(
      "label",
      { class: word.doubtful ? "word doubtful" : "word", "data-n": n, style: { "--p": word.probability.toFixed(3) } },
      make("input", { type: "radio", name: `word-${key}`, value: n, onclick: () => choose(n) }),
      make("span", {}, word.text),
    ),
  ]);
  return make(
    "fieldset",
    { class: "sentence", dir: "auto" },
    make("legend", { class: "unseen" }, "Words of the caption: select one to see its attention map"),
    words,
  );
}

function drawPartial(caption, chosen) {
  const words = caption.words.flatMap((word, n) => [
    word.spaced && n ? " " : null,
    make(
      "span",
      { class: n === chosen ? "word on" : "word", style: { "--p": word.probability.toFixed(3) } },
      make("span", {}, word.text),
    ),
  ]);
  return make(
    "p",
    { class: "sentence partial", dir: "auto", "aria-busy": "true" },
    words,
    make("span", { class: "caret" }),
  );
}

// Highlights each word by its attention to one region; null clears the highlights.
function highlight(sentence, weights) {
  const max = weights && Math.max(MIN_SCALE, ...weights);
  for (const label of sentence.querySelectorAll(".word")) {
    const share = weights ? weights[label.dataset.n] / max : 0;
    label.style.setProperty("--here", share.toFixed(3));
  }
  sentence.classList.toggle("pointed", Boolean(weights));
}
