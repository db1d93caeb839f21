/** Single HTTP requests. */
import { ApiError, ConnectionFailedError } from "./errors.js";
import { retryAfterOf, send, type Reply, type SendOptions } from "./retries.js";
import type { Problem } from "./types.js";

/** Milliseconds for one attempt of a request to the API. */
const TIMEOUT = 30_000;
/** Codes of Node for connections that did not come about: the request was not sent. */
const NOT_SENT = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"]);

export interface ApiRequest {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE";
  readonly url: URL;
  readonly headers: Record<string, string>;
  readonly body?: string;
  /** Default: a redirect is an error, since it could carry the key to another host. */
  readonly redirect?: "manual";
}

/** Sends a request to the API with retries, and returns the response with any status. */
export function request(each: ApiRequest, options: SendOptions, fetcher: typeof fetch): Promise<Reply> {
  return send(async () => {
    const timeout = AbortSignal.timeout(TIMEOUT);
    const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
    const init: RequestInit = { method: each.method, headers: each.headers, signal, redirect: each.redirect ?? "error" };
    if (each.body !== undefined) init.body = each.body;
    return read(fetcher, each.url, init, options.signal);
  }, options);
}

/** Fetches `url` once and reads the response as text. */
export function read(
  fetcher: typeof fetch,
  url: URL,
  init: RequestInit,
  signal: AbortSignal | undefined,
): Promise<Omit<Reply, "repeated">> {
  return mapErrors(url, signal, async () => {
    const response = await fetcher(url, init);
    return { status: response.status, headers: response.headers, body: await response.text() };
  });
}

/** Returns the result of `exchange` with `url`; every failure except an abort is a `ConnectionFailedError`. */
export async function mapErrors<T>(url: URL, signal: AbortSignal | undefined, exchange: () => Promise<T>): Promise<T> {
  try {
    return await exchange();
  } catch (error) {
    signal?.throwIfAborted();
    throw error instanceof ConnectionFailedError ? error : connectionFailed(url, error);
  }
}

function connectionFailed(url: URL, error: unknown): ConnectionFailedError {
  if (error instanceof DOMException && error.name === "TimeoutError") {
    return new ConnectionFailedError(`${url.origin} did not respond in time`, true);
  }
  const code = ((error as Error).cause as { code?: string } | undefined)?.code;
  // Only the host is named: the query of a presigned URL is a credential.
  const text = `${url.origin} can't be reached or closed the connection${code ? ` (${code})` : ""}`;
  return new ConnectionFailedError(text, !NOT_SENT.has(code ?? ""));
}

/** The content of a successful response; throws an `ApiError` for any other. */
export function parse<T>(reply: Reply): T {
  const content = json(reply.body);
  if (reply.status >= 200 && reply.status < 300 && content !== undefined) return content as T;
  throw apiError(reply, content);
}

/** The error that a response describes. */
export function apiError(reply: Reply, content: unknown = json(reply.body)): ApiError {
  const retryAfter = retryAfterOf(reply.headers);
  const seconds = retryAfter === undefined ? undefined : retryAfter / 1000;
  if (isProblem(content) && reply.status >= 400) return new ApiError(content, seconds);
  const unexpected: Problem = {
    type: "about:blank",
    title: "Unexpected response",
    status: reply.status,
    detail: "The response is not one that this version of the client understands",
    code: "unexpected_answer",
    request_id: reply.headers.get("x-request-id") ?? "",
  };
  return new ApiError(unexpected, seconds);
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isProblem(content: unknown): content is Problem {
  const problem = content as Partial<Problem> | null | undefined;
  return typeof problem?.code === "string" && typeof problem.detail === "string";
}
