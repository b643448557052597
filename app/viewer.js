// One viewer: the chosen word decides what lies over the photo beside it. Gradio calls this once
// for each viewer, with `element` around the words; `watch` tells when they were drawn anew.
const viewer = element.closest(".viewer");
let chosen = null; // number of the word as text; "" is the photo alone, null nothing yet
let timer = null;

const find = (selector) => element.querySelector(selector);
const words = () => [...element.querySelectorAll("input[type=radio]")].map((radio) => radio.value);

function show(number) {
  const layer = find(`[data-layer="${number}"]`);
  const heat = viewer.querySelector(".heat");
  if (heat) heat.style.backgroundImage = layer ? layer.style.getPropertyValue("--heat") : "none";
  for (const part of element.querySelectorAll("[data-n]")) {
    part.classList.toggle("on", part.dataset.n === number);
  }
  const note = viewer.querySelector(".note");
  const text = find(`.chip[data-n="${number}"]`)?.dataset.note ?? "";
  if (note && note.textContent !== text) note.textContent = text;
}

function choose(number) {
  chosen = number;
  const radio = find(`input[value="${number}"]`);
  if (radio) radio.checked = true;
  show(number);
}

function pause() {
  clearInterval(timer);
  timer = null;
  const button = find(".play");
  if (button) button.textContent = "Play all words";
}

function play() {
  const numbers = words().slice(0, -1); // the last one is the photo alone
  let next = 0;
  const step = () => (next < numbers.length ? choose(numbers[next++]) : pause());
  timer = setInterval(step, 900);
  find(".play").textContent = "Stop";
  step();
}

async function copy(button) {
  const text = find(".words").dataset.text;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea"); // pages of other machines have no clipboard
    area.value = text;
    button.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy caption"), 1500);
}

function fitPlot() {
  const plot = find(".plot");
  plot?.classList.toggle("narrow", plot.clientWidth < 68 * plot.children.length); // names lie down
}

function refresh() {
  pause();
  fitPlot();
  const drawn = find(".words");
  if (!drawn) return;
  const photo = viewer.querySelector(".photo");
  if (photo && drawn.dataset.text) photo.alt = `The photo: ${drawn.dataset.text}`;
  if (drawn.dataset.select !== undefined) {
    if (drawn.dataset.select === "0" && viewer.getBoundingClientRect().top > innerHeight / 2) {
      viewer.scrollIntoView({ behavior: "smooth" }); // on a phone it begins below the fold
    }
    chosen = null; // still growing
    show(drawn.dataset.select);
    return;
  }
  choose(words().includes(chosen) ? chosen : (drawn.dataset.first ?? ""));
}

element.addEventListener("change", (event) => {
  if (event.target.type !== "radio") return;
  pause();
  choose(event.target.value);
});
element.addEventListener("click", (event) => {
  if (event.target.closest(".play")) {
    timer ? pause() : play();
    return;
  }
  const button = event.target.closest(".copy");
  if (button) copy(button);
  const part = event.target.closest(".thumb, .bar");
  if (!part) return;
  pause();
  choose(part.dataset.n);
});
element.addEventListener("pointerover", (event) => {
  const part = event.target.closest("[data-n]");
  if (part && !timer) show(part.dataset.n);
});
element.addEventListener("pointerout", (event) => {
  if (event.target.closest("[data-n]") && !timer && chosen !== null) show(chosen);
});
new ResizeObserver(fitPlot).observe(element);
watch("value", refresh);
refresh();
