() => {
  // Gradio's radio buttons do not follow the arrow keys.
  document.addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1 }[event.key];
    const radio = event.target;
    if (!step || radio.type !== "radio" || radio.closest(".viewer")) return;
    const all = [...document.getElementsByName(radio.name)];
    const next = all[(all.indexOf(radio) + step + all.length) % all.length];
    event.preventDefault();
    next.focus();
    next.click();
  });
}
