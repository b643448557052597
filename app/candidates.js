// The captions of a photo to choose from: beam candidates, and the user's sentences.

function drawCandidates(captions, candidate, key, open) {
  if (captions.length < 2) return "";
  const ranked = captions.some((caption) => caption.score !== null);
  return make(
    "fieldset",
    { class: "candidates" },
    make(
      "legend",
      {},
      ranked
        ? "Beam candidates by score (length-normalised log-probability)"
        : "Captions",
    ),
    captions.map((caption, n) =>
      make(
        "label",
        {},
        make("input", {
          type: "radio",
          name: `candidate-${key}`,
          value: n,
          checked: n === candidate,
          onchange: () => {
            open(n);
            document.querySelector(`input[name="candidate-${key}"][value="${n}"]`)?.focus();
          },
        }),
        make("span", { class: "number" }, caption.score === null ? "yours" : caption.score.toFixed(3)),
        make("span", {}, caption.text),
      ),
    ),
  );
}
