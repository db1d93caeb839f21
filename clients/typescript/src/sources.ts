/** What a job processes: a file to upload, or a source that is there already. */
import { declaredSource } from "./uploads.js";
import type { DeclaredSource } from "./types.js";

/** Larger files are uploaded in parts. */
const MULTIPART_BYTES = 64 * 1024 * 1024;

/** A source that is there already: the source or an output of an earlier job, or a file that a worker fetches. */
export type ExistingSource =
  | { readonly job: string; readonly output?: string }
  | { readonly url: string }
  | { readonly bucket: string; readonly key: string };

/** What `process` and `submit` accept. A `File` is a `Blob`. */
export type Photo = Blob | Uint8Array | ExistingSource;

/** `photo` as a file to upload; undefined if it is there already. */
export function fileOf(photo: Photo): Blob | undefined {
  if (photo instanceof Blob) return photo;
  return photo instanceof Uint8Array ? new Blob([photo as BlobPart]) : undefined;
}

/** The `source` of a create request for this photo. */
export function sourceOf(photo: Photo): DeclaredSource {
  const file = fileOf(photo);
  if (!file) return photo as ExistingSource;
  return file.size > MULTIPART_BYTES ? { ...declaredSource(file), multipart: true } : declaredSource(file);
}
