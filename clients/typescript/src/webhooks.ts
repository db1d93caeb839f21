/** Verifies webhooks by the Standard Webhooks specification. Needs no API key. */
import { WebhookVerificationError } from "./errors.js";
import type { WebhookEvent } from "./types.js";

/** Seconds that a timestamp may differ from now: that of the specification's libraries. */
const TOLERANCE = 300;
const PREFIX = "whsec_";

type HeaderSource = Headers | Record<string, string | string[] | undefined>;

export interface VerifyOptions {
  /** Seconds that the timestamp may differ from now; default: 300. */
  readonly toleranceSeconds?: number;
  /** Now, in milliseconds since 1970. */
  readonly now?: number;
}

/**
 * Returns the event if one of `secrets` signed it.
 *
 * @param body the unmodified body, as bytes or text; never JSON that was parsed and written again.
 * @param headers of the request, in any case.
 * @param secrets one `whsec_…`, or several during a rotation.
 * @throws WebhookVerificationError a header is missing, the timestamp is too far from now, or no signature matches.
 */
export async function verifyWebhook(
  body: string | Uint8Array | ArrayBuffer,
  headers: HeaderSource,
  secrets: string | readonly string[],
  options: VerifyOptions = {},
): Promise<WebhookEvent> {
  const id = header(headers, "webhook-id");
  const timestamp = header(headers, "webhook-timestamp");
  checkTimestamp(timestamp, options);
  const signatures = signaturesOf(header(headers, "webhook-signature"));
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : new Uint8Array(body);
  const signed = concat(new TextEncoder().encode(`${id}.${timestamp}.`), bytes);
  let isValid = false;
  for (const secret of typeof secrets === "string" ? [secrets] : secrets) {
    const key = await importKey(secret);
    for (const signature of signatures) {
      // WebCrypto compares in constant time. All are compared, so that the time does not depend on which one matches.
      isValid = (await crypto.subtle.verify("HMAC", key, signature, signed)) || isValid;
    }
  }
  if (!isValid) throw new WebhookVerificationError("No signature of the webhook matches");
  return JSON.parse(new TextDecoder().decode(bytes)) as WebhookEvent;
}

function header(headers: HeaderSource, name: string): string {
  const value =
    headers instanceof Headers
      ? headers.get(name)
      : Object.entries(headers).find(([each]) => each.toLowerCase() === name)?.[1];
  if (typeof value !== "string" || value === "") throw new WebhookVerificationError(`The header ${name} is missing`);
  return value;
}

function checkTimestamp(timestamp: string, options: VerifyOptions): void {
  const age = (options.now ?? Date.now()) / 1000 - Number(timestamp);
  if (!/^\d{1,12}$/.test(timestamp) || Math.abs(age) > (options.toleranceSeconds ?? TOLERANCE)) {
    throw new WebhookVerificationError("The timestamp of the webhook is too far from now, or not a number");
  }
}

function signaturesOf(value: string): Uint8Array<ArrayBuffer>[] {
  const found = value.split(" ").flatMap((each) => (each.startsWith("v1,") ? [decodeBase64(each.slice(3))] : []));
  return found.filter((each) => each !== undefined);
}

async function importKey(secret: string): Promise<CryptoKey> {
  const raw = decodeBase64(secret.startsWith(PREFIX) ? secret.slice(PREFIX.length) : secret);
  // An empty key would accept what anybody can sign.
  if (!raw || raw.length === 0) throw new WebhookVerificationError("The webhook secret is empty or not base64");
  return crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  } catch {
    return undefined;
  }
}

function concat(first: Uint8Array, second: Uint8Array): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(first.length + second.length);
  joined.set(first);
  joined.set(second, first.length);
  return joined;
}
