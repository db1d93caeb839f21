/** Waiting for the end of a job or a batch. */
import { path, type Api, type CallOptions } from "./api.js";
import { ApiError, JobFailedError, WaitTimeoutError } from "./errors.js";
import { OutageTolerantReads } from "./outages.js";
import { sleep } from "./retries.js";
import { hasFinished } from "./states.js";
import type { Batch, Job } from "./types.js";

/** Milliseconds before the second poll; a small image takes less. */
const POLL_INTERVAL = 50;
const POLL_GROWTH = 1.5;
const MAX_POLL_INTERVAL = 2_000;
/** Longest time that one request waits for the end of a job: less than its timeout. */
const LONG_POLL = 20_000;
/** How long a batch whose jobs have ended is polled until it has finished. A controller needs about a second. */
const FINISH = 10_000;
const TOO_MANY_STREAMS = "too_many_streams";

export interface WaitOptions extends CallOptions {
  /** Default: no limit. */
  readonly timeoutMs?: number | undefined;
  /** Called with the job whenever its status or its number of attempts changes. */
  readonly onProgress?: ((job: Job) => void) | undefined;
}

export interface WaitForBatchOptions extends CallOptions {
  /** Default: no limit. */
  readonly timeoutMs?: number | undefined;
  /** Called with the batch whenever the number of its jobs in a status changes. */
  readonly onProgress?: ((batch: Batch) => void) | undefined;
}

/** Waits until a job succeeds: see `PixelFlow.waitForJob`. */
export async function waitForJob(api: Api, jobId: string, options: WaitOptions): Promise<Job> {
  const reads = new OutageTolerantReads(api, options.timeoutMs, options.signal);
  const look = looksAt(reads, jobId, options.signal);
  let last = "";
  for (let interval = POLL_INTERVAL; ; interval = longer(interval)) {
    const job = await look(options.onProgress ? interval : LONG_POLL, interval);
    const state = `${job.status} ${job.attempts}`;
    if (state !== last) options.onProgress?.(job);
    last = state;
    if (job.status === "succeeded") return job;
    if (hasFinished(job)) throw new JobFailedError(job);
    if (reads.left() === 0) throw new WaitTimeoutError(job, options.timeoutMs ?? 0);
  }
}

/** Polls a batch until its jobs have finished, or the time is over: see `PixelFlow.waitForBatch`. */
export async function waitForBatch(api: Api, batchId: string, options: WaitForBatchOptions): Promise<Batch> {
  const reads = new OutageTolerantReads(api, options.timeoutMs, options.signal);
  let last = "";
  let jobsEndedAt = Infinity;
  for (let interval = POLL_INTERVAL; ; interval = longer(interval)) {
    const batch: Batch = await reads.get(path("batches", batchId));
    const state = JSON.stringify(batch.jobs);
    if (state !== last) options.onProgress?.(batch);
    last = state;
    jobsEndedAt = batch.percent === 100 ? Math.min(jobsEndedAt, Date.now()) : Infinity;
    const isAwaited = batch.closed_at && !batch.finished_at && Date.now() - jobsEndedAt < FINISH;
    if (reads.left() === 0 || (batch.percent === 100 && !isAwaited)) return batch;
    await sleep(Math.min(interval, reads.left()), options.signal);
  }
}

/** Returns a function that returns the job when it has finished, or after `ms`; after `pause` if the API does not wait. */
function looksAt(reads: OutageTolerantReads, jobId: string, signal: AbortSignal | undefined) {
  const route = path("jobs", jobId);
  let mayWait = true;
  let mustPause = false;
  return async (ms: number, pause: number): Promise<Job> => {
    if (mustPause) await sleep(Math.min(pause, reads.left()), signal);
    const wait = Math.round(Math.min(ms, reads.left())) / 1000;
    if (mayWait && wait > 0) {
      const began = Date.now();
      try {
        const job: Job = await reads.get(route, { finalCode: TOO_MANY_STREAMS }, { wait });
        mustPause = Date.now() - began < (wait * 1000) / 2;
        return job;
      } catch (error) {
        if (!isWithoutWait(error)) throw error;
        mayWait = false;
      }
    }
    mustPause = !mayWait;
    return reads.get(route);
  };
}

/** Whether the API does not know the parameter `wait`, or has no place for a request that waits. */
function isWithoutWait(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  return error.code === TOO_MANY_STREAMS || error.errors.some((each) => each.pointer === "/query/wait");
}

function longer(interval: number): number {
  return Math.min(interval * POLL_GROWTH, MAX_POLL_INTERVAL);
}
