import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { ApiError, ConnectionFailedError, PixelFlow } from "../src/index.js";

const JOB = "0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a55";
const FOUND = { job_id: JOB, batch_id: JOB, status: "succeeded", attempts: 1, percent: 100, jobs: { succeeded: 1 } };
const PROBLEM = { code: "overloaded", detail: "Try again", status: 503 };

const busy = (headers: Record<string, string> = {}) => Response.json(PROBLEM, { status: 503, headers });
const refused = () => Promise.reject(new TypeError("fetch failed"));
const event = (id: number, status: string) => `id: ${id}\ndata: ${JSON.stringify({ type: "status", job_id: JOB, status })}\n\n`;
const stream = (text: string) => new Response(text, { headers: { "Content-Type": "text/event-stream" } });

interface Outcome {
  readonly value?: unknown;
  readonly error?: unknown;
  /** Seconds that it took. */
  readonly seconds: number;
  /** Seconds of each request. */
  readonly requests: number[];
}

/** Runs `use` on a clock of its own, with an API that gives `respond(n)` to its n-th request, from 0. */
async function run(
  context: TestContext,
  respond: (n: number) => Response | Promise<Response>,
  use: (client: PixelFlow) => Promise<unknown>,
): Promise<Outcome> {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const requests: number[] = [];
  const seconds = () => Date.now() / 1000;
  const client = new PixelFlow({
    url: "http://api.example",
    apiKey: "key",
    fetch: async () => respond(requests.push(seconds()) - 1),
  });
  let outcome: Outcome | undefined;
  void use(client).then(
    (value) => (outcome = { value, seconds: seconds(), requests }),
    (error: unknown) => (outcome = { error, seconds: seconds(), requests }),
  );
  while (!outcome) {
    for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
    if (!outcome) context.mock.timers.tick(50);
  }
  context.mock.timers.reset();
  return outcome;
}

async function lastOf(events: AsyncIterable<{ status: string }>): Promise<string | undefined> {
  let last: string | undefined;
  for await (const each of events) last = each.status;
  return last;
}

const WAITS = {
  waitForJob: (client: PixelFlow) => client.waitForJob(JOB),
  "waitForJob with onProgress": (client: PixelFlow) => client.waitForJob(JOB, { onProgress: () => undefined }),
  waitForBatch: (client: PixelFlow) => client.waitForBatch(JOB),
};

for (const [name, wait] of Object.entries(WAITS)) {
  test(`${name} survives a restart of the API but no long outage`, async (context) => {
    for (const away of [busy, refused]) {
      const restarted = await run(context, (n) => (n < 30 ? away() : Response.json(FOUND)), wait);
      assert.deepEqual(restarted.value, FOUND);
      assert.ok(restarted.seconds > 10 && restarted.seconds < 60, `${restarted.seconds} s`);
      const gone = await run(context, () => away(), wait);
      assert.ok(gone.error instanceof (away === busy ? ApiError : ConnectionFailedError));
      assert.ok(gone.seconds >= 60 && gone.seconds < 70, `${gone.seconds} s`);
    }
  });
}

test("a closed batch whose end is never recorded is returned 10 s after its jobs have ended", async (context) => {
  const closed = { ...FOUND, closed_at: "2026-11-23T14:00:00Z", finished_at: null };
  const running = { ...closed, percent: 50 };
  const wait = (client: PixelFlow) => client.waitForBatch(JOB, { timeoutMs: 60_000 });
  const batch = await run(context, (n) => Response.json(n < 5 ? running : closed), wait);
  assert.deepEqual(batch.value, closed);
  const waited = batch.seconds - (batch.requests[5] ?? 0);
  assert.ok(waited > 9.99 && waited < 12.1, `${waited} s`);
});

test("a wait comes back no earlier than an API that is away asks for, and ends at its timeout", async (context) => {
  const asks = () => busy({ "Retry-After": "5" });
  const restarted = await run(context, (n) => (n < 6 ? asks() : Response.json(FOUND)), WAITS.waitForJob);
  assert.deepEqual(restarted.value, FOUND);
  restarted.requests.slice(1).forEach((at, n) => assert.ok(at - (restarted.requests[n] ?? 0) > 4.99, restarted.requests.join(" ")));
  for (const timeoutMs of [1_000, 30_000]) {
    const late = await run(context, asks, (client) => client.waitForBatch(JOB, { timeoutMs }));
    assert.ok(late.error instanceof ApiError);
    assert.ok(late.seconds * 1000 <= timeoutMs, `${late.seconds} s`);
  }
  const long = await run(context, () => busy({ "Retry-After": "3600" }), WAITS.waitForJob);
  assert.deepEqual([long.requests.length, long.seconds], [1, 0]);
});

test("a wait with too many streams is polled, and a job that is not there is reported at once", async (context) => {
  const full = () => Response.json({ ...PROBLEM, code: "too_many_streams", status: 429 }, { status: 429, headers: { "Retry-After": "5" } });
  const polled = await run(context, (n) => (n === 0 ? full() : Response.json(FOUND)), WAITS.waitForJob);
  assert.deepEqual([polled.value, polled.requests.length, polled.seconds], [FOUND, 2, 0]);
  const missing = await run(context, () => Response.json({ ...PROBLEM, code: "not_found", status: 404 }, { status: 404 }), WAITS.waitForJob);
  assert.deepEqual([missing.requests.length, missing.seconds], [1, 0]);
});

test("a stream survives a restart of the API once it has begun, but no long outage", async (context) => {
  const watch = (client: PixelFlow) => lastOf(client.watchJob(JOB));
  for (const away of [busy, refused]) {
    const script = (n: number) => (n === 0 ? stream(event(1, "queued")) : n < 10 ? away() : stream(event(2, "succeeded")));
    const restarted = await run(context, script, watch);
    assert.equal(restarted.value, "succeeded");
    assert.ok(restarted.seconds > 10 && restarted.seconds < 60, `${restarted.seconds} s`);
    const gone = await run(context, (n) => (n === 0 ? stream(event(1, "queued")) : away()), watch);
    assert.ok(gone.error instanceof (away === busy ? ApiError : ConnectionFailedError));
    assert.ok(gone.seconds >= 60 && gone.seconds < 70, `${gone.seconds} s`);
    assert.equal((await run(context, () => away(), watch)).requests.length, 4);
  }
});
