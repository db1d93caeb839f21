/** The client against a real PixelFlow: in Node, and in Chromium through the example shop. */
import assert from "node:assert/strict";
import { openAsBlob } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import type { Page } from "puppeteer-core";
import { ApiError, declaredSource, finalUrl, JobFailedError, PixelFlow, type Job, type StreamedEvent } from "../src/index.js";
import { dropPhoto, openShop, PHOTO, reportsOf, shownSizes, untilReady, uploadAndLeave, uploadByUppy, type Framework } from "./shop.js";
import { startPixelFlow, type Started } from "./stack.js";

/** Of the three outputs of a photo in the shop. */
const SIZES = [[960, 540], [320, 180], [160, 160]];
const SCREENSHOTS = "build/screenshots";
/** Bytes per second of the browser's uploads, so that a photo takes more than one report of its progress. */
const UPLOAD_RATE = 400_000;

let stack: Started;
let client: PixelFlow;
let secret: string;

before(async () => {
  await mkdir(SCREENSHOTS, { recursive: true });
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

test("a preset, a destination and an earlier job: the outputs have final and signed URLs, and are found by their metadata", async () => {
  const size = { type: "integer", default: 160, minimum: 16 } as const;
  const pipeline = [{ id: "avatar", action: "resize", width: "${size}", height: "${size}", fit: "cover", format: "png" }];
  const saved = await client.savePreset({ name: "avatar", parameters: { size }, pipeline });
  assert.deepEqual([saved.name, saved.version, (await client.getPreset("avatar@1")).version], ["avatar", 1, 1]);
  assert.deepEqual((await client.listPresets()).data.map((each) => each.name), ["avatar"]);
  const destination = { bucket: "public", key: "avatars/{metadata.user}/{step}-{sha256}.{ext}", overwrite: true };
  const photo = await openAsBlob(PHOTO, { type: "image/jpeg" });
  const call = { request: { metadata: { user: "A-17" }, destination, auto_start: true }, idempotencyKey: "typescript-2", timeoutMs: 30_000 };
  const job = await client.process(photo, { preset: "avatar@1", parameters: { size: 48 } }, call);
  const same = await client.submit(photo, { preset: "avatar@1", parameters: { size: 48 } }, call);
  assert.equal(same, job.job_id);
  const bytes = await (await client.download(job.outputs[0] ?? assert.fail("no output"))).arrayBuffer();
  for (const url of [finalUrl(job, "avatar"), await client.signedOutputUrl(job.job_id, "avatar")]) {
    assert.deepEqual(await (await fetch(url)).arrayBuffer(), bytes);
  }
  const authorized = await fetch(client.outputUrl(job.job_id, "avatar"), { redirect: "manual", headers: { Authorization: `Bearer ${stack.apiKey}` } });
  assert.equal(authorized.status, 307);
  const again = await client.process({ job: job.job_id, output: "avatar" }, [{ id: "tiny", action: "resize", width: 16 }]);
  assert.equal(again.outputs[0]?.width, 16);
  const conditions = { metadata: { user: "A-17" }, preset: "avatar@1", status: "succeeded", created_after: job.created_at } as const;
  assert.deepEqual((await client.getJobPage(conditions)).data.map((each) => each.job_id), [job.job_id]);
  assert.deepEqual((await client.getJobPage({ ...conditions, created_before: job.created_at })).data, []);
  await client.deletePreset("avatar");
  await assert.rejects(client.getPreset("avatar"), { code: "not_found" });
});

test("a job is watched until it has finished, and another stream continues after an event of the first", async () => {
  const pipeline = [{ id: "small", action: "resize" as const, width: 64 }];
  const photo = await openAsBlob(PHOTO, { type: "image/jpeg" });
  const created = await client.createJob({ source: declaredSource(photo), pipeline, auto_start: true });
  const events: StreamedEvent[] = [];
  for await (const event of client.watchJob(created.job_id, { signal: AbortSignal.timeout(30_000) })) {
    if (events.length === 0) await client.upload(created, photo);
    events.push(event);
  }
  assert.deepEqual([events[0]?.status, events.at(-1)?.status], ["created", "succeeded"]);
  for (const [seen, last] of [[events[0], "succeeded"], [events.at(-1), undefined]] as const) {
    const continued: string[] = [];
    for await (const event of client.watchJob(created.job_id, { lastEventId: seen?.id })) continued.push(event.status);
    assert.equal(continued.at(-1), last);
    assert.ok(!continued.includes("created"));
  }
});

test("a batch processes stored photos, and is listed and filtered by", async () => {
  const pipeline = [{ id: "small", action: "resize" as const, width: 64 }];
  const source = { job: await client.submit(await openAsBlob(PHOTO), pipeline) };
  const missing = { job: "0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a55" };
  const created = await client.createBatch({ name: "Cards", pipeline, sources: [{ source }, { source: missing }] });
  assert.deepEqual(created.refused.map((each) => [each.index, each.code]), [[1, "not_found"]]);
  assert.equal((await client.addToBatch(created.batch_id, { sources: [{ source, metadata: { sku: "A-17" } }] })).accepted, 1);
  const done = await client.waitForBatch(created.batch_id, { timeoutMs: 30_000 });
  assert.deepEqual([done.percent, done.jobs.succeeded], [100, 2]);
  const jobs: string[] = [];
  for await (const job of client.listJobs({ batch: created.batch_id, limit: 1 })) jobs.push(job.status);
  assert.deepEqual(jobs, ["succeeded", "succeeded"]);
  const names: unknown[] = [];
  for await (const batch of client.listBatches()) names.push(batch.name);
  assert.deepEqual(names, ["Cards"]);
  assert.notEqual((await client.cancelBatch(created.batch_id)).canceled_at, null);
  await client.deleteBatch(created.batch_id);
});

test("a key is created, listed, used and revoked", async () => {
  const created = await client.createKey({ name: "reader", scopes: ["jobs:read"] });
  const reader = new PixelFlow({ url: stack.url, apiKey: created.key });
  await assert.rejects(reader.listKeys(), { code: "insufficient_scope" });
  assert.ok((await client.listKeys()).data.some((each) => each.key_id === created.key_id));
  await client.revokeKey(created.key_id);
  assert.ok((await client.listKeys()).data.some((each) => each.key_id === created.key_id && each.revoked_at !== null));
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

const withShop = (use: (page: Page, url: string) => Promise<void>, framework: Framework = "FastAPI") =>
  openShop(framework, stack, secret, use);

for (const framework of ["FastAPI", "Django"] as const) {
  test(`in Chromium, with ${framework}: a dropped photo is uploaded with progress, and its sizes are shown by their final URLs`, () =>
    withShop(async (page, url) => {
      const keys: string[] = [];
      page.on("request", (request) => {
        if (JSON.stringify([request.headers(), request.url()]).includes(stack.apiKey)) keys.push(request.url());
      });
      await page.emulateNetworkConditions({ upload: UPLOAD_RATE, download: 100_000_000, latency: 0 });
      await dropPhoto(page, (await readFile(PHOTO)).toString("base64"), "photo.jpg");
      await page.waitForFunction(() => /: [1-9]\d? %/.test(document.querySelector("#status")?.textContent ?? ""));
      await page.screenshot({ path: `${SCREENSHOTS}/uploading-${framework}.png` });
      await page.waitForFunction(() => document.querySelector("#status")?.textContent === "Ready", { timeout: 60_000 });
      await shownSizes(page);
      await page.screenshot({ path: `${SCREENSHOTS}/ready-${framework}.png`, fullPage: true });
      assert.deepEqual(await shownSizes(page), SIZES);
      const percentages = (await reportsOf(page)).flatMap((each) => /: (\d+) %/.exec(each)?.[1] ?? []).map(Number);
      assert.ok(percentages.filter((each) => each > 0 && each < 100).length >= 2, percentages.join(" "));
      assert.equal(percentages.at(-1), 100);
      assert.deepEqual(keys, [], "the browser sent the API key");
      for (const source of await page.$$eval("figure img", (images) => images.map((each) => each.src))) {
        assert.match(source, /\/photos\/[0-9a-f-]{36}\/[a-z]+-[0-9a-f]{16}\.webp$/);
      }
      await uploadAndLeave(url);
      await page.reload();
      await page.waitForFunction(() => document.querySelectorAll("figure img").length === 6);
      assert.deepEqual(await shownSizes(page), [...SIZES, ...SIZES]);
      const forged = await fetch(`${url}/hooks/pixelflow`, { method: "POST", body: "{}", headers: { "webhook-id": "x" } });
      assert.equal(forged.status, 401);
    }, framework));
}

test("in Chromium: the snippet with Uppy uploads a photo, and its job succeeds", () =>
  withShop(async (page, url) => {
    const { photos, errors } = await uploadByUppy(page);
    assert.deepEqual([photos.length, errors], [1, []]);
    await untilReady(url, String(photos[0]));
  }));

test("in Chromium: a file that is no picture ends with the reason", () =>
  withShop(async (page) => {
    await dropPhoto(page, Buffer.from("not a picture").toString("base64"), "notes.jpg");
    await page.waitForFunction(() => /did not work: The source is text/.test(document.querySelector("#status")?.textContent ?? ""), { timeout: 30_000 });
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
