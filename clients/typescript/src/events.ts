/** Event streams of jobs: reads them with `fetch`, and continues one that breaks. */
import { ConnectionFailedError } from "./errors.js";
import { apiError, mapErrors } from "./http.js";
import { backoff, MAX_ATTEMPTS, MAX_OUTAGE, retryAfterOf, sleep, TRANSIENT } from "./retries.js";
import { hasFinished } from "./states.js";
import type { JobEvent } from "./types.js";

/** Milliseconds without a byte after which a connection counts as broken; the API sends something every 15 s. */
const SILENCE = 30_000;
/** Characters of one line. An event has less than a thousand. */
const MAX_LINE = 1024 * 1024;
const NO_CONTENT = 204;

export interface EventsOptions {
  readonly signal?: AbortSignal | undefined;
  /** Continue after this event of an earlier stream; empty: from the start. */
  readonly lastEventId?: string | undefined;
  /**
   * Called with the `lastEventId` for a later stream: when the next event is asked for, and while there is none. What it
   * throws ends the stream.
   */
  readonly onPosition?: ((lastEventId: string) => void) | undefined;
}

/** An event of a job, with the ID after which another stream can continue: empty if the API sent none. */
export type StreamedEvent = JobEvent & { readonly id: string };

interface Block {
  readonly id: string | undefined;
  readonly data: string;
}

/** A stream over as many connections as it takes. */
interface Stream {
  readonly url: URL;
  readonly headers: Record<string, string>;
  readonly isOfOneJob: boolean;
  readonly signal: AbortSignal | undefined;
  readonly fetcher: typeof fetch;
  lastId: string | undefined;
  failures: number;
  answeredAt: number;
  /** Milliseconds to wait before the next connection, beside the usual. */
  retryAfter: number;
  ended: boolean;
}

/** Yields events over as many connections as it takes, until the last one of a single job. */
export async function* readEvents(
  url: URL,
  headers: Record<string, string>,
  isOfOneJob: boolean,
  options: EventsOptions,
  fetcher: typeof fetch,
): AsyncGenerator<StreamedEvent, void, undefined> {
  const { signal, lastEventId, onPosition } = options;
  const lastId = lastEventId || undefined;
  const first = { lastId, failures: 0, answeredAt: -Infinity, retryAfter: 0, ended: false };
  const stream: Stream = { url, headers, isOfOneJob, signal, fetcher, ...first };
  let reported = lastId;
  for (;;) {
    for await (const event of eventsOfConnection(stream)) {
      if (event) yield event;
      if (stream.lastId && stream.lastId !== reported) onPosition?.(stream.lastId);
      reported = stream.lastId;
    }
    if (stream.ended) return;
    await sleep(stream.retryAfter + backoff(Math.max(1, stream.failures)), signal);
  }
}

/**
 * Yields the events of one connection until it breaks, and `undefined` where only the position may have changed. Throws
 * if the API rejected the request, or if too many connections in a row broke.
 */
async function* eventsOfConnection(stream: Stream): AsyncGenerator<StreamedEvent | undefined, void, undefined> {
  const { url, signal } = stream;
  let isTransient = false;
  stream.retryAfter = 0;
  try {
    const sent: Record<string, string> = { ...stream.headers, Accept: "text/event-stream" };
    if (stream.lastId !== undefined) sent["Last-Event-ID"] = stream.lastId;
    const response = await connect(stream.fetcher, url, sent, signal);
    stream.ended = response.status === NO_CONTENT;
    if (stream.ended) return;
    if (TRANSIENT.has(response.status)) {
      isTransient = true;
      stream.retryAfter = retryAfterOf(response.headers) ?? 0;
      throw await errorOf(response);
    }
    for await (const block of blocksOf(response, url, signal)) {
      stream.failures = 0;
      stream.answeredAt = Date.now();
      stream.lastId = block.id ?? stream.lastId;
      const event = block.data ? { ...(JSON.parse(block.data) as JobEvent), id: stream.lastId ?? "" } : undefined;
      stream.ended = event !== undefined && stream.isOfOneJob && (event.type === "erased" || hasFinished(event));
      yield event;
      if (stream.ended) return;
    }
  } catch (error) {
    signal?.throwIfAborted();
    const isPassing = error instanceof ConnectionFailedError || isTransient;
    const isOutage = Date.now() - stream.answeredAt < MAX_OUTAGE;
    if (!isPassing || (++stream.failures >= MAX_ATTEMPTS && !isOutage)) throw error;
  }
}

async function connect(
  fetcher: typeof fetch,
  url: URL,
  headers: Record<string, string>,
  signal: AbortSignal | undefined,
): Promise<Response> {
  const connection = new AbortController();
  const either = signal ? AbortSignal.any([signal, connection.signal]) : connection.signal;
  try {
    return await within(fetcher(url, { headers, redirect: "error", signal: either }), url, signal);
  } catch (error) {
    connection.abort();
    throw error;
  }
}

async function errorOf(response: Response): Promise<Error> {
  return apiError({ status: response.status, headers: response.headers, body: await response.text(), repeated: false });
}

async function* blocksOf(response: Response, url: URL, signal: AbortSignal | undefined): AsyncGenerator<Block> {
  const isStream = response.headers.get("content-type")?.startsWith("text/event-stream") ?? false;
  if (!response.ok || !isStream || response.body === null) throw await errorOf(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let id: string | undefined;
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await within(reader.read(), url, signal);
      if (done) return;
      const lines = (rest + value).split(/\r?\n/);
      rest = lines.pop() ?? "";
      if (rest.length > MAX_LINE) throw new ConnectionFailedError(`${url.origin} sends no event stream`, true);
      for (const line of lines) {
        if (line.startsWith("id:")) id = line.slice(3).trim();
        else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        else if (line === "") {
          yield { id, data: data.join("\n") };
          data = [];
        }
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** The result of `reading`, unless it takes longer than a connection may be silent. */
function within<T>(reading: Promise<T>, url: URL, signal: AbortSignal | undefined): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new ConnectionFailedError(`${url.origin} sent nothing for 30 s`, true)), SILENCE);
  });
  return mapErrors(url, signal, () => Promise.race([reading, silence])).finally(() => clearTimeout(timer));
}
