/** Uploads through presigned URLs. Needs no API key, so a browser can use it. */
import { TransferError } from "./errors.js";
import { read } from "./http.js";
import { send, type Reply } from "./retries.js";
import type { MultipartUpload, Upload } from "./types.js";
import { sendByXhr } from "./xhr.js";

const CHUNK_BYTES = 256 * 1024;
/** Parts of one file that are sent at once. */
const PARALLEL_PARTS = 4;

/** A `File` is a `Blob`. A stream is read once, so its upload is not retried. */
export type UploadBody = Blob | Uint8Array | ArrayBuffer | ReadableStream<Uint8Array>;

/** Bytes sent so far and the total. */
export type Progress = (sent: number, total: number) => void;

export interface UploadOptions {
  readonly onProgress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
  /** In Node, used instead of the global one. */
  readonly fetch?: typeof fetch | undefined;
}

/**
 * Uploads `file` to the `upload` of a created job or asset. Idempotent; retried unless `file` is a stream.
 *
 * @throws TransferError the size differs from the declared one or is too large, or object storage rejected the upload.
 * @throws ConnectionFailedError no response.
 */
export async function uploadTo(upload: Upload, file: UploadBody, options: UploadOptions = {}): Promise<void> {
  if (upload.multipart) return uploadParts(upload, upload.multipart, file, options);
  const url = upload.presigned_put_url;
  if (url === null) throw new TransferError("This job has no upload: its source is a local file");
  const usesXhr = canUseXhr(options);
  // A browser can't stream a request to HTTP/1.1 servers, so it reads the stream first.
  const source = file instanceof ReadableStream ? (usesXhr ? await new Response(file).blob() : file) : toBlob(file);
  const total = sizeOf(upload, source);
  await put(url, upload.headers, source, total, options);
}

/**
 * Sends the missing parts, `PARALLEL_PARTS` at a time; each is retried by itself. Progress counts the parts that are there.
 * After an error, the other transfers are aborted.
 */
async function uploadParts(
  upload: Upload,
  { parts }: MultipartUpload,
  file: UploadBody,
  options: UploadOptions,
): Promise<void> {
  const source = toBlob(file instanceof ReadableStream ? await new Response(file).blob() : file);
  const total = sizeOf(upload, source);
  const aborter = new AbortController();
  const abort = (): void => aborter.abort(options.signal?.reason);
  if (options.signal?.aborted) abort();
  options.signal?.addEventListener("abort", abort, { once: true });
  const sent = new Map<number, number>();
  let before = total;
  for (const part of parts) before -= part.content_length;
  const report = (number: number, bytes: number): void => {
    sent.set(number, bytes);
    options.onProgress?.([...sent.values()].reduce((sum, each) => sum + each, before), total);
  };
  const waiting = [...parts];
  const sendNext = async (): Promise<void> => {
    for (let part = waiting.shift(); part; part = waiting.shift()) {
      const { number, url, offset, content_length } = part;
      const body = source.slice(offset, offset + content_length, "");
      const onProgress = (bytes: number): void => report(number, bytes);
      await put(url, {}, body, content_length, { ...options, signal: aborter.signal, onProgress });
    }
  };
  try {
    await Promise.all(Array.from({ length: PARALLEL_PARTS }, sendNext));
  } catch (error) {
    aborter.abort(error);
    throw error;
  } finally {
    options.signal?.removeEventListener("abort", abort);
  }
}

/** Sends `source` to a presigned URL; retried unless it is a stream. */
async function put(
  url: string,
  signed: Record<string, string>,
  source: Blob | ReadableStream<Uint8Array>,
  size: number,
  options: UploadOptions,
): Promise<void> {
  const usesXhr = canUseXhr(options);
  const reply = await send(
    () => {
      const headers: Record<string, string> = { ...signed };
      const target = new URL(url);
      if (source instanceof Blob && usesXhr) return sendByXhr("PUT", target, headers, source, options);
      const body = counted(source instanceof Blob ? source.stream() : source, size, options.onProgress);
      // Object storage requires the length of a streamed body.
      headers["Content-Length"] = String(size);
      const init = { method: "PUT", headers, body, duplex: "half", redirect: "error" } as RequestInit;
      if (options.signal) init.signal = options.signal;
      return read(options.fetch ?? fetch, target, init, options.signal);
    },
    { signal: options.signal, repeatable: source instanceof Blob },
  );
  if (reply.status < 200 || reply.status >= 300) throw storageError("upload", reply);
}

function canUseXhr(options: UploadOptions): boolean {
  return typeof XMLHttpRequest !== "undefined" && !options.fetch;
}

/** The `source` of a create request for this file: its size and, for an image, its media type. */
export function declaredSource(file: Blob): { content_length: number; content_type?: string } {
  if (file.size === 0) throw new TransferError("The file is empty");
  const declared = { content_length: file.size };
  return file.type.startsWith("image/") ? { ...declared, content_type: file.type } : declared;
}

/** `file` without a type: the headers of the upload decide it. */
export function toBlob(file: Exclude<UploadBody, ReadableStream>): Blob {
  return file instanceof Blob ? file.slice(0, file.size, "") : new Blob([file as BlobPart]);
}

function sizeOf(upload: Upload, source: Blob | ReadableStream): number {
  const size = source instanceof Blob ? source.size : upload.content_length;
  if (size === null) throw new TransferError("A stream can be uploaded only if content_length was declared");
  if (size > upload.max_bytes) {
    throw new TransferError(`The file has ${size} bytes; at most ${upload.max_bytes} are allowed`);
  }
  if (upload.content_length !== null && upload.content_length !== size) {
    throw new TransferError(`The file has ${size} bytes; the upload was created for ${upload.content_length}`);
  }
  return size;
}

function counted(stream: ReadableStream<Uint8Array>, total: number, onProgress?: Progress): ReadableStream<Uint8Array> {
  let sent = 0;
  const counter = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      for (let start = 0; start < chunk.length; start += CHUNK_BYTES) {
        const part = chunk.subarray(start, start + CHUNK_BYTES);
        controller.enqueue(part);
        sent += part.length;
        onProgress?.(sent, total);
      }
    },
  });
  return stream.pipeThrough(counter);
}

/** The error of an upload or a download that object storage rejected. */
export function storageError(what: "upload" | "download", reply: Reply): TransferError {
  // Errors of S3 are XML. Only the code is shown: the rest repeats the request and its signature.
  const code = /<Code>([A-Za-z0-9.]{1,64})<\/Code>/.exec(reply.body)?.[1];
  const reason = code ? ` ${code}` : "";
  return new TransferError(`Object storage rejected the ${what}: ${reply.status}${reason}`, reply.status);
}
