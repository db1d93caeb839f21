import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { finalUrl, PixelFlow, TransferError, type Output } from "../src/index.js";
import { serve, type Prepared } from "./server.js";

const CONTENT = "the bytes of a picture";

function output(changes: Partial<Output> = {}): Output {
  const sha256 = createHash("sha256").update(CONTENT).digest("hex");
  return { step_id: "small", action: "resize", format: "webp", object_key: "k", bytes: CONTENT.length, sha256, download_url: null, ...changes };
}

async function download(prepared: Prepared[], changes: Partial<Output> = {}): Promise<{ text: string; keys: unknown[] }> {
  await using server = await serve(...prepared);
  const client = new PixelFlow({ url: server.url, apiKey: "key" });
  const content = await client.download(output({ download_url: `${server.url}/k?X-Amz-Signature=very-secret`, ...changes }));
  return { text: await content.text(), keys: server.received.map((each) => each.headers["authorization"]) };
}

test("an output is downloaded without the key, again after a transient error, and compared with its hash", async () => {
  const { text, keys } = await download([{ status: 503 }, { status: 200, body: CONTENT }]);
  assert.equal(text, CONTENT);
  assert.deepEqual(keys, [undefined, undefined]);
  await assert.rejects(download([{ status: 200, body: CONTENT.toUpperCase() }]), /does not match output small/);
  await assert.rejects(download([{ status: 200, body: CONTENT }], { download_url: null }), TransferError);
  const rejected = download([{ status: 403, body: "<Error><Code>AccessDenied</Code></Error>" }]);
  await assert.rejects(rejected, { message: "Object storage rejected the download: 403 AccessDenied", status: 403 });
});

test("the presigned URL of an output is the target of the redirect, which is not followed", async () => {
  const target = "http://127.0.0.1:1/bucket/k?X-Amz-Signature=secret";
  const expired = { status: 409, body: { code: "output_expired", detail: "The output has expired" } };
  await using server = await serve({ status: 307, headers: { Location: target } }, expired);
  const client = new PixelFlow({ url: server.url, apiKey: "key" });
  assert.equal(await client.signedOutputUrl("a/b", "small"), target);
  assert.equal(client.outputUrl("a/b", "small"), `${server.url}${server.received[0]?.url}`);
  assert.equal(server.received[0]?.url, "/v1/jobs/a%2Fb/outputs/small");
  await assert.rejects(client.signedOutputUrl("a", "small"), { code: "output_expired" });
});

test("the final URL of a step is that at the destination", () => {
  const job = { job_id: "j", outputs: [output({ url: "https://images.example/a.webp" }), output({ step_id: "large" })] };
  assert.equal(finalUrl(job, "small"), "https://images.example/a.webp");
  for (const step of ["large", "missing"]) assert.throws(() => finalUrl(job, step), { code: "no_final_url" });
});
