/** The client against a real PixelFlow: in Node, and in Chromium through the example shop. */
import assert from "node:assert/strict";
import { openAsBlob } from "node:fs";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { build } from "esbuild";
import puppeteer, { type Browser, type Page } from "puppeteer-core";
import { ApiError, JobFailedError, PixelFlow, type Job } from "../src/index.js";
import { freePort, REPOSITORY, startPixelFlow, startPython, type Started } from "./stack.js";

const CHROMIUM = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
const PHOTO = join(REPOSITORY, "examples/photo.jpg");
const SCREENSHOTS = "build/screenshots";
/** Bytes per second of the browser's uploads, so that a photo takes more than one report of its progress. */
const UPLOAD_RATE = 400_000;

let stack: Started;
let client: PixelFlow;
let secret: string;

before(async () => {
  stack = await startPixelFlow();
  client = new PixelFlow(stack);
  secret = (await client.rotateWebhookSecret()).secret;
});
after(() => stack?.stop());

test("a photo is processed in one call, with progress, and its output is the one that was asked for", async () => {
  const sent: number[] = [];
  const states: string[] = [];
  const job = await client.process(await openAsBlob(PHOTO, { type: "image/jpeg" }), [{ id: "small", action: "resize", width: 64, format: "png" }], {
    onUpload: (bytes) => sent.push(bytes),
    onProgress: (each) => states.push(each.status),
    request: { metadata: { sku: "A-17" } },
    timeoutMs: 30_000,
  });
  assert.equal(sent.at(-1), (await readFile(PHOTO)).length);
  assert.equal(states.at(-1), "succeeded");
  assert.equal(job.metadata["sku"], "A-17");
  const [output] = job.outputs;
  assert.equal(output?.width, 64);
  const bytes = Buffer.from(await (await fetch(output.download_url ?? "")).arrayBuffer());
  assert.equal(bytes.subarray(1, 4).toString(), "PNG");
});

test("jobs are listed, canceled, retried and erased", async () => {
  const created = await client.createJob({ pipeline: [{ id: "small", action: "resize", width: 64 }] });
  assert.equal((await client.cancel(created.job_id)).status, "canceled");
  await assert.rejects(client.waitForJob(created.job_id), JobFailedError);
  const listed: Job[] = [];
  for await (const job of client.listJobs({ limit: 1 })) listed.push(job);
  assert.ok(listed.length >= 2);
  await client.erase(created.job_id);
  await assert.rejects(client.getJob(created.job_id), { code: "not_found" });
  await assert.rejects(client.retry(created.job_id), ApiError);
});

test("the same idempotency key creates one job", async () => {
  const request = { pipeline: [{ id: "small", action: "resize" as const, width: 64 }] };
  const first = await client.createJob(request, { idempotencyKey: "typescript-1" });
  const second = await client.createJob(request, { idempotencyKey: "typescript-1" });
  assert.equal(first.job_id, second.job_id);
});

test("an invalid pipeline is refused with a pointer to the field", async () => {
  const error = await client.createJob({ pipeline: [{ id: "a", action: "resize", width: 0 }] }).catch((each: unknown) => each);
  assert.ok(error instanceof ApiError);
  assert.equal(error.errors[0]?.pointer, "/pipeline/0/width");
});

test("an asset, the usage and the capabilities are read", async () => {
  const asset = await client.createAsset("logo", await openAsBlob(PHOTO, { type: "image/jpeg" }));
  assert.equal((await client.listAssets()).data[0]?.asset_id, asset.asset_id);
  assert.equal((await client.getAsset("logo")).name, "logo");
  await client.deleteAsset(asset.asset_id);
  assert.ok((await client.usage()).data.length >= 1);
  assert.ok((await client.capabilities()).operations.length > 10);
});

