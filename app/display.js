// Display settings of attention in all viewers; kept in the address, so that links reproduce them.

const DEFAULTS = {
  view: 0,
  drawing: "heat",
  scale: "word",
  colours: "inferno",
  strength: 0.9,
};

function readDisplay() {
  const given = fromAddress();
  const display = { ...DEFAULTS };
  const known = {
    drawing: ["heat", "spotlight"],
    scale: ["word", "caption", "models"],
    colours: Object.keys(COLOURS).slice(0, -1),
  };
  for (const [name, values] of Object.entries(known))
    if (values.includes(given.get(name))) display[name] = given.get(name);
  const strength = Number(given.get("strength") ?? NaN);
  if (strength >= 0 && strength <= 1) display.strength = strength;
  display.view = Math.max(0, VIEWS.findIndex((view) => view.name === given.get("view")));
  return display;
}

function writeDisplay(display) {
  const named = (settings) => ({ ...settings, view: VIEWS[settings.view].name }); // indices differ between models
  keepInAddress(named(display), named(DEFAULTS));
  applyDisplay(display);
}

function applyDisplay(display) {
  for (const field of document.querySelectorAll("[data-setting=colours]"))
    field.disabled = display.drawing === "spotlight"; // which has a colour of its own
  document.documentElement.style.setProperty("--strength", display.strength);
  document.dispatchEvent(new CustomEvent("display", { detail: display }));
}

function drawDisplay(root) {
  const display = readDisplay();
  const change = (name, read) => (event) => {
    Object.assign(display, readDisplay(), { [name]: read(event.target) });
    writeDisplay(display);
  };
  const choice = (name, label, options, read = (input) => input.value) =>
    make(
      "label",
      { class: "field" },
      label,
      make(
        "select",
        { "data-setting": name, onchange: change(name, read) },
        options.map(([value, text]) =>
          make("option", { value, selected: String(display[name]) === String(value) }, text),
        ),
      ),
    );
  root.replaceChildren(
    choice("drawing", "Style", [
      ["heat", "heat map"],
      ["spotlight", "spotlight"],
    ]),
    choice("scale", "Scale", [
      ["word", "per word"],
      ["caption", "per caption"],
      ["models", "shared by all models"],
    ]),
    choice(
      "view",
      "Attention map",
      VIEWS.map((view, n) => [n, view.name]),
      (input) => Number(input.value),
    ),
    choice(
      "colours",
      "Colour map",
      Object.keys(COLOURS)
        .slice(0, -1)
        .map((name) => [name, name]),
    ),
    make(
      "label",
      { class: "field" },
      "Opacity",
      make("input", {
        type: "range",
        min: 0,
        max: 1,
        step: 0.05,
        value: display.strength,
        "data-setting": "strength",
        oninput: change("strength", (input) => Number(input.value)),
      }),
    ),
  );
  applyDisplay(display);
  document.addEventListener("display", (event) => {
    for (const input of root.querySelectorAll("[data-setting]"))
      input.value = event.detail[input.dataset.setting];
  });
}
