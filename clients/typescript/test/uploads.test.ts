import assert from "node:assert/strict";
import { test } from "node:test";
import { declaredSource, TransferError, uploadTo, type Upload } from "../src/browser.js";
import { serve } from "./server.js";

const SIZE = 700_000;
const BYTES = new Uint8Array(SIZE).fill(7);

function upload(url: string, changes: Partial<Upload> = {}): Upload {
  return {
    object_key: "k",
    presigned_put_url: `${url}/bucket/k?X-Amz-Signature=very-secret`,
    presigned_url_state: "ready",
    method: "PUT",
    headers: { "Content-Type": "image/jpeg" },
    content_length: SIZE,
    multipart: null,
    expires_at: null,
    max_bytes: 1_000_000,
    ...changes,
  };
}

for (const [name, body] of Object.entries({
  "bytes": () => BYTES,
  "an ArrayBuffer": () => BYTES.buffer,
  "a Blob": () => new Blob([BYTES], { type: "image/png" }),
  "a File": () => new File([BYTES], "a.png"),
  "a stream": () => new Blob([BYTES]).stream(),
})) {
  test(`${name} is uploaded with its length, its declared headers and progress`, async () => {
    const server = await serve({ status: 200 });
    const seen: number[] = [];
    await uploadTo(upload(server.url), body(), { onProgress: (sent, total) => seen.push(sent / total) });
    const [received] = server.received;
    assert.equal(received?.method, "PUT");
    assert.equal(received.headers["content-length"], String(SIZE));
    assert.equal(received.headers["transfer-encoding"], undefined);
    assert.equal(received.headers["content-type"], "image/jpeg");
    assert.equal(received.headers["authorization"], undefined);
    assert.deepEqual(new Uint8Array(received.body), BYTES);
    assert.ok(seen.length >= 3);
    assert.deepEqual(seen, [...seen].sort((a, b) => a - b));
    assert.equal(seen.at(-1), 1);
    await server[Symbol.asyncDispose]();
  });
}

test("a blob is sent again after a transient error, a stream is not", async () => {
  const server = await serve({ status: 503 }, { status: 200 });
  await uploadTo(upload(server.url), BYTES);
  assert.equal(server.received.length, 2);
  await server[Symbol.asyncDispose]();
  const failing = await serve({ status: 503 });
  await assert.rejects(uploadTo(upload(failing.url), new Blob([BYTES]).stream()), TransferError);
  assert.equal(failing.received.length, 1);
  await failing[Symbol.asyncDispose]();
});

test("an error of object storage shows its code and never the signature", async () => {
  const server = await serve({ status: 403, body: "<Error><Code>AccessDenied</Code><Key>k</Key></Error>" });
  const error = await uploadTo(upload(server.url), BYTES).catch((each: unknown) => each);
  assert.ok(error instanceof TransferError);
  assert.equal(error.status, 403);
  assert.match(error.message, /403 AccessDenied/);
  assert.doesNotMatch(error.message, /secret/);
  await server[Symbol.asyncDispose]();
});

test("a wrong size is rejected before anything is sent", async () => {
  const server = await serve({ status: 200 });
  await assert.rejects(uploadTo(upload(server.url), BYTES.subarray(1)), /created for 700000/);
  await assert.rejects(uploadTo(upload(server.url, { content_length: null, max_bytes: 10 }), BYTES), /at most 10/);
  await assert.rejects(uploadTo(upload(server.url, { content_length: null }), new Blob([BYTES]).stream()), /stream/);
  await assert.rejects(uploadTo(upload(server.url, { presigned_put_url: null }), BYTES), /local file/);
  assert.equal(server.received.length, 0);
  await server[Symbol.asyncDispose]();
});

test("an upload can be aborted", async () => {
  const server = await serve({ status: 200 });
  const signal = AbortSignal.abort(new Error("changed my mind"));
  await assert.rejects(uploadTo(upload(server.url), BYTES, { signal }), /changed my mind/);
  assert.equal(server.received.length, 0);
  await server[Symbol.asyncDispose]();
});

test("the source of a request is the size and, for an image, the type", () => {
  assert.deepEqual(declaredSource(new Blob([BYTES], { type: "image/png" })), { content_length: SIZE, content_type: "image/png" });
  assert.deepEqual(declaredSource(new Blob([BYTES], { type: "text/plain" })), { content_length: SIZE });
  assert.throws(() => declaredSource(new Blob([])), TransferError);
});

function inParts(url: string, numbers: number[]): Upload {
  const part_size = 300_000;
  const parts = numbers.map((number) => {
    const offset = (number - 1) * part_size;
    return { number, url: `${url}/bucket/k?partNumber=${number}`, offset, content_length: Math.min(part_size, SIZE - offset) };
  });
  return upload(url, { presigned_put_url: null, headers: {}, multipart: { part_size, parts } });
}

test("parts are sent by themselves, each is retried, and their progress is summed", async () => {
  const server = await serve({ status: 503 }, { status: 200 });
  const content = new Uint8Array(SIZE).map((_, index) => index % 251);
  const seen: number[] = [];
  await uploadTo(inParts(server.url, [1, 2, 3]), content, { onProgress: (sent) => seen.push(sent) });
  assert.equal(server.received.length, 4);
  const bodies = new Map(server.received.map((each) => [each.url.at(-1), each.body]));
  const all = Buffer.concat(["1", "2", "3"].map((number) => bodies.get(number) ?? Buffer.alloc(0)));
  assert.deepEqual(new Uint8Array(all), content);
  assert.equal(server.received[0]?.headers["content-type"], undefined);
  assert.equal(seen.at(-1), SIZE);
  await server[Symbol.asyncDispose]();
});

test("only missing parts are sent, and count as the rest", async () => {
  const server = await serve({ status: 200 });
  const seen: number[] = [];
  await uploadTo(inParts(server.url, [3]), BYTES, { onProgress: (sent) => seen.push(sent) });
  assert.deepEqual(server.received.map((each) => each.body.length), [100_000]);
  assert.deepEqual([seen[0]! > 600_000, seen.at(-1)], [true, SIZE]);
  await uploadTo(inParts(server.url, []), BYTES);
  assert.equal(server.received.length, 1);
  await server[Symbol.asyncDispose]();
});

test("a part that is rejected ends the upload, and so does the signal", async () => {
  const refusing = await serve({ status: 403, body: "<Error><Code>AccessDenied</Code></Error>" });
  await assert.rejects(uploadTo(inParts(refusing.url, [1, 2, 3]), BYTES), /403 AccessDenied/);
  await refusing[Symbol.asyncDispose]();
  const holding = await serve({ status: 200, hold: true });
  const aborter = new AbortController();
  const sending = uploadTo(inParts(holding.url, [1, 2, 3]), BYTES, { signal: aborter.signal });
  await holding.held;
  aborter.abort(new Error("left the page"));
  await assert.rejects(sending, /left the page/);
  await holding[Symbol.asyncDispose]();
});
