import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, ConnectionFailedError, PixelFlow, type JobEvent } from "../src/index.js";
import { serve, type Prepared } from "./server.js";

const JOB = "0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a55";

function stream(...blocks: string[]): Prepared {
  return { status: 200, headers: { "Content-Type": "text/event-stream" }, body: blocks.map((each) => `${each}\n\n`).join("") };
}

function event(id: number, status: string): string {
  const data = { type: "status", job_id: JOB, status, attempts: 1, stage: null, percent: null, error: null, finished_at: null };
  return `id: ${id}\nevent: status\ndata: ${JSON.stringify(data)}`;
}

async function read(jobId: string | undefined, ...prepared: Prepared[]): Promise<{ events: JobEvent[]; ids: unknown[] }> {
  await using server = await serve(...prepared);
  const events: JobEvent[] = [];
  const client = new PixelFlow({ url: server.url, apiKey: "key" });
  for await (const each of jobId === undefined ? client.watchJobs() : client.watchJob(jobId)) events.push(each);
  return { events, ids: server.received.map((each) => each.headers["last-event-id"]) };
}

test("events end with the job", async () => {
  const { events, ids } = await read(JOB, stream("retry: 1000", event(1, "queued"), ": heartbeat\nid: 2", event(3, "succeeded")));
  assert.deepEqual(events.map((each) => each.status), ["queued", "succeeded"]);
  assert.deepEqual(ids, [undefined]);
});

test("a stream that breaks is continued after the last event", async () => {
  const busy = { status: 503, body: { code: "overloaded", detail: "later" } };
  const { events, ids } = await read(JOB, stream(event(7, "queued")), busy, stream(event(9, "failed")));
  assert.deepEqual(events.map((each) => each.status), ["queued", "failed"]);
  assert.deepEqual(ids, [undefined, "7", "7"]);
});

test("204 ends the iteration, and an error is thrown", async () => {
  assert.deepEqual((await read(JOB, { status: 204, body: "" })).events, []);
  const missing = { status: 404, body: { code: "not_found", detail: "You have no job with this ID" } };
  await assert.rejects(read(JOB, missing), (error: ApiError) => error.code === "not_found");
});

test("a stream is continued after an event of an earlier one, and an abort ends it while it waits", async () => {
  await using server = await serve(stream(event(8, "queued")), { status: 200, hold: true });
  const controller = new AbortController();
  const watched = new PixelFlow({ url: server.url, apiKey: "key" }).watchJobs({ lastEventId: "7", signal: controller.signal });
  assert.equal((await watched.next()).value?.status, "queued");
  const next = watched.next();
  await server.held;
  controller.abort(new Error("left the page"));
  await assert.rejects(next, /left the page/);
  assert.deepEqual(server.received.map((each) => each.headers["last-event-id"]), ["7", "8"]);
});

test("the position is reported after an event was handled, and while there is none", async () => {
  await using server = await serve(stream(": heartbeat\nid: 900", ": heartbeat"), stream(event(900, "queued"), event(901, "succeeded")));
  const seen: string[] = [];
  const client = new PixelFlow({ url: server.url, apiKey: "key" });
  const options = { lastEventId: "899", onPosition: (id: string) => seen.push(id) };
  for await (const each of client.watchJob(JOB, options)) seen.push(each.status);
  assert.deepEqual(seen, ["900", "queued", "succeeded", "901"]);
});

test("what onPosition throws is no broken connection", async () => {
  await using server = await serve(stream("id: 900", event(901, "succeeded")));
  const thrown = new ConnectionFailedError("the store is away", false);
  const onPosition = () => {
    throw thrown;
  };
  const next = new PixelFlow({ url: server.url, apiKey: "key" }).watchJob(JOB, { onPosition }).next();
  await assert.rejects(next, (error) => error === thrown);
  assert.equal(server.received.length, 1);
});

test("a connection that gets no response within 30 s is made again", { timeout: 10_000 }, async (context) => {
  await using server = await serve({ status: 200, hold: true }, stream(event(1, "succeeded")));
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const next = new PixelFlow({ url: server.url, apiKey: "key" }).watchJob(JOB).next();
  await server.held;
  context.mock.timers.tick(29_999);
  assert.equal(server.received.length, 1);
  context.mock.timers.tick(1);
  while (server.received.length < 2) {
    await new Promise(setImmediate);
    context.mock.timers.tick(100);
  }
  assert.equal((await next).value?.status, "succeeded");
});
