// Live webcam captioning: one frame in flight at a time; the last one can be kept as a photo.

const START = "Live webcam";

function drawLive(root, send) {
  const canvas = make("canvas");
  const video = Object.assign(make("video", { playsinline: true }), { muted: true });
  const status = make("p", { class: "status", role: "status" });
  const toggle = button(START, { onclick: () => (stream ? (stopping = true) : start()) });
  let stream = null;
  let stopping = false;
  let number = 0;
  root.replaceChildren(toggle, status);

  async function start() {
    try {
      const wanted = { width: { ideal: 640 }, facingMode: "environment" };
      stream = await navigator.mediaDevices.getUserMedia({ video: wanted });
    } catch (error) {
      // mediaDevices exists only on localhost and over https
      const reason = navigator.mediaDevices
        ? `${error.message}; connect one, and allow this page to use it.`
        : "browsers allow it only over https or on localhost; open the app there.";
      status.textContent = `Webcam not available: ${reason}`;
      return;
    }
    stopping = false;
    status.textContent = "";
    toggle.textContent = "Stop and keep photo";
    video.srcObject = stream;
    await video.play();
    next();
  }
  function next() {
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    send({ src: canvas.toDataURL("image/jpeg", 0.85), number: ++number });
  }
  function end(text) {
    for (const track of stream.getTracks()) track.stop();
    stream = null;
    toggle.textContent = START;
    status.textContent = text;
  }
  function keep() {
    canvas.toBlob((blob) => {
      const all = new DataTransfer();
      all.items.add(new File([blob], "webcam.jpg", { type: blob.type }));
      const input = document.querySelector("#photo input[type=file]");
      input.files = all.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    }, "image/jpeg");
  }
  document.addEventListener("visibilitychange", () => (stopping ||= document.hidden));
  return (answer) => {
    if (answer.failed) return end("A frame could not be captioned; start the webcam again.");
    if (!stopping) return next();
    end("");
    keep();
  };
}

const answer = drawLive(element.querySelector(".live"), (frame) => trigger("frame", frame));
watch("value", () => props.value && answer(JSON.parse(props.value)));
