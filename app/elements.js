// Creates elements from plain text: no text is ever parsed as HTML.

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

// A collapsible section; `fill` redraws its content whenever it is visible, and focus is restored.
function collapsible(title, fill, open = false) {
  const inside = make("div");
  const refresh = () => {
    if (!details.open) return;
    const old = document.activeElement;
    const place = [...inside.querySelectorAll("button, input")].indexOf(old);
    const typed = place >= 0 && old.type === "text" ? [old.selectionStart, old.selectionEnd] : null;
    fill(inside);
    const again = place >= 0 && inside.querySelectorAll("button, input")[place];
    if (!again) return;
    again.focus();
    if (typed) again.setSelectionRange(...typed);
  };
  const details = make(
    "details",
    { open, ontoggle: refresh },
    make("summary", {}, title),
    inside,
  );
  return { details, refresh };
}