test("webhook endpoints are created, changed, tested and deleted", async () => {
  const url = "https://client.example/hooks";
  const created = await client.createWebhookEndpoint({ url, event_types: ["job.failed"] });
  const changed = await client.updateWebhookEndpoint(created.endpoint_id, { enabled: false, event_types: null });
  assert.deepEqual([changed.enabled, changed.event_types, changed.url], [false, null, url]);
  assert.deepEqual((await client.listWebhookEndpoints()).data, [changed]);
  assert.deepEqual(await client.getWebhookEndpoint(created.endpoint_id), changed);
  const sent = await client.testWebhookEndpoint(created.endpoint_id);
  assert.deepEqual([sent.type, sent.endpoint_id], ["webhook.test", created.endpoint_id]);
  assert.ok(Array.isArray((await client.listEndpointDeliveries(created.endpoint_id)).data));
  await client.deleteWebhookEndpoint(created.endpoint_id);
  assert.deepEqual((await client.listWebhookEndpoints()).data, []);
  await assert.rejects(client.createWebhookSecret(), { code: "webhook_secret_exists" });
});

/** The arguments of Python that start the example shops. All have the same page. */
const SHOPS = {
  FastAPI: (port: number) => ["-m", "uvicorn", "--app-dir", "examples/shop-fastapi", "--port", String(port), "shop:app"],
  Django: (port: number) => ["examples/shop-django/shop.py", "runserver", "--noreload", String(port)],
};

