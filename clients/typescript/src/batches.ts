/** Batches: jobs that are created together. */
import { path, Subject, type Api, type CallOptions, type PostOptions } from "./api.js";
import type {
  AddedJobs,
  AddJobsRequest,
  Batch,
  BatchPage,
  BatchSource,
  BatchSummary,
  CreateBatchRequest,
  CreatedBatch,
  ListBatchesQuery,
  RefusedSource,
} from "./types.js";
import { waitForBatch, type WaitForBatchOptions } from "./waiting.js";

/** Sources of one request. */
const MAX_SOURCES = 200;
/** Bytes of the sources of one request as JSON; a body has at most 128 KiB. */
const MAX_REQUEST_BYTES = 100_000;

export interface RerunOptions extends CallOptions {
  /** Closes the batch after the last job. */
  readonly close?: boolean | undefined;
  /** Called with the result of each request, of up to 100 earlier jobs. */
  readonly onPage?: ((added: AddedJobs) => void) | undefined;
}

export class Batches extends Subject {
  /**
   * Creates a batch, and a started job for each of its sources. Sends as many requests as the sources need; with `close`,
   * the last one closes it. With an `idempotencyKey`, the same call completes what an earlier one began.
   */
  async createBatch(batch: CreateBatchRequest, options: PostOptions = {}): Promise<CreatedBatch> {
    const [first, ...others] = requestsOf(batch.sources ?? []);
    if (!first || others.length === 0) return this.api.post("v1/batches", options, batch);
    const { close = false, ...open } = batch;
    const created: CreatedBatch = await this.api.post("v1/batches", options, { ...open, sources: first });
    const { signal } = options;
    const added = await add(this.api, created.batch_id, others, { signal, close, sent: first.length });
    return { ...(await this.getBatch(created.batch_id, { signal })), refused: [...created.refused, ...added.refused] };
  }

  /**
   * Adds jobs to a batch: of sources, in as many requests as they need, or of one page of the earlier jobs of a preset. A
   * source that the batch has already, with the same metadata, has no effect. With `close`, the batch is closed after the
   * last source, also if there is none.
   */
  async addToBatch(batchId: string, jobs: AddJobsRequest, options: PostOptions = {}): Promise<AddedJobs> {
    const requests = requestsOf(jobs.sources ?? []);
    const { close = false } = jobs;
    if (jobs.rerun || requests.length === 1) return this.api.post(path("batches", batchId, "jobs"), options, jobs);
    const added = await add(this.api, batchId, requests, { signal: options.signal, close, sent: 0 });
    if (close && requests.length === 0) await this.closeBatch(batchId, options);
    return added;
  }

  /** Adds a job for each of your jobs of a preset, such as `card@1`, that succeeded before the batch was created. */
  async rerunInBatch(batchId: string, preset: string, options: RerunOptions = {}): Promise<AddedJobs> {
    let accepted = 0;
    const refused: RefusedSource[] = [];
    const close = options.close ? { close: true } : {};
    for (let cursor: string | null = null; ; ) {
      const jobs: AddJobsRequest = { rerun: { preset, ...(cursor === null ? {} : { cursor }) }, ...close };
      const added = await this.addToBatch(batchId, jobs, { signal: options.signal });
      accepted += added.accepted;
      refused.push(...added.refused);
      options.onPage?.(added);
      cursor = added.next_cursor ?? null;
      if (cursor === null) return { ...added, accepted, refused };
    }
  }

  /** Returns the batch with the number of its jobs by status. */
  getBatch(batchId: string, options?: CallOptions): Promise<Batch> {
    return this.api.get(path("batches", batchId), options);
  }

  /** Iterates over all batches, newest first. Pages are fetched on demand. */
  listBatches(query: ListBatchesQuery = {}, options?: CallOptions): AsyncGenerator<BatchSummary, void, undefined> {
    return this.api.pages("v1/batches", query, options);
  }

  /** Returns one page of batches; `next_cursor` is the `cursor` of the next one. */
  getBatchPage(query: ListBatchesQuery = {}, options?: CallOptions): Promise<BatchPage> {
    return this.api.get("v1/batches", options, query);
  }

  /** Polls a batch until all its jobs have finished, or the time is over, and returns it: see `percent`. */
  waitForBatch(batchId: string, options: WaitForBatchOptions = {}): Promise<Batch> {
    return waitForBatch(this.api, batchId, options);
  }

  /** Lets a batch take no more jobs. Its event `batch.finished` follows its last job. */
  closeBatch(batchId: string, options?: PostOptions): Promise<Batch> {
    return this.api.post(path("batches", batchId, "close"), options);
  }

  /** Cancels all unfinished jobs of a batch, which takes no more jobs. */
  async cancelBatch(batchId: string, options: PostOptions = {}): Promise<Batch> {
    const route = path("batches", batchId, "cancel");
    // A request cancels a limited number of jobs.
    let batch: Batch = await this.api.post(route, options);
    while (batch.percent < 100) batch = await this.api.post(route, { signal: options.signal });
    return batch;
  }

  /** Deletes a batch; its jobs stay. */
  deleteBatch(batchId: string, options?: CallOptions): Promise<void> {
    return this.api.delete(path("batches", batchId), options);
  }
}

interface AddOptions extends CallOptions {
  /** Whether the last request closes the batch. */
  readonly close: boolean;
  /** Sources that were sent before. */
  readonly sent: number;
}

/** Adds the sources of these requests. */
async function add(api: Api, batchId: string, requests: BatchSource[][], options: AddOptions): Promise<AddedJobs> {
  const { signal, close } = options;
  let { sent } = options;
  let accepted = 0;
  const refused: RefusedSource[] = [];
  for (const sources of requests) {
    const jobs = close && sources === requests.at(-1) ? { sources, close } : { sources };
    const added: AddedJobs = await api.post(path("batches", batchId, "jobs"), { signal }, jobs);
    accepted += added.accepted;
    for (const each of added.refused) refused.push({ ...each, index: (each.index ?? 0) + sent });
    sent += sources.length;
  }
  return { batch_id: batchId, accepted, refused };
}

/** Splits sources into those of each request. */
function requestsOf(sources: readonly BatchSource[]): BatchSource[][] {
  const requests: BatchSource[][] = [];
  let size = 0;
  for (const source of sources) {
    const more = new TextEncoder().encode(JSON.stringify(source)).length;
    const current = requests.at(-1);
    if (current && current.length < MAX_SOURCES && size + more <= MAX_REQUEST_BYTES) {
      current.push(source);
      size += more;
    } else {
      requests.push([source]);
      size = more;
    }
  }
  return requests;
}
