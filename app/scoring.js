// The user's sentence, and the alternatives for a word. `ask` sends the server a text to score, and
// whether the model continues it.

const PENDING = "Scoring…";

// The text and the status are kept in `draft`, since alternatives may arrive while the user types.
function drawScoring(caption, number, ask, draft) {
  if (draft.of !== caption.text)
    Object.assign(draft, { of: caption.text, text: caption.text, status: "" });
  const input = make("input", {
    type: "text",
    value: draft.text,
    maxlength: 300,
    "aria-label": "Your sentence",
    oninput: () => (draft.text = input.value),
  });
  const failed = draft.status && draft.status !== PENDING;
  const status = make("p", { class: failed ? "warning" : "status", role: "status" }, draft.status);
  const send = (text, complete) => {
    status.textContent = draft.status = PENDING;
    ask(text, complete);
  };
  const form = make(
    "form",
    {
      class: "scoring",
      onsubmit: (event) => {
        event.preventDefault();
        send(input.value, false);
      },
    },
    input,
    make("button", { type: "submit", class: "small" }, "Score"),
    button("Continue", { onclick: () => send(input.value, true) }),
  );
  return make("div", {}, form, drawRivals(caption, number, send), status);
}

function drawRivals(caption, number, send) {
  const word = caption.words[number];
  if (!word?.rivals.length) return make("div");
  const before = caption.words
    .slice(0, number)
    .map((w, n) => (w.spaced && n ? " " : "") + w.text)
    .join("");
  const choose = (rival) => () =>
    rival.text
      ? send(`${before}${word.spaced && number ? " " : ""}${rival.text}`, true)
      : send(before, false);
  return make(
    "div",
    { class: "rivals" },
    make("span", {}, `Instead of “${word.text}”:`),
    word.rivals
      .filter((rival) => rival.text || number)
      .map((rival) =>
        button(`${rival.text || "(end)"} ${percent(rival.probability)}`, {
          onclick: choose(rival),
          class: rival.text === word.text ? "small same" : "small",
          style: { "--p": rival.probability.toFixed(3) },
        }),
      ),
  );
}

// Adds a scored sentence to the captions; for a known one, updates only its alternatives.
function addScored(captions, scored) {
  const known = captions.findIndex((caption) => caption.text === scored.text);
  if (known < 0) return captions.push(scored) - 1;
  captions[known].words.forEach((word, n) => (word.rivals = scored.words[n]?.rivals ?? []));
  return known;
}
