// One viewer: a photo, its caption, and the overlay of the selected word. Gradio runs this once per
// viewer, inside `element`; `props.photo` and `props.value` are JSON from the server, and `watch`
// reports their changes. They are strings because Gradio sends only differences of objects, and
// mutates them.
const HINT = "Point at the photo to see which words attended there; drag a box to paint it out.";
const viewer = make("div", { class: "viewer" });
const key = (window.viewers = (window.viewers ?? 0) + 1);
let look = readLook();
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
const maps = () => caption().words.map((word) => weigh(caption(), word, VIEWS[look.view]));
const draft = {}; // the user's own sentence
const parts = {}; // sections of the body, once there is a caption

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

function wait() {
  const began = Date.now();
  const said = make("p", { class: "waiting" }, "Waiting for the model");
  body.replaceChildren(said);
  clearInterval(waiting);
  waiting = setInterval(() => {
    // Gradio's own progress indicator would cover the photo, so it is hidden
    const queue = element
      .closest(".block")
      ?.querySelector(".progress-text")
      ?.textContent.match(/(\d+)\/(\d+)/);
    const place = queue ? `, place ${queue[1]} of ${queue[2]} in the queue` : "";
    said.textContent = `Waiting for the model: ${Math.round((Date.now() - began) / 1000)} s${place}`;
  }, 500);
}

// Show a growing caption with the overlay of its last word, a webcam frame with its most telling word.
function grow(growing, word = growing.words.length - 1) {
  drop([growing]);
  body.replaceChildren(drawGrowing(growing, word));
  if (!growing.words.length) return;
  const weights = weigh(growing, growing.words[word], {});
  stage.veil.hidden = false;
  paint(stage.veil, weights, Math.max(LEAST_SCALE, heaviest(weights)), growing, look);
}

function finish(all) {
  clearInterval(waiting);
  captions = all;
  open(0);
  stage.tell(`The photo: ${caption().text}`);
  if (look.scale === "models") useLook(look); // rescales the other viewers
  live.textContent = `Caption: ${caption().text || "none"}`;
}

// Show one of the captions.
function open(number) {
  pause();
  candidate = number;
  const own = caption();
  stage.use(own);
  stage.release();
  const shown = () => own === caption(); // toggle events arrive late
  const part = (name, title, fill, usual = false) =>
    (parts[name] = folded(title, (inside) => shown() && fill(inside), parts[name]?.details.open ?? usual));
  const pick = (n) => {
    pause();
    choose(n);
  };
  parts.sentence = drawSentence(own, key, (n) => {
    pick(n);
    tell(n);
  });
  parts.note = make("p", { class: "note", "aria-live": "polite" });
  parts.whatif = make("div", { role: "status" });
  parts.bar = drawBar({
    play: () => (timer ? pause() : play()),
    alone: () => pick(null),
    copy: () => own.text,
    doubtful: own.words.some((word) => word.doubtful),
  });
  part(
    "strip",
    "All words",
    (inside) => drawStrip(inside, photo, own, maps(), scales(), look, pick, chosen),
    innerWidth > 640,
  );
  part("timeline", "Timeline (words by regions)", (inside) =>
    drawTimeline(inside, own, maps(), scales(), look, pick, chosen, stage.point),
  );
  part(
    "people",
    "Human captions and boxes",
    (inside) => photo.people && drawPeople(inside, photo.people, own, maps(), pick),
  );
  parts.people.details.addEventListener("toggle", () => shown() && show(chosen));
  part("heads", "Layers and heads", (inside) =>
    drawHeads(inside, photo, own, own.words[chosen ?? own.telling], look),
  );
  part("own", "Your sentence and alternatives", (inside) => {
    if (own.words.length && !own.words[0].rivals.length && !own.asked) {
      own.asked = true;
      trigger("read", { text: own.text, rivals: true });
    }
    inside.replaceChildren(drawOwn(own, chosen, ask, draft));
  });
  const empty = own.words.length ? [] : [make("p", {}, "Empty caption.")];
  body.replaceChildren(
    ...empty,
    parts.sentence,
    ...own.doubts.map((text) => make("p", { class: "doubt" }, text)),
    parts.note,
    parts.bar,
    parts.whatif,
    ...own.warnings.map((text) => make("p", { class: "warning" }, text)),
    drawCandidates(captions, candidate, key, open),
    ...(own.words.length
      ? [
          parts.strip.details,
          parts.timeline.details,
          photo.people ? parts.people.details : "",
          own.layers * own.heads > 1 ? parts.heads.details : "",
        ]
      : []),
    parts.own.details,
    drawSaving((kind) => trigger("save", { kind, candidate, look })),
  );
  choose(own.words.length ? own.telling : null);
}