/** Runs `use` with a page of the shop in Chromium, and stops both. */
async function withShop(use: (page: Page, url: string) => Promise<void>, framework: keyof typeof SHOPS = "FastAPI"): Promise<void> {
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

/** What the test uses of Uppy. */
interface UppyOfSnippet {
  addFile(file: { name: string; type: string; data: Blob }): void;
  upload(): Promise<{ successful: { meta: { photo: string } }[]; failed: { error: unknown }[] }>;
}

/** Drops a file onto the page as a person would, and records what the page reports. */
async function dropPhoto(page: Page, content: string, name: string): Promise<void> {
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

const reportsOf = (page: Page) => page.evaluate(() => (window as unknown as { reports: string[] }).reports);

for (const framework of ["FastAPI", "Django"] as const) {
  test(`in Chromium, with ${framework}: a dropped photo is uploaded with progress, and the sizes of the verified webhook are shown`, () =>
    withShop(async (page, url) => {
      await mkdir(SCREENSHOTS, { recursive: true });
      const keys: string[] = [];
      page.on("request", (request) => {
        if (JSON.stringify([request.headers(), request.url()]).includes(stack.apiKey)) keys.push(request.url());
      });
      await page.emulateNetworkConditions({ upload: UPLOAD_RATE, download: 100_000_000, latency: 0 });
      await dropPhoto(page, (await readFile(PHOTO)).toString("base64"), "photo.jpg");
      await page.waitForFunction(() => /: [1-9]\d? %/.test(document.querySelector("#status")?.textContent ?? ""));
      await page.screenshot({ path: `${SCREENSHOTS}/uploading-${framework}.png` });
      await page.waitForFunction(() => document.querySelector("#status")?.textContent === "Ready", { timeout: 60_000 });
      await page.waitForFunction(() => [...document.images].every((each) => each.complete && each.naturalWidth === each.width));
      await page.screenshot({ path: `${SCREENSHOTS}/ready-${framework}.png`, fullPage: true });
      const shown = await page.$$eval("figure img", (images) => images.map((each) => [each.naturalWidth, each.naturalHeight]));
      assert.deepEqual(shown, [[960, 540], [320, 180], [160, 160]]);
      const percentages = (await reportsOf(page)).flatMap((each) => /: (\d+) %/.exec(each)?.[1] ?? []).map(Number);
      assert.ok(percentages.filter((each) => each > 0 && each < 100).length >= 2, percentages.join(" "));
      assert.equal(percentages.at(-1), 100);
      assert.deepEqual(keys, [], "the browser sent the API key");
      const forged = await fetch(`${url}/hooks/pixelflow`, { method: "POST", body: "{}", headers: { "webhook-id": "x" } });
      assert.equal(forged.status, 401);
    }, framework));
}

test("in Chromium: the snippet with Uppy uploads a photo, and its job succeeds", () =>
  withShop(async (page, url) => {
    const names = (await readdir("generated")).filter((each) => each.startsWith("typescript-"));
    const snippets = await Promise.all(names.map(async (name) => ({ name, code: await readFile(`generated/${name}`, "utf-8") })));
    const found = snippets.find((each) => each.code.includes("@uppy/core"));
    assert.ok(found, "docs/typescript.md has no snippet with Uppy");
    const bundled = await build({
      stdin: { contents: `import { uppy } from "./generated/${found.name}"; window.uppy = uppy;`, resolveDir: resolve(".") },
      bundle: true,
      write: false,
      format: "iife",
    });
    await page.addScriptTag({ content: bundled.outputFiles[0]?.text ?? "" });
    const result = await page.evaluate(async (base64) => {
      const { uppy } = window as unknown as { uppy: UppyOfSnippet };
      const bytes = Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
      uppy.addFile({ name: "photo.jpg", type: "image/jpeg", data: new Blob([bytes], { type: "image/jpeg" }) });
      const { successful, failed } = await uppy.upload();
      return { photos: successful.map((each) => each.meta.photo), errors: failed.map((each) => String(each.error)) };
    }, (await readFile(PHOTO)).toString("base64"));
    assert.deepEqual(result.errors, []);
    const photo = `${url}/photos/${result.photos[0]}`;
    await page.waitForFunction(async (from) => (await (await fetch(from)).json()).status === "succeeded", { timeout: 60_000 }, photo);
  }));

test("in Chromium: a file that is no picture ends with a message", () =>
  withShop(async (page) => {
    await dropPhoto(page, Buffer.from("not a picture").toString("base64"), "notes.jpg");
    await page.waitForFunction(() => /failed/.test(document.querySelector("#status")?.textContent ?? ""), { timeout: 30_000 });
    await page.screenshot({ path: `${SCREENSHOTS}/failed.png` });
  }));

test("in Chromium: the client with a key refuses to start", () =>
  withShop(async (page) => {
    const message = await page.evaluate(async () => {
      const path = "/pixelflow/index.js";
      const { PixelFlow } = (await import(path)) as typeof import("../src/index.js");
      try {
        return typeof new PixelFlow({ url: location.origin, apiKey: "key" });
      } catch (error) {
        return (error as Error).message;
      }
    });
    assert.match(message, /must not hold an API key/);
  }));

test("in Chromium: a running upload can be aborted, and a stream is uploaded", () =>
  withShop(async (page) => {
    await page.emulateNetworkConditions({ upload: UPLOAD_RATE, download: 100_000_000, latency: 0 });
    const pipeline = [{ id: "small", action: "resize" as const, width: 64 }];
    const aborted = await client.createJob({ pipeline });
    const streamed = await client.createJob({ pipeline });
    const outcome = await page.evaluate(async (first, second) => {
      const path = "/pixelflow/browser.js";
      const { uploadTo } = (await import(path)) as typeof import("../src/browser.js");
      const bytes = new Blob([new Uint8Array(1_000_000)]);
      const controller = new AbortController();
      const onProgress = () => controller.abort(new Error("changed my mind"));
      const error = await uploadTo(first, bytes, { signal: controller.signal, onProgress }).catch((each: Error) => each.message);
      await uploadTo(second, bytes.slice(0, 1000).stream());
      return error;
    }, aborted.upload, streamed.upload);
    assert.equal(outcome, "changed my mind");
    await assert.rejects(client.startJob(aborted.job_id), { code: "source_missing" });
    await client.startJob(streamed.job_id);
  }));
