// One viewer: a photo, its caption, and the overlay of the selected word. Gradio runs this once per
// viewer, inside `element`; `props.photo` and `props.value` are JSON from the server, and `watch`
// reports their changes. They are strings because Gradio sends only differences of objects, and
// mutates them.
const HINT = "Point at the photo to see which words attended there; drag a box to paint it out.";
const viewer = make("div", { class: "viewer" });
const key = (window.viewers = (window.viewers ?? 0) + 1);
let display = readDisplay();
let photo = null;
let stage = null;
let captions = [];
let candidate = 0;
let chosen = null; // index of the word; null hides the overlay
let timer = null;
let waiting = null;

const title = make("h2");
const screen = make("div", { class: "screen" });
const body = make("div", { class: "body" });
const live = make("p", { class: "unseen", role: "status" });
viewer.append(title, screen, live, body);

const caption = () => captions[candidate];
const maps = () => caption().words.map((word) => weigh(caption(), word, VIEWS[display.view]));
const draft = {}; // the user's sentence
const parts = {}; // elements of the body, once there is a caption
const sections = {}; // collapsible sections of the body
const refreshSections = () => Object.values(sections).forEach((section) => section.refresh());

function mount() {
  if (!element.contains(viewer)) element.querySelector(".here")?.replaceChildren(viewer);
}

// Drops the previous caption, so that no late event or change of settings draws it again.
function drop(left = []) {
  pause();
  clearInterval(waiting);
  captions = left;
  candidate = 0;
  parts.sentence = null;
}

function setPhoto(next) {
  drop();
  photo = next;
  body.replaceChildren();
  live.textContent = "";
  viewer.hidden = !photo;
  if (photo && photo.key !== "demo") keepInAddress({ sample: photo.sample }, { sample: "" });
  viewer.dataset.key = photo?.key ?? "";
  if (!photo) return;
  title.textContent = photo.model;
  stage = drawStage(photo, { point, leave: () => parts.sentence && show(chosen), pin });
  screen.replaceChildren(stage.stage);
  const { top } = viewer.getBoundingClientRect();
  const away = innerWidth <= 860 || top > innerHeight / 2 || top < -9; // as in app.css
  if (photo.key !== "demo" && away) viewer.scrollIntoView({ block: "start" });
}

function showWaiting() {
  const began = Date.now();
  const status = make("p", { class: "waiting" }, "Waiting for the model");
  body.replaceChildren(status);
  clearInterval(waiting);
  waiting = setInterval(() => {
    // Gradio's own progress indicator would cover the photo, so it is hidden
    const queue = element
      .closest(".block")
      ?.querySelector(".progress-text")
      ?.textContent.match(/(\d+)\/(\d+)/);
    const place = queue ? `, place ${queue[1]} of ${queue[2]} in the queue` : "";
    status.textContent = `Waiting for the model: ${Math.round((Date.now() - began) / 1000)} s${place}`;
  }, 500);
}

// Show a partial caption with the overlay of its last word, a webcam frame with its most telling word.
function showPartial(partial, word = partial.words.length - 1) {
  drop([partial]);
  body.replaceChildren(drawPartial(partial, word));
  if (!partial.words.length) return;
  const weights = weigh(partial, partial.words[word], {});
  stage.overlay.hidden = false;
  paint(stage.overlay, weights, Math.max(MIN_SCALE, heaviest(weights)), partial, display);
}

function finish(all) {
  clearInterval(waiting);
  captions = all;
  open(0);
  stage.describe(`The photo: ${caption().text}`);
  if (display.scale === "models") applyDisplay(display); // rescales the other viewers
  live.textContent = `Caption: ${caption().text || "none"}`;
}

