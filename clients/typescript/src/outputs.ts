/** Outputs of jobs: their URLs, and downloads. */
import { path, Subject, type CallOptions } from "./api.js";
import { PixelFlowError, TransferError } from "./errors.js";
import { mapErrors } from "./http.js";
import { send } from "./retries.js";
import type { Job, Output } from "./types.js";
import { storageError } from "./uploads.js";

export class Outputs extends Subject {
  /** Returns the URL of an output in the API: it never changes, needs the key, and redirects to object storage. */
  outputUrl(jobId: string, stepId: string): string {
    return this.api.url(outputPath(jobId, stepId)).href;
  }

  /** Returns a new presigned URL of an output, which needs no key, such as for the redirect of a browser. */
  signedOutputUrl(jobId: string, stepId: string, options?: CallOptions): Promise<string> {
    return this.api.location(outputPath(jobId, stepId), options);
  }

  /**
   * Returns the content of an output, after checking its size and hash.
   *
   * @throws TransferError the output has no download URL, has other content, or object storage rejected the request.
   */
  download(output: Output, options: CallOptions = {}): Promise<Blob> {
    return download(output, options.signal, this.api.fetch ?? fetch);
  }
}

/**
 * Returns the URL of an output at the destination of its job, which never expires.
 *
 * @throws PixelFlowError `no_final_url`: the job has no output of this step, or its destination has no public URL.
 */
export function finalUrl(job: Pick<Job, "job_id" | "outputs">, stepId: string): string {
  const url = job.outputs.find((each) => each.step_id === stepId)?.url;
  if (!url) throw new PixelFlowError("no_final_url", `Job ${job.job_id} has no output \`${stepId}\` with a final URL`);
  return url;
}

function outputPath(jobId: string, stepId: string): string {
  return path("jobs", jobId, "outputs", stepId);
}

async function download(output: Output, signal: AbortSignal | undefined, fetcher: typeof fetch): Promise<Blob> {
  if (output.download_url === null) throw new TransferError(`Output ${output.step_id} has expired or is a local file`);
  const url = new URL(output.download_url);
  let content = new Blob();
  const attempt = () =>
    mapErrors(url, signal, async () => {
      const response = await fetcher(url, { redirect: "error", ...(signal ? { signal } : {}) });
      content = await response.blob();
      return { status: response.status, headers: response.headers, body: response.ok ? "" : await content.text() };
    });
  const reply = await send(attempt, { signal });
  if (reply.status !== 200) throw storageError("download", reply);
  if (content.size !== output.bytes || (await sha256(content)) !== output.sha256) {
    throw new TransferError(`The downloaded content does not match output ${output.step_id}`);
  }
  return content;
}

async function sha256(content: Blob): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", await content.arrayBuffer());
  return [...new Uint8Array(digest)].map((each) => each.toString(16).padStart(2, "0")).join("");
}
