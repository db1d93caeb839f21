import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { inspect } from "node:util";
import {
  ApiError,
  ConfigurationError,
  ConnectionFailedError,
  JobFailedError,
  PixelFlow,
  WaitTimeoutError,
} from "../src/index.js";
import { serve, type FakeServer, type Prepared } from "./server.js";

const JOB = "0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a55";
const PROBLEM = {
  type: "about:blank",
  title: "Invalid",
  status: 422,
  detail: "The request is not valid",
  code: "validation_failed",
  request_id: "r1",
  errors: [{ pointer: "/pipeline/0/width", message: "must be at least 1", code: "too_small" }],
};

async function withServer(prepared: Prepared[], run: (client: PixelFlow, server: FakeServer) => Promise<void>) {
  const server = await serve(...prepared);
  try {
    await run(new PixelFlow({ url: server.url, apiKey: "key" }), server);
  } finally {
    await server[Symbol.asyncDispose]();
  }
}

const job = (status: string) => ({ status: 200, body: { job_id: JOB, status, attempts: 1, error: null, finished_at: null } });

test("a POST that may have taken effect is repeated with the same idempotency key", () =>
  withServer([{ status: 503 }, { status: 0, drop: true }, { status: 202, body: { job_id: JOB } }], async (client, server) => {
    const started = await client.startJob(JOB);
    assert.equal(started.job_id, JOB);
    const keys = server.received.map((each) => each.headers["idempotency-key"]);
    assert.equal(keys.length, 3);
    assert.equal(new Set(keys).size, 1);
    assert.match(String(keys[0]), /^[0-9a-f-]{36}$/);
    assert.equal(server.received[0]?.headers["authorization"], "Bearer key");
  }));

test("two calls have different idempotency keys, and a given key is used", () =>
  withServer([{ status: 200, body: {} }], async (client, server) => {
    await client.cancel(JOB);
    await client.cancel(JOB);
    await client.cancel(JOB, { idempotencyKey: "mine" });
    const keys = server.received.map((each) => each.headers["idempotency-key"]);
    assert.notEqual(keys[0], keys[1]);
    assert.equal(keys[2], "mine");
  }));

test("a transient status is given up after four attempts", () =>
  withServer([{ status: 502, body: "not JSON" }], async (client, server) => {
    const isUnexpected = (error: unknown) => error instanceof ApiError && error.code === "unexpected_answer";
    await assert.rejects(client.getJob(JOB), isUnexpected);
    assert.equal(server.received.length, 4);
  }));

test("a request that is not valid is not repeated, and the error has every field of the problem", () =>
  withServer([{ status: 422, body: PROBLEM }], async (client, server) => {
    const error = await client.createJob({ pipeline: [] }).catch((each: unknown) => each);
    assert.ok(error instanceof ApiError);
    assert.equal(error.code, "validation_failed");
    assert.equal(error.requestId, "r1");
    assert.equal(error.errors[0]?.pointer, "/pipeline/0/width");
    assert.match(error.message, /must be at least 1/);
    assert.equal(server.received.length, 1);
  }));

test("Retry-After of the rate limit is respected", () =>
  withServer([{ status: 429, headers: { "Retry-After": "1" }, body: PROBLEM }, job("queued")], async (client) => {
    const before = Date.now();
    await client.getJob(JOB);
    assert.ok(Date.now() - before >= 1000);
  }));

test("a wait longer than a minute is returned to the caller", () =>
  withServer([{ status: 429, headers: { "Retry-After": "61" }, body: { ...PROBLEM, status: 429 } }], async (client, server) => {
    const error = await client.getJob(JOB).catch((each: unknown) => each);
    assert.ok(error instanceof ApiError);
    assert.equal(error.retryAfter, 61);
    assert.equal(server.received.length, 1);
  }));

test("a conflict is repeated only if it has Retry-After", () =>
  withServer([{ status: 409, headers: { "Retry-After": "0" }, body: PROBLEM }, { status: 409, body: PROBLEM }], async (client, server) => {
    await assert.rejects(client.retry(JOB), ApiError);
    assert.equal(server.received.length, 2);
  }));

