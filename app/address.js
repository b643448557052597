// Settings that differ from the defaults are kept in the address after "#", so that links reproduce them.

function keepInAddress(values, initial) {
  const address = new URLSearchParams(location.hash.slice(1));
  for (const [name, value] of Object.entries(values)) {
    if (String(value) === String(initial[name])) address.delete(name);
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
  return settings.map(({ name, initial, choices, min, max }) => {
    const value = given.get(name);
    if (value === null) return initial;
    if (choices) return choices.includes(value) ? value : initial;
    if (typeof initial === "string") return value.slice(0, max);
    const number = Number(value || NaN);
    return number >= (min ?? -Infinity) && number <= (max ?? Infinity) ? number : initial;
  });
}
