// Display settings of attention in all viewers; kept in the address, so that links reproduce them.

const LOOK = {
  view: 0,
  drawing: "heat",
  scale: "word",
  colours: "inferno",
  strength: 0.9,
  smooth: true,
};

function readLook() {
  const given = fromAddress();
  const look = { ...LOOK };
  const known = {
    drawing: ["heat", "spotlight"],
    scale: ["word", "caption", "models"],
    colours: Object.keys(VEILS).slice(0, -1),
  };
  for (const [name, values] of Object.entries(known))
    if (values.includes(given.get(name))) look[name] = given.get(name);
  const strength = Number(given.get("strength") ?? NaN);
  if (strength >= 0 && strength <= 1) look.strength = strength;
  look.view = Math.max(0, VIEWS.findIndex((view) => view.name === given.get("view")));
  return look;
}

function writeLook(look) {
  const named = (own) => ({ ...own, view: VIEWS[own.view].name }); // indices differ between models
  keepInAddress(named(look), named(LOOK));
  useLook(look);
}

function useLook(look) {
  for (const field of document.querySelectorAll("[data-look=colours]"))
    field.disabled = look.drawing === "spotlight"; // which has a colour of its own
  document.documentElement.style.setProperty("--strength", look.strength);
  document.dispatchEvent(new CustomEvent("look", { detail: look }));
}

function drawLook(root) {
  const look = readLook();
  const change = (name, read) => (event) => {
    Object.assign(look, readLook(), { [name]: read(event.target) });
    writeLook(look);
  };
  const choice = (name, label, options, read = (input) => input.value) =>
    make(
      "label",
      { class: "field" },
      label,
      make(
        "select",
        { "data-look": name, onchange: change(name, read) },
        options.map(([value, text]) =>
          make("option", { value, selected: String(look[name]) === String(value) }, text),
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
      Object.keys(VEILS)
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
        value: look.strength,
        "data-look": "strength",
        oninput: change("strength", (input) => Number(input.value)),
      }),
    ),
  );
  useLook(look);
  document.addEventListener("look", (event) => {
    for (const input of root.querySelectorAll("[data-look]"))
      input.value = event.detail[input.dataset.look];
  });
}