test("an erased job that an earlier attempt erased is no error; one that never existed is", async () => {
  const missing = { status: 404, body: { ...PROBLEM, status: 404, code: "not_found" } };
  await withServer([{ status: 503 }, missing], (client) => client.erase(JOB));
  await withServer([missing], (client) => assert.rejects(client.erase(JOB), { code: "not_found" }));
});

test("jobs are listed page by page, on demand", () =>
  withServer(
    [
      { status: 200, body: { data: [{ job_id: "a" }, { job_id: "b" }], next_cursor: "n" } },
      { status: 200, body: { data: [{ job_id: "c" }], next_cursor: null } },
    ],
    async (client, server) => {
      const seen: string[] = [];
      for await (const each of client.listJobs({ limit: 2 })) {
        if (seen.length === 1) assert.equal(server.received.length, 1);
        seen.push(each.job_id);
      }
      assert.deepEqual(seen, ["a", "b", "c"]);
      assert.deepEqual(server.received.map((each) => each.url), ["/v1/jobs?limit=2", "/v1/jobs?limit=2&cursor=n"]);
    },
  ));

test("jobs are listed by metadata and preset", () =>
  withServer([{ status: 200, body: { data: [], next_cursor: null } }], async (client, server) => {
    for await (const each of client.listJobs({ metadata: { sku: "A 17" }, preset: "avatar@3" })) assert.fail(each.job_id);
    assert.deepEqual(server.received.map((each) => each.url), ["/v1/jobs?preset=avatar%403&metadata.sku=A+17"]);
  }));

test("a photo is submitted with a preset, and one that is there already is not uploaded", () =>
  withServer([{ status: 202, body: { job_id: JOB } }], async (client, server) => {
    const preset = { preset: "avatar@3", parameters: { size: 200 } };
    assert.equal(await client.submit({ job: JOB, output: "hero" }, preset, { request: { metadata: { sku: "A-17" } } }), JOB);
    assert.deepEqual(JSON.parse(String(server.received[0]?.body)), {
      metadata: { sku: "A-17" },
      preset: "avatar@3",
      parameters: { size: 200 },
      source: { job: JOB, output: "hero" },
    });
    await client.submit({ url: "https://img.example/a.jpg" }, [], { request: { auto_start: true } });
    assert.deepEqual(
      server.received.map((each) => each.url),
      ["/v1/jobs", `/v1/jobs/${JOB}/start`, "/v1/jobs"],
    );
  }));

test("a photo that was submitted with the same idempotency key is neither uploaded nor started again", () =>
  withServer([{ status: 202, body: { job_id: JOB } }, { status: 200, body: { queued_at: "2026-11-29T12:00:00Z" } }], async (client, server) => {
    assert.equal(await client.submit(new Uint8Array(9), [], { idempotencyKey: "photo-17" }), JOB);
    assert.deepEqual(
      server.received.map((each) => [each.url, each.headers["idempotency-key"]]),
      [["/v1/jobs", "photo-17"], [`/v1/jobs/${JOB}`, undefined]],
    );
  }));

test("waiting reports changes and returns the job that succeeded", () =>
  withServer([job("queued"), job("queued"), job("processing"), job("succeeded")], async (client) => {
    const states: string[] = [];
    const done = await client.waitForJob(JOB, { onProgress: (each) => states.push(each.status) });
    assert.equal(done.status, "succeeded");
    assert.deepEqual(states, ["queued", "processing", "succeeded"]);
  }));

test("waiting for a failed job throws its error code", () =>
  withServer(
    [{ status: 200, body: { job_id: JOB, status: "failed", attempts: 1, error: { code: "corrupt_image", message: "Damaged" } } }],
    async (client) => {
      const error = await client.waitForJob(JOB).catch((each: unknown) => each);
      assert.ok(error instanceof JobFailedError);
      assert.equal(error.code, "corrupt_image");
      assert.equal(error.job.job_id, JOB);
    },
  ));

test("waiting ends at its timeout, and when it is aborted", () =>
  withServer([job("processing")], async (client) => {
    await assert.rejects(client.waitForJob(JOB, { timeoutMs: 120 }), WaitTimeoutError);
    const before = Date.now();
    await assert.rejects(client.waitForJob(JOB, { signal: AbortSignal.timeout(100) }), { name: "TimeoutError" });
    assert.ok(Date.now() - before < 1000);
  }));

