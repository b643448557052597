() => {
  // Gradio's radio buttons have a name each, so they do not follow the arrow keys by themselves.
  document.addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1 }[event.key];
    const radio = event.target;
    if (!step || radio.type !== "radio" || radio.closest(".viewer")) return;
    const all = [...radio.closest("fieldset").querySelectorAll("input[type=radio]")];
    const next = all[(all.indexOf(radio) + step + all.length) % all.length];
    event.preventDefault();
    next.focus();
    next.click();
  });
}
