/** Requests of a caller who waits: they go on while the API is away, as when it restarts. */
import type { Api } from "./api.js";
import { ApiError, ConnectionFailedError } from "./errors.js";
import { MAX_OUTAGE, MAX_RETRY_AFTER, sleep, type SendOptions } from "./retries.js";

/** Statuses of an API that starts or stops, or of a proxy before one that is away. */
const AWAY = new Set([502, 503, 504]);
/** Milliseconds between requests to an API that is away, each with its retries. */
const PAUSE = 2_000;

/** GET requests until a deadline, over outages of at most `MAX_OUTAGE`. */
export class OutageTolerantReads {
  readonly #api: Api;
  readonly #signal: AbortSignal | undefined;
  /** On the clock of `Date.now()`. */
  readonly #deadline: number | undefined;
  // What is waited for was created before.
  #answeredAt = Date.now();

  constructor(api: Api, timeoutMs: number | undefined, signal: AbortSignal | undefined) {
    this.#api = api;
    this.#signal = signal;
    this.#deadline = timeoutMs === undefined ? undefined : Date.now() + timeoutMs;
  }

  /** Milliseconds until the deadline; infinite without one. */
  left(): number {
    return this.#deadline === undefined ? Infinity : Math.max(0, this.#deadline - Date.now());
  }

  async get<T>(route: string, options: Pick<SendOptions, "finalCode"> = {}, query: object = {}): Promise<T> {
    for (;;) {
      try {
        const found = await this.#api.get<T>(route, { ...options, signal: this.#signal, deadline: this.#deadline }, query);
        this.#answeredAt = Date.now();
        return found;
      } catch (error) {
        const pause = this.#pauseAfter(error);
        if (pause === undefined) throw error;
        await sleep(pause, this.#signal);
      }
    }
  }

  /** Milliseconds until the next request; undefined if there is none. */
  #pauseAfter(error: unknown): number | undefined {
    const isAway = error instanceof ConnectionFailedError || (error instanceof ApiError && AWAY.has(error.status));
    const retryAfter = error instanceof ApiError ? (error.retryAfter ?? 0) * 1000 : 0;
    const pause = Math.max(PAUSE, retryAfter);
    const isTooLong = pause > MAX_RETRY_AFTER || pause >= this.left();
    return !isAway || isTooLong || Date.now() - this.#answeredAt >= MAX_OUTAGE ? undefined : pause;
  }
}
