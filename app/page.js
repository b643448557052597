() => {
  // Several photos dropped on the input for one photo go to the tab for several photos.
  const wait = async (selector) => {
    for (;;) {
      const found = document.querySelector(selector);
      if (found) return found;
      await new Promise(requestAnimationFrame);
    }
  };
  const divert = async (event, files) => {
    if (!event.target.closest?.("#photo") || files.length < 2) return;
    event.preventDefault();
    event.stopPropagation();
    const all = new DataTransfer();
    for (const file of files) all.items.add(file);
    document.querySelectorAll("[role=tab]")[1].click();
    document.querySelector("#files [aria-label=Clear]")?.click();
    const input = await wait("#files:not(:has(.file-preview)) input[type=file]");
    input.files = all.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  document.addEventListener("drop", (event) => divert(event, event.dataTransfer.files), true);
  document.addEventListener("change", (event) => divert(event, event.target.files ?? []), true);
  const allowSeveral = ({ target }) => target.matches("#photo input") && (target.multiple = true);
  document.addEventListener("click", allowSeveral, true);
  // Gradio gives each radio button its own name, so arrow keys do not work without this.
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
