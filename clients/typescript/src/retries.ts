/** Sends a request and retries it if another attempt may succeed: the rules of the Python SDK. */
import { ConnectionFailedError } from "./errors.js";

/** Attempts of one request. Attempts that a rate limit rejects with `Retry-After` are not counted. */
export const MAX_ATTEMPTS = 4;
/** Total milliseconds that one request waits for a rate limit. */
const MAX_RATE_LIMIT_WAIT = 300_000;
const INITIAL_BACKOFF = 200;
const MAX_BACKOFF = 5_000;
/** Milliseconds that a caller who waits for a job or a batch, or watches jobs, goes on without an answer. */
export const MAX_OUTAGE = 60_000;
/** Milliseconds. A response that asks for a longer wait is returned to the caller. */
export const MAX_RETRY_AFTER = 60_000;
/** Statuses that another attempt may not get. */
export const TRANSIENT = new Set([429, 502, 503, 504]);
const RATE_LIMITED = 429;
const CONFLICT = 409;

/** A response whose body was read completely. */
export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
  /** Whether an earlier attempt may have taken effect. */
  readonly repeated: boolean;
}

export interface SendOptions {
  readonly signal?: AbortSignal | undefined;
  /** On the clock of `Date.now()`; no further attempt starts after it. */
  readonly deadline?: number | undefined;
  /** Code of an error that another attempt would only repeat. */
  readonly finalCode?: string | undefined;
  /** Whether the request can be sent again; default: true. */
  readonly repeatable?: boolean;
}

type Attempt = () => Promise<Omit<Reply, "repeated">>;

/** Calls `attempt` until its outcome is final, and returns the last response, with any status. */
export async function send(attempt: Attempt, options: SendOptions = {}): Promise<Reply> {
  const state = { attempts: 0, rateLimited: 0, rateLimitWait: 0 };
  let repeated = false;
  for (;;) {
    options.signal?.throwIfAborted();
    const outcome = await outcomeOf(attempt);
    const isFinal = options.repeatable === false || hasCode(outcome, options.finalCode);
    const delay = isFinal ? undefined : nextDelay(outcome, state);
    if (delay === undefined || (options.deadline !== undefined && Date.now() + delay > options.deadline)) {
      if (outcome instanceof ConnectionFailedError) throw outcome;
      return { ...outcome, repeated };
    }
    // The rate limit rejects a request before it takes effect; a 5xx may come after.
    repeated ||= outcome instanceof ConnectionFailedError ? outcome.sent : outcome.status !== RATE_LIMITED;
    await sleep(delay, options.signal);
  }
}

async function outcomeOf(attempt: Attempt): Promise<Omit<Reply, "repeated"> | ConnectionFailedError> {
  try {
    return await attempt();
  } catch (error) {
    if (error instanceof ConnectionFailedError) return error;
    throw error;
  }
}

function hasCode(outcome: Omit<Reply, "repeated"> | ConnectionFailedError, code: string | undefined): boolean {
  if (code === undefined || outcome instanceof ConnectionFailedError || outcome.status < 400) return false;
  return outcome.body.includes(`"${code}"`);
}

interface RetryState {
  attempts: number;
  rateLimited: number;
  rateLimitWait: number;
}

function nextDelay(outcome: Omit<Reply, "repeated"> | ConnectionFailedError, state: RetryState): number | undefined {
  const reply = outcome instanceof ConnectionFailedError ? undefined : outcome;
  const retryAfter = reply && retryAfterOf(reply.headers);
  if (retryAfter !== undefined && retryAfter > MAX_RETRY_AFTER) return undefined;
  if (reply?.status === RATE_LIMITED && retryAfter !== undefined) {
    const delay = retryAfter + backoff(++state.rateLimited);
    state.rateLimitWait += delay;
    return state.rateLimitWait <= MAX_RATE_LIMIT_WAIT ? delay : undefined;
  }
  // A conflict with Retry-After: an earlier attempt of the same request is still in progress.
  const isFinal = reply && !TRANSIENT.has(reply.status) && !(reply.status === CONFLICT && retryAfter !== undefined);
  if (++state.attempts >= MAX_ATTEMPTS || isFinal) return undefined;
  // The backoff is added to Retry-After, so that no client returns too early.
  return (retryAfter ?? 0) + backoff(state.attempts);
}

/** Milliseconds before the attempt that follows so many. */
export function backoff(attempts: number): number {
  return Math.min(MAX_BACKOFF, INITIAL_BACKOFF * 2 ** (attempts - 1)) * (1 - Math.random() / 2);
}

/** Milliseconds of `Retry-After` (RFC 9110, 10.2.3): seconds, or a date relative to the `Date` header. */
export function retryAfterOf(headers: Headers): number | undefined {
  const value = headers.get("retry-after")?.trim() ?? "";
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  const span = Date.parse(value) - Date.parse(headers.get("date") ?? "");
  return Number.isNaN(span) ? undefined : Math.max(0, span);
}

/** Resolves after `ms`; rejects with the reason of `signal` when it is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort, { once: true });
  });
}
