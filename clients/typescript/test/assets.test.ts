import assert from "node:assert/strict";
import { test } from "node:test";
import { PixelFlow, TransferError } from "../src/index.js";
import { serve, type Prepared } from "./server.js";

const ASSET = "0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a55";
const ROUTE = `/v1/assets/${ASSET}`;
const FILE = new Blob(["a logo"]);
const READY = { status: 200, body: { asset_id: ASSET, status: "ready" } };
const PENDING = { status: 200, body: { asset_id: ASSET, status: "pending" } };

/** Creates an asset with an API of these responses, and with object storage that gives `stored` to the upload. */
async function create(api: Prepared[], stored: number, idempotencyKey?: string): Promise<{ error: unknown; requests: string[]; puts: number }> {
  await using storage = await serve({ status: stored });
  const upload = { presigned_put_url: `${storage.url}/k`, method: "PUT", headers: {}, content_length: FILE.size, max_bytes: 100 };
  await using server = await serve({ status: 201, body: { asset_id: ASSET, upload } }, ...api);
  const client = new PixelFlow({ url: server.url, apiKey: "key" });
  const outcome: unknown = await client.createAsset("logo", FILE, { idempotencyKey }).catch((each: unknown) => each);
  const requests = server.received.map((each) => `${each.method} ${each.url}`);
  return { error: outcome instanceof Error ? outcome : undefined, requests, puts: storage.received.length };
}

test("the same call with the same idempotency key returns the asset that is there, and never deletes it", async () => {
  const repeated = await create([READY], 403, "logo-1");
  assert.deepEqual(repeated, { error: undefined, requests: ["POST /v1/assets", `GET ${ROUTE}`], puts: 0 });
  const refused = await create([PENDING], 403, "logo-1");
  assert.ok(refused.error instanceof TransferError);
  assert.deepEqual(refused.requests, ["POST /v1/assets", `GET ${ROUTE}`]);
  const completed = await create([PENDING, READY], 200, "logo-1");
  assert.deepEqual(completed.requests, ["POST /v1/assets", `GET ${ROUTE}`, `POST ${ROUTE}/complete`]);
});

test("an asset without a key of the caller is deleted if its upload fails", async () => {
  const refused = await create([{ status: 204 }], 403);
  assert.ok(refused.error instanceof TransferError);
  assert.deepEqual(refused.requests, ["POST /v1/assets", `DELETE ${ROUTE}`]);
});

test("uploads of assets and of jobs use the function that replaces fetch, unless the call has another", async () => {
  await using storage = await serve({ status: 200 });
  const upload = { presigned_put_url: `${storage.url}/k`, method: "PUT", headers: {}, content_length: FILE.size, max_bytes: 100 };
  await using server = await serve({ status: 201, body: { asset_id: ASSET, job_id: ASSET, upload } });
  const counting = (seen: string[]): typeof fetch => (input, init) => {
    seen.push(`${init?.method} ${new URL(String(input)).pathname}`);
    return fetch(input, init);
  };
  const [ofClient, ofCall]: [string[], string[]] = [[], []];
  const client = new PixelFlow({ url: server.url, apiKey: "key", fetch: counting(ofClient) });
  await client.createAsset("logo", FILE);
  await client.submit(FILE, [], { request: { auto_start: true } });
  assert.deepEqual(ofClient, ["POST /v1/assets", "PUT /k", `POST ${ROUTE}/complete`, "POST /v1/jobs", "PUT /k"]);
  const created = await client.createJob({ pipeline: [] });
  await client.upload(created, FILE, { fetch: counting(ofCall) });
  assert.deepEqual(ofCall, ["PUT /k"]);
});