test("waiting falls back to polls if the API does not know `wait`", () =>
  withServer(
    [
      { status: 422, body: { ...PROBLEM, errors: [{ pointer: "/query/wait", message: "is an unknown query parameter" }] } },
      job("processing"),
      job("succeeded"),
    ],
    async (client, server) => {
      assert.equal((await client.waitForJob(JOB)).status, "succeeded");
      assert.deepEqual(
        server.received.map((each) => new URL(each.url, server.url).searchParams.get("wait")),
        ["20", null, null],
      );
    },
  ));

test("polls come at growing intervals", () =>
  withServer([job("processing")], async (client, server) => {
    await assert.rejects(client.waitForJob(JOB, { timeoutMs: 900 }), WaitTimeoutError);
    // 50, 75, 113, 169, 253 ms and the rest: seven polls, where a constant interval would make eighteen.
    assert.ok(server.received.length <= 8, `${server.received.length} polls`);
  }));

test("a server that can't be reached is named without the path", async () => {
  const closed = await serve({ status: 200 });
  await closed[Symbol.asyncDispose]();
  const client = new PixelFlow({ url: closed.url, apiKey: "secret-key" });
  const error = await client.getJob(JOB).catch((each: unknown) => each);
  assert.ok(error instanceof ConnectionFailedError);
  assert.equal(error.sent, false);
  assert.doesNotMatch(error.message, /secret|v1/);
});

test("a key is never sent to where the API redirects", () =>
  withServer([{ status: 307, headers: { Location: "http://127.0.0.1:1/" } }], async (client) => {
    await assert.rejects(client.getJob(JOB), ConnectionFailedError);
  }));

test("an ID that would change the path of a request is refused before anything is sent", () =>
  withServer([{ status: 204 }], async (client, server) => {
    const calls = [
      (id: string) => client.erase(id),
      (id: string) => client.getJob(id),
      (id: string) => client.waitForJob(id),
      (id: string) => client.deleteAsset(id),
      (id: string) => client.signedOutputUrl(JOB, id),
      (id: string) => client.watchJob(id).next(),
    ];
    for (const call of calls) {
      for (const id of ["", ".", ".."]) await assert.rejects(call(id), { code: "invalid_id" }, id);
    }
    assert.throws(() => client.outputUrl("..", "small"), { code: "invalid_id" });
    assert.equal(server.received.length, 0);
    await client.erase("a/../b?c");
    assert.deepEqual(server.received.map((each) => each.url), ["/v1/jobs/a%2F..%2Fb%3Fc"]);
  }));

test("a client that is logged does not show its key", () => {
  const client = new PixelFlow({ url: "http://localhost", apiKey: "secret-key" });
  assert.doesNotMatch(inspect(client, { depth: null, showHidden: true }) + JSON.stringify(client), /secret-key/);
});

test("the page of the client lists every method, and no others", async () => {
  const page = await readFile("../../docs/typescript.md", "utf-8");
  const methods = Object.getOwnPropertyNames(PixelFlow.prototype).filter((name) => name !== "constructor");
  assert.ok(methods.length > 45);
  const functions = ["finalUrl", "verifyWebhook"];
  const rows = page.split("## All methods")[1]?.split("##")[0]?.matchAll(/^\|.*\| (`.*) \|$/gm) ?? [];
  const listed = [...rows].flatMap(([, row = ""]) => [...row.matchAll(/`(\w+)`/g)].map((each) => each[1] ?? ""));
  assert.deepEqual(listed.filter((name) => !functions.includes(name)).sort(), methods.sort());
});

test("a missing URL or key is reported at once", () => {
  assert.throws(() => new PixelFlow({ url: "pixelflow", apiKey: "k" }), ConfigurationError);
  for (const url of ["file:///tmp", "http://user:password@localhost", "http://localhost/?a=b", "http://localhost/#a"]) {
    assert.throws(() => new PixelFlow({ url, apiKey: "k" }), ConfigurationError);
  }
  assert.throws(() => new PixelFlow({ url: "http://localhost", apiKey: "two words" }), ConfigurationError);
  assert.throws(() => new PixelFlow({ url: "http://localhost", apiKey: "" }), ConfigurationError);
});
