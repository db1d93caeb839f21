import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { verifyWebhook, WebhookVerificationError } from "../src/index.js";

interface Vector {
  readonly name: string;
  readonly valid: boolean;
  readonly now: number;
  readonly secret: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}

/** Python verifies the same vectors: tests/unit/webhooks/test_vectors.py. */
const VECTORS = JSON.parse(readFileSync("test/webhook-vectors.json", "utf-8")) as Vector[];

for (const vector of VECTORS) {
  test(`webhook vector: ${vector.name}`, async () => {
    const verified = verifyWebhook(vector.body, vector.headers, vector.secret, { now: vector.now * 1000 });
    if (vector.valid) assert.deepEqual(await verified, JSON.parse(vector.body));
    else await assert.rejects(verified, WebhookVerificationError);
  });
}

const [valid] = VECTORS as [Vector];
const now = valid.now * 1000;

test("bytes and Headers are verified too, with any of several secrets", async () => {
  const bytes = new TextEncoder().encode(valid.body);
  const event = await verifyWebhook(bytes, new Headers(valid.headers), ["whsec_b3RoZXI=", valid.secret], { now });
  assert.equal(event.type, "job.completed");
});

test("an empty or broken secret verifies nothing", async () => {
  for (const secret of ["", "whsec_", "whsec_§"]) {
    await assert.rejects(verifyWebhook(valid.body, valid.headers, secret, { now }), WebhookVerificationError);
  }
  await assert.rejects(verifyWebhook(valid.body, valid.headers, [], { now }), WebhookVerificationError);
});

test("the default clock is the real one", async () => {
  await assert.rejects(verifyWebhook(valid.body, valid.headers, valid.secret), /too far/);
});