// Show one of the captions.
function open(number) {
  pause();
  candidate = number;
  const current = caption();
  stage.setCaption(current);
  stage.release();
  const shown = () => current === caption(); // toggle events arrive late
  const section = (name, title, fill, initial = false) =>
    (sections[name] = collapsible(title, (inside) => shown() && fill(inside), sections[name]?.details.open ?? initial));
  const pick = (n) => {
    pause();
    choose(n);
  };
  parts.sentence = drawSentence(current, key, (n) => {
    pick(n);
    selectElsewhere(n);
  });
  parts.note = make("p", { class: "note", "aria-live": "polite" });
  parts.occlusion = make("div", { role: "status" });
  parts.bar = drawBar({
    play: () => (timer ? pause() : play()),
    hide: () => pick(null),
    copy: () => current.text,
    doubtful: current.words.some((word) => word.doubtful),
  });
  section(
    "strip",
    "All words",
    (inside) => drawStrip(inside, photo, current, maps(), scales(), display, pick, chosen),
    innerWidth > 640,
  );
  section("timeline", "Timeline (words by regions)", (inside) =>
    drawTimeline(inside, current, maps(), scales(), display, pick, chosen, stage.point),
  );
  section(
    "annotations",
    "Human captions and boxes",
    (inside) => photo.annotations && drawAnnotations(inside, photo.annotations, current, maps(), pick),
  );
  sections.annotations.details.addEventListener("toggle", () => shown() && show(chosen));
  section("heads", "Layers and heads", (inside) =>
    drawHeads(inside, photo, current, current.words[chosen ?? current.telling], display),
  );
  section("scoring", "Your sentence and alternatives", (inside) => {
    if (current.words.length && !current.words[0].rivals.length && !current.asked) {
      current.asked = true;
      trigger("score", { text: current.text, rivals: true });
    }
    inside.replaceChildren(drawScoring(current, chosen, ask, draft));
  });
  const empty = current.words.length ? [] : [make("p", {}, "Empty caption.")];
  body.replaceChildren(
    ...empty,
    parts.sentence,
    ...current.doubts.map((text) => make("p", { class: "doubt" }, text)),
    parts.note,
    parts.bar,
    parts.occlusion,
    ...current.warnings.map((text) => make("p", { class: "warning" }, text)),
    drawCandidates(captions, candidate, key, open),
    ...(current.words.length
      ? [
          sections.strip.details,
          sections.timeline.details,
          photo.annotations ? sections.annotations.details : "",
          current.layers * current.heads > 1 ? sections.heads.details : "",
        ]
      : []),
    sections.scoring.details,
    drawSaving((kind) => trigger("save", { kind, candidate, display })),
  );
  choose(current.words.length ? current.telling : null);
}

function choose(number) {
  chosen = number;
  stage.release();
  const radio = parts.sentence.querySelector(`input[value="${number}"]`);
  for (const other of parts.sentence.querySelectorAll("input")) other.checked = other === radio;
  show(number);
  refreshSections();
}

// The other viewers select the same word, if their caption has it.
const selectElsewhere = (number) =>
  document.dispatchEvent(
    new CustomEvent("word", { detail: { from: key, text: caption().words[number].text } }),
  );

document.addEventListener("word", ({ detail }) => {
  if (detail.from === key || !parts.sentence) return;
  const same = caption().words.findIndex(
    (word) => word.text.toLowerCase() === detail.text.toLowerCase(),
  );
  if (same < 0) return;
  pause();
  choose(same);
});

const ask = (text, complete) => trigger("score", { text, complete });

// Highlight a word without selecting it.
function show(number) {
  highlight(parts.sentence, null);
  for (const label of parts.sentence.querySelectorAll(".word")) {
    label.classList.toggle("on", Number(label.dataset.n) === number && number !== null);
  }
  stage.overlay.hidden = number === null;
  parts.bar.showScale(number === null ? null : scales()[number], display);
  parts.note.textContent =
    number === null ? "Overlay hidden" : note(caption().words[number], maps()[number], caption());
  stage.markBoxes(
    sections.annotations.details.open && photo.annotations && number !== null
      ? boxesOf(photo.annotations, caption().words[number]).boxes
      : [],
  );
  if (number !== null) paint(stage.overlay, maps()[number], scales()[number], caption(), display);
}

