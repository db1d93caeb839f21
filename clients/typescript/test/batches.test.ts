import assert from "node:assert/strict";
import { test } from "node:test";
import { PixelFlow, type AddJobsRequest, type BatchSource } from "../src/index.js";
import { serve, type FakeServer, type Prepared } from "./server.js";

const JOB = "0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a55";

async function withServer(prepared: Prepared[], run: (client: PixelFlow, server: FakeServer) => Promise<void>) {
  await using server = await serve(...prepared);
  await run(new PixelFlow({ url: server.url, apiKey: "key" }), server);
}

const batch = (percent: number) => ({ status: 200, body: { batch_id: "b", percent, refused: [], jobs: { succeeded: percent } } });
const added = (more: object) => ({ status: 200, body: { batch_id: "b", accepted: 1, refused: [], ...more } });
const requestsOf = (server: FakeServer) => server.received.map((each) => `${each.method} ${each.url}`);
const closesOf = (server: FakeServer) =>
  server.received.filter((each) => each.method === "POST").map((each) => (JSON.parse(String(each.body)) as AddJobsRequest).close);
const sourcesOf = (server: FakeServer) =>
  server.received.filter((each) => each.method === "POST").map((each) => (JSON.parse(String(each.body)) as AddJobsRequest).sources?.length);

test("a batch is created, extended, shown and deleted", () =>
  withServer([batch(0), added({}), batch(100), { status: 204 }], async (client, server) => {
    const created = await client.createBatch({ preset: "card@2", sources: [{ source: { job: JOB } }] });
    await client.addToBatch(created.batch_id, { sources: [{ source: { url: "https://img.example/a.jpg" } }] });
    assert.equal((await client.getBatch("b")).percent, 100);
    await client.deleteBatch("b");
    assert.deepEqual(requestsOf(server), ["POST /v1/batches", "POST /v1/batches/b/jobs", "GET /v1/batches/b", "DELETE /v1/batches/b"]);
  }));

test("sources are sent in requests of at most 200 and 100,000 bytes, and the refused ones are counted from the first", async () => {
  const refused = { status: 200, body: { batch_id: "b", accepted: 199, refused: [{ index: 1, code: "not_found", detail: "" }] } };
  const sources = Array.from({ length: 450 }, (): BatchSource => ({ source: { job: JOB } }));
  await withServer([batch(0), refused, refused, batch(100)], async (client, server) => {
    const created = await client.createBatch({ preset: "card@2", sources }, { idempotencyKey: "card" });
    assert.deepEqual(sourcesOf(server), [200, 200, 50]);
    assert.deepEqual(created.refused.map((each) => each.index), [201, 401]);
    const keys = server.received.map((each) => each.headers["idempotency-key"]);
    assert.equal(keys[0], "card");
    assert.notEqual(keys[1], "card");
  });
  const long = Array.from({ length: 3 }, (): BatchSource => ({ source: { job: JOB }, metadata: { note: "ü".repeat(20_000) } }));
  await withServer([added({})], async (client, server) => {
    assert.equal((await client.addToBatch("b", { sources: long })).accepted, 2);
    assert.deepEqual(sourcesOf(server), [2, 1]);
  });
});

test("the last request closes the batch", async () => {
  const sources = Array.from({ length: 250 }, (): BatchSource => ({ source: { job: JOB } }));
  await withServer([batch(0), added({}), batch(100), batch(0), added({}), added({}), added({})], async (client, server) => {
    await client.createBatch({ preset: "card@2", sources, close: true });
    await client.createBatch({ preset: "card@2", sources: sources.slice(1, 2), close: true });
    await client.addToBatch("b", { sources, close: true });
    await client.rerunInBatch("b", "card@1", { close: true });
    assert.deepEqual(closesOf(server), [undefined, true, true, undefined, true, true]);
  });
  await withServer([batch(0)], async (client, server) => {
    await client.closeBatch("b");
    assert.deepEqual(requestsOf(server), ["POST /v1/batches/b/close"]);
  });
});

test("no more sources close the batch if asked to, and are otherwise no request", () =>
  withServer([batch(100)], async (client, server) => {
    const none = { batch_id: "b", accepted: 0, refused: [] };
    assert.deepEqual(await client.addToBatch("b", { sources: [] }), none);
    assert.deepEqual(requestsOf(server), []);
    assert.deepEqual(await client.addToBatch("b", { sources: [], close: true }, { idempotencyKey: "mine" }), none);
    assert.deepEqual(requestsOf(server), ["POST /v1/batches/b/close"]);
    assert.equal(server.received[0]?.headers["idempotency-key"], "mine");
  }));

test("a preset is run again page by page", () =>
  withServer([added({ next_cursor: "n" }), added({ refused: [{ job_id: JOB, code: "source_missing" }], next_cursor: null })], async (client, server) => {
    const pages: number[] = [];
    const all = await client.rerunInBatch("b", "card@1", { onPage: (page) => pages.push(page.accepted) });
    assert.deepEqual([all.accepted, all.refused.length, pages], [2, 1, [1, 1]]);
    const cursors = server.received.map((each) => (JSON.parse(String(each.body)) as AddJobsRequest).rerun?.cursor);
    assert.deepEqual(cursors, [undefined, "n"]);
  }));

test("a batch is canceled by as many requests as its jobs need, each with its own idempotency key", () =>
  withServer([batch(40), batch(100)], async (client, server) => {
    assert.equal((await client.cancelBatch("b", { idempotencyKey: "mine" })).percent, 100);
    assert.deepEqual(requestsOf(server), ["POST /v1/batches/b/cancel", "POST /v1/batches/b/cancel"]);
    assert.notEqual(server.received[1]?.headers["idempotency-key"], "mine");
  }));

test("batches are listed on demand and by page", () =>
  withServer([{ status: 200, body: { data: [{ batch_id: "b" }], next_cursor: "n" } }, { status: 200, body: { data: [], next_cursor: null } }], async (client, server) => {
    for await (const each of client.listBatches({ limit: 1 })) assert.equal(each.batch_id, "b");
    assert.equal((await client.getBatchPage({ cursor: "n" })).next_cursor, null);
    assert.deepEqual(requestsOf(server), ["GET /v1/batches?limit=1", "GET /v1/batches?limit=1&cursor=n", "GET /v1/batches?cursor=n"]);
  }));

test("waiting for a batch reports its changes, and returns it when its jobs have finished or the time is over", async () => {
  const seen: number[] = [];
  const onProgress = (each: { percent: number }) => seen.push(each.percent);
  await withServer([batch(0), batch(0), batch(50), batch(100)], async (client) => {
    assert.equal((await client.waitForBatch("b", { onProgress })).percent, 100);
  });
  assert.deepEqual(seen, [0, 50, 100]);
  await withServer([batch(50)], async (client) => {
    assert.equal((await client.waitForBatch("b", { timeoutMs: 60 })).percent, 50);
  });
  const closed = { ...batch(100).body, closed_at: "2026-11-23T14:00:00Z" };
  const finished = { ...closed, finished_at: "2026-11-23T14:00:01Z" };
  await withServer([{ status: 200, body: closed }, { status: 200, body: finished }], async (client) => {
    assert.equal((await client.waitForBatch("b")).finished_at, finished.finished_at);
  });
});
