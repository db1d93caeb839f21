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
  /** Called with the `lastEventId` for a later stream: when the next event is asked for, and while there is none. */
  readonly onPosition?: ((lastEventId: string) => void) | undefined;
}

/** An event of a job, with the ID after which another stream can continue: empty if the API sent none. */
export type StreamedEvent = JobEvent & { readonly id: string };

interface Block {
  readonly id: string | undefined;
  readonly data: string;
}

/** Yields events over as many connections as it takes, until the last one of a single job. */
export async function* readEvents(
  url: URL,
  headers: Record<string, string>,
  isOfOneJob: boolean,
  options: EventsOptions,
  fetcher: typeof fetch,
): AsyncGenerator<StreamedEvent, void, undefined> {
  let lastId = options.lastEventId || undefined;
  let failures = 0;
  let answeredAt = -Infinity;
  for (;;) {
    let retryAfter = 0;
    let isTransient = false;
    try {
      const sent: Record<string, string> = { ...headers, Accept: "text/event-stream" };
      if (lastId !== undefined) sent["Last-Event-ID"] = lastId;
      const response = await connect(fetcher, url, sent, options.signal);
      if (response.status === NO_CONTENT) return;
      if (TRANSIENT.has(response.status)) {
        isTransient = true;
        retryAfter = retryAfterOf(response.headers) ?? 0;
        throw await errorOf(response);
      }
      for await (const block of blocksOf(response, url, options.signal)) {
        failures = 0;
        answeredAt = Date.now();
        const before = lastId;
        lastId = block.id ?? lastId;
        const event = block.data ? { ...(JSON.parse(block.data) as JobEvent), id: lastId ?? "" } : undefined;
        if (event) yield event;
        if (lastId && lastId !== before) options.onPosition?.(lastId);
        if (event && isOfOneJob && (event.type === "erased" || hasFinished(event))) return;
      }
    } catch (error) {
      options.signal?.throwIfAborted();
      const isPassing = error instanceof ConnectionFailedError || isTransient;
      const isOutage = Date.now() - answeredAt < MAX_OUTAGE;
      if (!isPassing || (++failures >= MAX_ATTEMPTS && !isOutage)) throw error;
    }
    await sleep(retryAfter + backoff(Math.max(1, failures)), options.signal);
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
