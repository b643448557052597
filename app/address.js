// Settings that differ from the defaults are kept in the address after "#", so that links reproduce them.

function keepInAddress(values, usual) {
  const address = new URLSearchParams(location.hash.slice(1));
  for (const [name, value] of Object.entries(values)) {
    if (String(value) === String(usual[name])) address.delete(name);
    else address.set(name, value);
  }
  history.replaceState(
    null,
    "",
    address.size ? `#${address}` : location.pathname + location.search,
  );
}

const fromAddress = () => new URLSearchParams(location.hash.slice(1));

// Settings from the address; defaults for missing and invalid ones.
function readSettings(settings) {
  const given = fromAddress();
  return settings.map(({ name, usual, choices, least, most }) => {
    const value = given.get(name);
    if (value === null) return usual;
    if (choices) return choices.includes(value) ? value : usual;
    if (typeof usual === "string") return value.slice(0, most);
    const number = Number(value || NaN);
    return number >= (least ?? -Infinity) && number <= (most ?? Infinity) ? number : usual;
  });
}
