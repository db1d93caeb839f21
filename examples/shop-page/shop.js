import { declaredSource, uploadTo } from "/pixelflow/browser.js";

const STAGES = { fetching: "Reading the photo …", transforming: "Resizing …", storing: "Storing the sizes …" };
const drop = document.querySelector("#drop");
const progress = document.querySelector("#progress");
const status = document.querySelector("#status");
const photos = document.querySelector("#photos");

/** Calls the shop's own backend, which holds the key of PixelFlow. */
async function shop(method, path, body) {
  const init = { method, headers: { "Content-Type": "application/json" } };
  if (body) init.body = JSON.stringify(body);
  const response = await fetch(path, init);
  if (response.ok) return response.json();
  const { detail } = await response.json().catch(() => ({})); // a proxy answers with a page of its own
  throw new Error(detail ?? `the shop answered ${response.status}`);
}

async function add(file) {
  progress.hidden = false;
  try {
    const { photo, upload } = await shop("POST", "/photos", declaredSource(file));
    await uploadTo(upload, file, {
      onProgress(sent, total) {
        progress.value = sent / total;
        status.textContent = `Uploading ${file.name}: ${Math.round((100 * sent) / total)} %`;
      },
    });
    const found = await finished(photo);
    if (found.status !== "succeeded") throw new Error(found.problem ?? found.status);
    status.textContent = "Ready";
    show(found);
  } catch (error) {
    status.textContent = `That did not work: ${error.message}`;
  } finally {
    progress.hidden = true;
  }
}

/** Shows what happens to a photo whose upload has arrived, and resolves with its sizes. A broken stream continues by itself. */
function finished(photo) {
  return new Promise((resolve, reject) => {
    const events = new EventSource(`/photos/${photo}/events`);
    events.onmessage = ({ data }) => {
      const found = JSON.parse(data);
      status.textContent = STAGES[found.stage] ?? "Processing …";
      if (!found.sizes) return;
      events.close();
      resolve(found);
    };
    events.onerror = () => {
      if (events.readyState === EventSource.CLOSED) reject(new Error("the shop does not respond"));
    };
  });
}

function show({ sizes }) {
  const row = document.createElement("section");
  for (const { step_id: name, url, width, height } of sizes) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = `${name}: ${width} × ${height}`;
    figure.append(Object.assign(new Image(), { src: url, width, height, alt: name }), caption);
    row.append(figure);
  }
  photos.prepend(row);
}

document.querySelector("#file").addEventListener("change", (event) => event.target.files[0] && add(event.target.files[0]));
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) add(file);
});
for (const photo of await shop("GET", "/photos")) show(photo);
