/** Uploads in a browser: only XMLHttpRequest reports the progress of a request. */
import { ConnectionFailedError } from "./errors.js";
import type { Reply } from "./retries.js";

interface XhrOptions {
  readonly onProgress?: ((sent: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Headers that a browser sets itself and scripts can't. */
const FORBIDDEN = new Set(["content-length", "host"]);

/** Sends `body` once and returns the response with any status. */
export function sendByXhr(
  method: string,
  url: URL,
  headers: Record<string, string>,
  body: Blob,
  options: XhrOptions,
): Promise<Omit<Reply, "repeated">> {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    const abort = (): void => xhr.abort();
    xhr.open(method, url);
    for (const [name, value] of Object.entries(headers)) {
      if (!FORBIDDEN.has(name.toLowerCase())) xhr.setRequestHeader(name, value);
    }
    xhr.upload.onprogress = (event) => options.onProgress?.(event.loaded, body.size);
    xhr.onload = () =>
      resolve({ status: xhr.status, headers: headersOf(xhr.getAllResponseHeaders()), body: xhr.responseText });
    // A browser hides why: the network, or CORS rules of the bucket that do not allow this page.
    xhr.onerror = () => {
      const text = `${url.origin} can't be reached, or its CORS rules do not allow this page`;
      reject(new ConnectionFailedError(text, true));
    };
    xhr.onabort = () => reject(options.signal?.reason);
    xhr.onloadend = () => options.signal?.removeEventListener("abort", abort);
    options.signal?.addEventListener("abort", abort, { once: true });
    xhr.send(body);
  });
}

function headersOf(raw: string): Headers {
  const headers = new Headers();
  for (const line of raw.trim().split(/[\r\n]+/)) {
    const colon = line.indexOf(":");
    if (colon > 0) headers.append(line.slice(0, colon).trim(), line.slice(colon + 1).trim());
  }
  return headers;
}
