/** The core of the client: requests to one API with one key. Knows no subject. */
import { ConfigurationError, PixelFlowError } from "./errors.js";
import { readEvents, type EventsOptions, type StreamedEvent } from "./events.js";
import { apiError, parse, request, type ApiRequest } from "./http.js";
import type { Reply, SendOptions } from "./retries.js";

const NOT_FOUND = 404;

export interface PixelFlowOptions {
  /** Of the API, such as `https://pixelflow.example`. */
  readonly url: string;
  /** Never put a key into a web page: create and start jobs in your backend. */
  readonly apiKey: string;
  /** Used instead of the global one. */
  readonly fetch?: typeof fetch;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface PostOptions extends CallOptions {
  /** Default: a new one per call. The same key gets the first response again. */
  readonly idempotencyKey?: string | undefined;
}

interface Page<T> {
  readonly data: readonly T[];
  readonly next_cursor: string | null;
}

export class Api {
  /** For requests without the key. */
  readonly fetch: typeof fetch | undefined;
  readonly #base: URL;
  readonly #headers: Record<string, string>;

  /** @throws ConfigurationError the URL or the key is not valid, or this is a web page. */
  constructor(options: PixelFlowOptions) {
    if (typeof window !== "undefined" && typeof document !== "undefined") {
      throw new ConfigurationError("A web page must not hold an API key: use uploadTo, and a backend for the rest");
    }
    this.#base = baseOf(options.url);
    if (!/^[\x21-\x7e]+$/.test(options.apiKey)) throw new ConfigurationError("The API key is missing or not valid");
    this.#headers = { Authorization: `Bearer ${options.apiKey}`, Accept: "application/json" };
    this.fetch = options.fetch;
  }

  /** @throws PixelFlowError `invalid_id`: an ID in `route` makes it the path of something else. */
  url(route: string): URL {
    const [names = ""] = route.split("?", 1);
    if (names.split("/").some((each) => /^\.{0,2}$/.test(each))) {
      throw new PixelFlowError("invalid_id", "An ID or a name must not be empty, `.` or `..`");
    }
    return new URL(route, this.#base);
  }

  async get<T>(route: string, options?: SendOptions, query: object = {}): Promise<T> {
    const url = this.url(route);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined && value !== null) url.searchParams.set(name, String(value));
    }
    return parse(await this.#send({ method: "GET", url, headers: this.#headers }, options));
  }

  /** Yields the rows of all pages, from `query.cursor` on. Pages are fetched on demand. */
  async *pages<T>(
    route: string,
    query: { readonly cursor?: string | null },
    options?: CallOptions,
  ): AsyncGenerator<T, void, undefined> {
    let cursor = query.cursor;
    do {
      const page: Page<T> = await this.get(route, options, { ...query, cursor });
      yield* page.data;
      cursor = page.next_cursor;
    } while (cursor !== null);
  }

  async post<T>(route: string, options: PostOptions = {}, body?: object): Promise<T> {
    // With a key, a retry has no further effect and gets the first response.
    const headers: Record<string, string> = {
      ...this.#headers,
      "Idempotency-Key": options.idempotencyKey ?? crypto.randomUUID(),
    };
    const sent: ApiRequest = { method: "POST", url: this.url(route), headers };
    if (body === undefined) return parse(await this.#send(sent, options));
    headers["Content-Type"] = "application/json";
    return parse(await this.#send({ ...sent, body: JSON.stringify(body) }, options));
  }

  async patch<T>(route: string, body: object, options?: CallOptions): Promise<T> {
    const headers = { ...this.#headers, "Content-Type": "application/json" };
    const sent: ApiRequest = { method: "PATCH", url: this.url(route), headers, body: JSON.stringify(body) };
    return parse(await this.#send(sent, options));
  }

  async delete(route: string, options?: CallOptions): Promise<void> {
    const reply = await this.#send({ method: "DELETE", url: this.url(route), headers: this.#headers }, options);
    // An earlier attempt whose response was lost may have deleted it.
    const deletedBefore = reply.repeated && reply.status === NOT_FOUND;
    if (!deletedBefore && (reply.status < 200 || reply.status >= 300)) throw apiError(reply);
  }

  /** Returns where a GET request is redirected to, without following: the target must not get the key. */
  async location(route: string, options?: CallOptions): Promise<string> {
    const sent: ApiRequest = { method: "GET", url: this.url(route), headers: this.#headers, redirect: "manual" };
    const reply = await this.#send(sent, options);
    const location = reply.headers.get("location");
    if (reply.status < 300 || reply.status >= 400 || location === null) throw apiError(reply);
    return location;
  }

  async *events(
    route: string,
    isOfOneJob: boolean,
    options: EventsOptions,
  ): AsyncGenerator<StreamedEvent, void, undefined> {
    yield* readEvents(this.url(route), this.#headers, isOfOneJob, options, this.fetch ?? fetch);
  }

  #send(each: ApiRequest, options: SendOptions = {}): Promise<Reply> {
    return request(each, options, this.fetch ?? fetch);
  }
}

/** The calls of one subject. Subclasses have no fields, since the client takes over their methods. */
export abstract class Subject {
  protected readonly api: Api;

  constructor(api: Api) {
    this.api = api;
  }
}

/** `parts` as a path, each of them encoded. */
export function path(...parts: string[]): string {
  return ["v1", ...parts.map(encodeURIComponent)].join("/");
}

function baseOf(url: string): URL {
  const base = URL.canParse(url) ? new URL(url.replace(/\/*$/, "/")) : undefined;
  if (!base || !/^https?:$/.test(base.protocol) || base.username || base.search || base.hash) {
    throw new ConfigurationError("The URL of the API must be an http or https URL without user name, query or fragment");
  }
  return base;
}
