// Elements of the page, made of plain texts: no text ever becomes part of the page's structure.

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "style")
      for (const [key, x] of Object.entries(value)) made.style.setProperty(key, x);
    else if (value !== false && value !== null && value !== undefined)
      made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

const button = (text, attributes) =>
  make("button", { type: "button", class: "small", ...attributes }, text);

// A part of the page that opens; `fill` draws what is in it, whenever it is seen.
function folded(title, fill, open = false) {
  const inside = make("div");
  const details = make(
    "details",
    { open, ontoggle: () => details.open && fill(inside) },
    make("summary", {}, title),
    inside,
  );
  return { details, refresh: () => details.open && fill(inside) };
}