// The weight drawn at full opacity, per word; viewers may share one.
function scales() {
  const scales = chooseScales(maps(), display.scale !== "word");
  if (display.scale !== "models") return scales;
  const all = window.peaks.map((peak) => peak());
  return scales.map((scale) => Math.max(scale, ...all));
}

(window.peaks ??= []).push(() =>
  parts.sentence && element.offsetParent ? heaviest(maps().map(heaviest)) : 0,
);

function point(box) {
  if (!parts.sentence) return; // a partial caption has a map for its last word only
  pause();
  const weights = averageBox(caption(), maps(), box);
  highlight(parts.sentence, weights);
  const order = weights
    .map((weight, n) => [weight, caption().words[n].text])
    .sort((a, b) => b[0] - a[0]);
  parts.note.textContent = `Attention here: ${order
    .slice(0, 3)
    .map(([weight, text]) => `${text} ${times(weight)}`)
    .join(", ")}`;
}

// Offer to paint out the pinned region.
function pin() {
  if (!parts.occlusion) return;
  const box = stage.box();
  parts.occlusion.replaceChildren(
    box
      ? button("Paint out this region", {
          onclick: () => {
            parts.occlusion.replaceChildren("Painting out and scoring again…");
            trigger("occlude", { box, candidate });
          },
        })
      : make("p", { class: "hint" }, HINT),
  );
}

function pause() {
  clearInterval(timer);
  timer = null;
  parts.bar?.playing(false);
  parts.note?.setAttribute("aria-live", "polite");
}

// Play all words, and stop at the most telling one.
function play() {
  const current = caption();
  let next = 0;
  const step = () => {
    if (next < current.words.length) return choose(next++);
    pause();
    choose(current.telling);
  };
  parts.note.setAttribute("aria-live", "off");
  timer = setInterval(step, 900);
  parts.bar.playing(true);
  step();
}

// Handle a result from the server about a caption on the page.
function answer(given) {
  if (given.kind === "occluded") {
    if (given.text === caption().text)
      parts.occlusion.replaceChildren(drawOcclusion(caption(), given.occluded));
    return;
  }
  if (given.kind !== "rivals") draft.status = given.message ?? "";
  const read = given.kind === "rejected" ? candidate : addScored(captions, given.captions[0]);
  if (given.kind === "rivals" || read === candidate) sections.scoring.refresh();
  else open(read);
}

function refresh() {
  mount();
  const given = JSON.parse(props.value || "{}");
  if (!photo || given.key !== photo.key) return; // for a photo that is no longer shown
  if (["scored", "rivals", "rejected", "occluded"].includes(given.kind))
    return parts.sentence && answer(given);
  viewer.dataset.state = given.kind;
  if (given.kind === "waiting") showWaiting();
  if (given.kind === "partial") showPartial(given.captions[0]);
  if (given.kind === "live") showPartial(given.captions[0], given.captions[0].telling);
  if (given.kind === "done") finish(given.captions);
  if (given.kind === "failed") {
    drop();
    body.replaceChildren(make("p", { class: "warning", role: "alert" }, given.message));
    stage.overlay.hidden = true;
  }
}

function refreshPhoto() {
  mount();
  const given = JSON.parse(props.photo || "null");
  if (given?.key !== photo?.key) setPhoto(given);
  else if (given?.src !== photo?.src) stage.setImage((photo = given).src); // the next frame
  refresh();
}

document.addEventListener("display", (event) => {
  display = event.detail;
  if (!parts.sentence) return;
  show(chosen);
  stage.redraw();
  refreshSections();
});
watch("photo", refreshPhoto);
watch("value", refresh);
refreshPhoto();
if (
  photo?.key === "demo" &&
  captions.length &&
  !matchMedia("(prefers-reduced-motion: reduce)").matches
)
  play();
