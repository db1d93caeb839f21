import { declaredSource, uploadTo } from "/pixelflow/browser.js";

const POLL_MS = 300;
const drop = document.querySelector("#drop");
const progress = document.querySelector("#progress");
const status = document.querySelector("#status");
const sizes = document.querySelector("#sizes");

/** Calls the shop's own backend, which holds the key of PixelFlow. */
async function shop(method, path, body) {
  const init = { method, headers: { "Content-Type": "application/json" } };
  if (body) init.body = JSON.stringify(body);
  const response = await fetch(path, init);
  const content = await response.json();
  if (!response.ok) throw new Error(String(content.detail ?? response.status));
  return content;
}

async function add(file) {
  sizes.replaceChildren();
  progress.hidden = false;
  try {
    const { photo, upload } = await shop("POST", "/photos", declaredSource(file));
    await uploadTo(upload, file, {
      onProgress(sent, total) {
        progress.value = sent / total;
        status.textContent = `Uploading ${file.name}: ${Math.round((100 * sent) / total)} %`;
      },
    });
    status.textContent = "Processing …";
    await shop("POST", `/photos/${photo}/start`);
    show(await finished(photo));
  } catch (error) {
    status.textContent = `That did not work: ${error.message}`;
  } finally {
    progress.hidden = true;
  }
}

async function finished(photo) {
  for (;;) {
    const found = await shop("GET", `/photos/${photo}`);
    if (!["created", "queued", "processing"].includes(found.status)) return found;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function show(photo) {
  status.textContent = photo.status === "succeeded" ? "Ready" : `The photo ${photo.status}`;
  for (const size of photo.sizes) {
    const figure = document.createElement("figure");
    const image = Object.assign(new Image(), { src: size.url, width: size.width, height: size.height, alt: size.step_id });
    const caption = document.createElement("figcaption");
    caption.textContent = `${size.step_id}: ${size.width} × ${size.height}`;
    figure.append(image, caption);
    sizes.append(figure);
  }
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
