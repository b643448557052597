// The captions of a photo to choose from: beam candidates, and the user's own sentences.

function drawCandidates(captions, candidate, key, open) {
  if (captions.length < 2) return "";
  const ranked = captions.some((own) => own.score !== null);
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
    captions.map((own, n) =>
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
        make("span", { class: "number" }, own.score === null ? "yours" : own.score.toFixed(3)),
        make("span", {}, own.text),
      ),
    ),
  );
}
