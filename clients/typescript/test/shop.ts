/** The example shops, and what a person does on their page in Chromium. */
import assert from "node:assert/strict";
import { openAsBlob } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { build } from "esbuild";
import puppeteer, { type Browser, type Page } from "puppeteer-core";
import { declaredSource, uploadTo, type Upload } from "../src/index.js";
import { freePort, REPOSITORY, startPython, type Started } from "./stack.js";

export const PHOTO = join(REPOSITORY, "examples/photo.jpg");
const CHROMIUM = process.env["CHROMIUM"] ?? "/usr/bin/chromium";

/** The arguments of Python that start the example shops. All have the same page. */
const SHOPS = {
  FastAPI: (port: number) => ["-m", "uvicorn", "--app-dir", "examples", "--port", String(port), "shop_fastapi:app"],
  Django: (port: number) => ["examples/shop_django.py", "runserver", "--noreload", String(port)],
};

export type Framework = keyof typeof SHOPS;

/** Runs `use` with a page of a shop in Chromium, and stops both. */
export async function openShop(
  framework: Framework,
  stack: Started,
  secret: string,
  use: (page: Page, url: string) => Promise<void>,
): Promise<void> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const settings = {
    PIXELFLOW_URL: stack.url,
    PIXELFLOW_API_KEY: stack.apiKey,
    PIXELFLOW_WEBHOOK_SECRET: secret,
    SHOP_URL: url,
  };
  const stopShop = await startPython(SHOPS[framework](port), settings, url);
  let browser: Browser | undefined;
  try {
    browser = await puppeteer.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
    const page = await browser.newPage();
    await page.setViewport({ width: 1000, height: 1000 });
    await page.goto(url);
    await use(page, url);
  } finally {
    await browser?.close();
    await stopShop();
  }
}

/** Drops a file onto the page as a person would, and records what the page reports. */
export async function dropPhoto(page: Page, content: string, name: string): Promise<void> {
  await page.evaluate((base64, fileName) => {
    const reports: string[] = ((window as unknown as { reports: string[] }).reports = []);
    const status = document.querySelector("#status");
    new MutationObserver(() => reports.push(status?.textContent ?? "")).observe(status as Node, { childList: true });
    const bytes = Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], fileName, { type: "image/jpeg" }));
    document.querySelector("#drop")?.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }, content, name);
}

/** Uploads a photo without a look at the events of the shop, and waits until a webhook has told the shop of its sizes. */
export async function uploadAndLeave(shop: string): Promise<void> {
  const photo = await openAsBlob(PHOTO, { type: "image/jpeg" });
  const headers = { "Content-Type": "application/json" };
  const response = await fetch(`${shop}/photos`, { method: "POST", headers, body: JSON.stringify(declaredSource(photo)) });
  const created = (await response.json()) as { photo: string; upload: Upload };
  await uploadTo(created.upload, photo);
  await untilReady(shop, created.photo);
}

/** Waits until a webhook has told the shop of the sizes of a photo. */
export async function untilReady(shop: string, photo: string): Promise<void> {
  for (const deadline = Date.now() + 30_000; Date.now() < deadline; await sleep(100)) {
    if (JSON.stringify(await (await fetch(`${shop}/photos`)).json()).includes(photo)) return;
  }
  assert.fail("the shop got no webhook");
}

/** What the test uses of Uppy. */
interface UppyOfSnippet {
  addFile(file: { name: string; type: string; data: Blob }): void;
  upload(): Promise<{ successful: { meta: { photo: string } }[]; failed: { error: unknown }[] }>;
}

/** Uploads a photo by the documentation's snippet with Uppy, on the page of a shop. */
export async function uploadByUppy(page: Page): Promise<{ photos: string[]; errors: string[] }> {
  const bundled = await build({
    stdin: { contents: `import { uppy } from "./generated/${await uppySnippet()}"; window.uppy = uppy;`, resolveDir: resolve(".") },
    bundle: true,
    write: false,
    format: "iife",
  });
  await page.addScriptTag({ content: bundled.outputFiles[0]?.text ?? "" });
  return page.evaluate(async (base64) => {
    const { uppy } = window as unknown as { uppy: UppyOfSnippet };
    const bytes = Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
    uppy.addFile({ name: "photo.jpg", type: "image/jpeg", data: new Blob([bytes], { type: "image/jpeg" }) });
    const { successful, failed } = await uppy.upload();
    return { photos: successful.map((each) => each.meta.photo), errors: failed.map((each) => String(each.error)) };
  }, (await readFile(PHOTO)).toString("base64"));
}

async function uppySnippet(): Promise<string> {
  for (const name of await readdir("generated")) {
    if (name.startsWith("typescript-") && (await readFile(`generated/${name}`, "utf-8")).includes("@uppy/core")) return name;
  }
  return assert.fail("docs/typescript.md has no snippet with Uppy");
}

/** The sizes in pixels of the images that the page shows, once they are there. */
export const shownSizes = async (page: Page) => {
  await page.waitForFunction(() => [...document.images].every((each) => each.complete && each.naturalWidth === each.width));
  return page.$$eval("figure img", (images) => images.map((each) => [each.naturalWidth, each.naturalHeight]));
};

/** What the page has reported since a file was dropped. */
export const reportsOf = (page: Page) => page.evaluate(() => (window as unknown as { reports: string[] }).reports);