function choose(number) {
  chosen = number;
  stage.release();
  const radio = parts.sentence.querySelector(`input[value="${number}"]`);
  for (const other of parts.sentence.querySelectorAll("input")) other.checked = other === radio;
  show(number);
  parts.strip.refresh();
  parts.timeline.refresh();
  parts.people.refresh();
  parts.heads.refresh();
  parts.own.refresh();
}

// The other viewers select the same word, if their caption has it.
const tell = (number) =>
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

const ask = (text, complete) => trigger("read", { text, complete });

// Highlight a word without selecting it.
function show(number) {
  light(parts.sentence, null);
  for (const label of parts.sentence.querySelectorAll(".word")) {
    label.classList.toggle("on", Number(label.dataset.n) === number && number !== null);
  }
  stage.veil.hidden = number === null;
  parts.bar.tell(number === null ? null : scales()[number], look);
  parts.note.textContent =
    number === null ? "Overlay hidden" : note(caption().words[number], maps()[number], caption());
  stage.mark(
    parts.people.details.open && photo.people && number !== null
      ? boxesOf(photo.people, caption().words[number]).boxes
      : [],
  );
  if (number !== null) paint(stage.veil, maps()[number], scales()[number], caption(), look);
}

// The weight drawn at full opacity, per word; viewers may share one.
function scales() {
  const own = chooseScales(maps(), look.scale !== "word");
  if (look.scale !== "models") return own;
  const all = window.peaks.map((peak) => peak());
  return own.map((scale) => Math.max(scale, ...all));
}

(window.peaks ??= []).push(() =>
  parts.sentence && element.offsetParent ? heaviest(maps().map(heaviest)) : 0,
);

function point(box) {
  if (!parts.sentence) return; // a growing caption has a map for its last word only
  pause();
  const weights = weighBox(caption(), maps(), box);
  light(parts.sentence, weights);
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
  if (!parts.whatif) return;
  const box = stage.box();
  parts.whatif.replaceChildren(
    box
      ? button("Paint out this region", {
          onclick: () => {
            parts.whatif.replaceChildren("Painting out and scoring again…");
            trigger("hide", { box, candidate });
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
  const own = caption();
  let next = 0;
  const step = () => {
    if (next < own.words.length) return choose(next++);
    pause();
    choose(own.telling);
  };
  parts.note.setAttribute("aria-live", "off");
  timer = setInterval(step, 900);
  parts.bar.playing(true);
  step();
}

// Handle a result from the server about a caption on the page.
function answer(given) {
  if (given.kind === "changed") {
    if (given.text === caption().text)
      parts.whatif.replaceChildren(drawChange(caption(), given.changed));
    return;
  }
  if (given.kind !== "rivals") draft.said = given.message ?? "";
  const read = given.kind === "unread" ? candidate : addRead(captions, given.captions[0]);
  if (given.kind === "rivals" || read === candidate) parts.own.refresh();
  else open(read);
}

function refresh() {
  mount();
  const given = JSON.parse(props.value || "{}");
  if (!photo || given.key !== photo.key) return; // for a photo that is no longer shown
  if (["read", "rivals", "unread", "changed"].includes(given.kind))
    return parts.sentence && answer(given);
  viewer.dataset.state = given.kind;
  if (given.kind === "waiting") wait();
  if (given.kind === "growing") grow(given.captions[0]);
  if (given.kind === "live") grow(given.captions[0], given.captions[0].telling);
  if (given.kind === "done") finish(given.captions);
  if (given.kind === "failed") {
    drop();
    body.replaceChildren(make("p", { class: "warning", role: "alert" }, given.message));
    stage.veil.hidden = true;
  }
}

function refreshPhoto() {
  mount();
  const given = JSON.parse(props.photo || "null");
  if (given?.key !== photo?.key) setPhoto(given);
  else if (given?.src !== photo?.src) stage.replace((photo = given).src); // the next frame
  refresh();
}

document.addEventListener("look", (event) => {
  look = event.detail;
  if (!parts.sentence) return;
  show(chosen);
  stage.again();
  parts.strip.refresh();
  parts.timeline.refresh();
  parts.people.refresh();
  parts.heads.refresh();
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
