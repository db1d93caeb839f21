import { ApiError, ConfigurationError, JobFailedError, WaitTimeoutError } from "./errors.js";
import { readEvents, type EventsOptions } from "./events.js";
import { apiError, parse, request, type ApiRequest } from "./http.js";
import { sleep, type Reply, type SendOptions } from "./retries.js";
import type {
  AddedJobs,
  AddJobsRequest,
  Asset,
  AssetList,
  Batch,
  CreateBatchRequest,
  CreatedBatch,
  CreatedAsset,
  CreatedJob,
  CreateJobRequest,
  CreateWebhookEndpointRequest,
  DeliveryList,
  Explanation,
  Installation,
  Job,
  JobEvent,
  JobPage,
  ListJobsQuery,
  ReplayedEvent,
  RotatedSecret,
  SentTestEvent,
  StartedJob,
  Step,
  UpdateWebhookEndpointRequest,
  Upload,
  Usage,
  UsageQuery,
  WebhookEndpoint,
  WebhookEndpointList,
  WebhookSecret,
} from "./types.js";
import { declaredSource, uploadTo, type UploadBody, type UploadOptions } from "./uploads.js";

/** Milliseconds before the second poll of a job; a small image takes less. */
const POLL_INTERVAL = 50;
const POLL_GROWTH = 1.5;
const MAX_POLL_INTERVAL = 2_000;
/** Longest time that one request waits for the end of a job: less than its timeout. */
const LONG_POLL = 20_000;
const TOO_MANY_STREAMS = "too_many_streams";
const NOT_FOUND = 404;
const FINISHED = new Set(["succeeded", "failed", "canceled"]);
const KNOWN = new Set(["created", "queued", "processing", ...FINISHED]);

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

export interface WaitOptions extends CallOptions {
  /** Default: no limit. */
  readonly timeoutMs?: number | undefined;
  /** Called with the job whenever its status or its number of attempts changes. */
  readonly onProgress?: ((job: Job) => void) | undefined;
}

export interface ProcessOptions extends CallOptions, Pick<WaitOptions, "timeoutMs"> {
  readonly onUpload?: UploadOptions["onProgress"];
  readonly onProgress?: WaitOptions["onProgress"];
  /** Further fields of the create request. */
  readonly request?: Omit<CreateJobRequest, "pipeline"> | undefined;
}

/** A client of one API with one key, for Node and other servers. All methods throw `ApiError` and `ConnectionFailedError`. */
export class PixelFlow {
  readonly #base: URL;
  readonly #headers: Record<string, string>;
  readonly #fetch: typeof fetch | undefined;

  /** @throws ConfigurationError the URL or the key is not valid, or this is a web page. */
  constructor(options: PixelFlowOptions) {
    if (typeof window !== "undefined" && typeof document !== "undefined") {
      throw new ConfigurationError("A web page must not hold an API key: use uploadTo, and a backend for the rest");
    }
    this.#base = baseOf(options.url);
    if (!/^[\x21-\x7e]+$/.test(options.apiKey)) throw new ConfigurationError("The API key is missing or not valid");
    this.#headers = { Authorization: `Bearer ${options.apiKey}`, Accept: "application/json" };
    this.#fetch = options.fetch;
  }

  /** Creates a job and returns how to upload its source. */
  createJob(job: CreateJobRequest, options?: PostOptions): Promise<CreatedJob> {
    return this.#post("v1/jobs", options, job);
  }

  /** Returns what a pipeline would do with a source of the declared size; nothing is created. */
  explain(job: CreateJobRequest, options?: PostOptions): Promise<Explanation> {
    return this.#post("v1/jobs?dry_run=true", options, job);
  }

  /** Starts a job whose source was uploaded. */
  startJob(jobId: string, options?: PostOptions): Promise<StartedJob> {
    return this.#post(`${path(jobId)}/start`, options);
  }

  getJob(jobId: string, options?: CallOptions): Promise<Job> {
    return this.#get(path(jobId), options);
  }

  /** Iterates over the jobs that meet all conditions, newest first. Pages are fetched on demand. */
  async *listJobs(query: ListJobsQuery = {}, options?: CallOptions): AsyncGenerator<Job, void, undefined> {
    const { metadata = {}, ...conditions } = query;
    const values = Object.fromEntries(Object.entries(metadata).map(([name, value]) => [`metadata.${name}`, value]));
    let cursor = query.cursor;
    do {
      const page: JobPage = await this.#get("v1/jobs", options, { ...conditions, ...values, cursor });
      yield* page.data;
      cursor = page.next_cursor;
    } while (cursor !== null);
  }

  /** Cancels a job, even while it is processing. */
  cancel(jobId: string, options?: PostOptions): Promise<Job> {
    return this.#post(`${path(jobId)}/cancel`, options);
  }

  /** Runs a failed or canceled job again. */
  retry(jobId: string, options?: PostOptions): Promise<StartedJob> {
    return this.#post(`${path(jobId)}/retry`, options);
  }

  /** Deletes a job at once, and its source and outputs within seconds. */
  erase(jobId: string, options?: CallOptions): Promise<void> {
    return this.#delete(path(jobId), options);
  }

  /** Uploads the source of a created job; needs no key: see `uploadTo`. */
  upload(job: { readonly upload: Upload }, file: UploadBody, options?: UploadOptions): Promise<void> {
    return uploadTo(job.upload, file, options);
  }

  /**
   * Waits until a job succeeds, and returns it. The API responds when the job has finished; one that can't is polled.
   *
   * @throws JobFailedError the job failed or was canceled.
   * @throws WaitTimeoutError the job did not finish in time; it continues.
   */
  async waitForJob(jobId: string, options: WaitOptions = {}): Promise<Job> {
    const deadline = options.timeoutMs === undefined ? undefined : Date.now() + options.timeoutMs;
    const look = this.#looks(jobId, options.signal, deadline);
    let last = "";
    for (let interval = POLL_INTERVAL; ; interval = Math.min(interval * POLL_GROWTH, MAX_POLL_INTERVAL)) {
      const job = await look(options.onProgress ? interval : LONG_POLL, interval);
      const state = `${job.status} ${job.attempts}`;
      if (state !== last) options.onProgress?.(job);
      last = state;
      if (job.status === "succeeded") return job;
      // A status that this version does not know counts as finished only if the job says so.
      if (FINISHED.has(job.status) || (!KNOWN.has(job.status) && job.finished_at !== null)) throw new JobFailedError(job);
      if (deadline !== undefined && deadline <= Date.now()) throw new WaitTimeoutError(job, options.timeoutMs ?? 0);
    }
  }

  /** Returns a function that returns the job when it has finished, or after `ms`; after `pause` if the API does not wait. */
  #looks(jobId: string, signal: AbortSignal | undefined, deadline: number | undefined) {
    let mayWait = true;
    let mustPause = false;
    const left = (ms: number): number => (deadline === undefined ? ms : Math.max(0, Math.min(ms, deadline - Date.now())));
    return async (ms: number, pause: number): Promise<Job> => {
      if (mustPause) await sleep(left(pause), signal);
      const wait = Math.round(left(ms)) / 1000;
      if (mayWait && wait > 0) {
        const began = Date.now();
        try {
          const job: Job = await this.#get(path(jobId), { signal, deadline, finalCode: TOO_MANY_STREAMS }, { wait });
          mustPause = Date.now() - began < (wait * 1000) / 2;
          return job;
        } catch (error) {
          if (!isWithoutWait(error)) throw error;
          mayWait = false;
        }
      }
      mustPause = !mayWait;
      return this.#get(path(jobId), { signal, deadline });
    };
  }

  /**
   * Iterates over the changes of one job until it has finished; without an ID, over those of all jobs, without an end.
   * A connection that breaks is made again, and continues without a gap.
   */
  events(jobId?: string, options: EventsOptions = {}): AsyncGenerator<JobEvent, void, undefined> {
    const url = this.#url(jobId === undefined ? "v1/events" : `${path(jobId)}/events`);
    return readEvents(url, this.#headers, jobId !== undefined, options, this.#fetch ?? fetch);
  }

  /** Creates a job for `file`, uploads it, starts the job and waits for it. */
  async process(file: Blob | Uint8Array, pipeline: Step[], options: ProcessOptions = {}): Promise<Job> {
    const { signal, request: fields } = options;
    const blob = file instanceof Blob ? file : new Blob([file as BlobPart]);
    const source = { ...declaredSource(blob), ...fields?.source };
    const job = await this.createJob({ ...fields, source, pipeline }, { signal });
    await this.upload(job, blob, { signal, onProgress: options.onUpload });
    await this.startJob(job.job_id, { signal });
    return this.waitForJob(job.job_id, options);
  }

  /** Creates an asset from `file`. If that fails, none remains. */
  async createAsset(name: string, file: Blob, options: PostOptions & UploadOptions = {}): Promise<Asset> {
    const created: CreatedAsset = await this.#post("v1/assets", options, { name, source: declaredSource(file) });
    try {
      await uploadTo(created.upload, file, options);
      return await this.#post(`v1/assets/${created.asset_id}/complete`, { signal: options.signal });
    } catch (error) {
      await this.deleteAsset(created.asset_id).catch(() => undefined);
      throw error;
    }
  }

  /** Returns the asset with this ID or name, with a download URL. */
  getAsset(asset: string, options?: CallOptions): Promise<Asset> {
    return this.#get(`v1/assets/${encodeURIComponent(asset)}`, options);
  }

  listAssets(options?: CallOptions): Promise<AssetList> {
    return this.#get("v1/assets", options);
  }

  /** Deletes an asset. Jobs that are started later and use it fail. */
  deleteAsset(assetId: string, options?: CallOptions): Promise<void> {
    return this.#delete(`v1/assets/${encodeURIComponent(assetId)}`, options);
  }

  /** Creates a batch, and a started job for each of its sources. */
  createBatch(batch: CreateBatchRequest, options?: PostOptions): Promise<CreatedBatch> {
    return this.#post("v1/batches", options, batch);
  }

  /** Adds jobs to a batch: of sources, or of one page of the earlier jobs of a preset. */
  addToBatch(batchId: string, jobs: AddJobsRequest, options?: PostOptions): Promise<AddedJobs> {
    return this.#post(`${batchPath(batchId)}/jobs`, options, jobs);
  }

  /** Returns the batch with the number of its jobs by status. */
  getBatch(batchId: string, options?: CallOptions): Promise<Batch> {
    return this.#get(batchPath(batchId), options);
  }

  /** Lets a batch take no more jobs. Its event `batch.finished` follows its last job. */
  closeBatch(batchId: string, options?: PostOptions): Promise<Batch> {
    return this.#post(`${batchPath(batchId)}/close`, options);
  }

  /** Cancels up to 250 unfinished jobs of a batch, which takes no more jobs. Call it until `percent` is 100. */
  cancelBatch(batchId: string, options?: PostOptions): Promise<Batch> {
    return this.#post(`${batchPath(batchId)}/cancel`, options);
  }

  /** Deletes a batch; its jobs stay. */
  deleteBatch(batchId: string, options?: CallOptions): Promise<void> {
    return this.#delete(batchPath(batchId), options);
  }

  usage(query: UsageQuery = {}, options?: CallOptions): Promise<Usage> {
    return this.#get("v1/usage", options, query);
  }

  /** Returns the formats, operations and limits of this installation. */
  capabilities(options?: CallOptions): Promise<Installation> {
    return this.#get("v1/capabilities", options);
  }

  /** Returns the latest delivery attempts of a job's webhooks, newest first. */
  listDeliveries(jobId: string, options?: CallOptions): Promise<DeliveryList> {
    return this.#get(`${path(jobId)}/deliveries`, options);
  }

  /** Returns the latest delivery attempts of a batch's webhooks, newest first. */
  listBatchDeliveries(batchId: string, options?: CallOptions): Promise<DeliveryList> {
    return this.#get(`${batchPath(batchId)}/deliveries`, options);
  }

  /** Sends the event of a delivery again. */
  replayDelivery(deliveryId: string, options?: PostOptions): Promise<ReplayedEvent> {
    return this.#post(`v1/deliveries/${encodeURIComponent(deliveryId)}/replay`, options);
  }

  /** Sends the events of all your jobs to a URL, besides the `webhook_url` of a job. */
  createWebhookEndpoint(endpoint: CreateWebhookEndpointRequest, options?: PostOptions): Promise<WebhookEndpoint> {
    return this.#post("v1/webhook-endpoints", options, endpoint);
  }

  getWebhookEndpoint(endpointId: string, options?: CallOptions): Promise<WebhookEndpoint> {
    return this.#get(endpointPath(endpointId), options);
  }

  listWebhookEndpoints(options?: CallOptions): Promise<WebhookEndpointList> {
    return this.#get("v1/webhook-endpoints", options);
  }

  /** Changes the given fields; `event_types: null` means all types. */
  updateWebhookEndpoint(
    endpointId: string,
    change: UpdateWebhookEndpointRequest,
    options?: CallOptions,
  ): Promise<WebhookEndpoint> {
    return this.#patch(endpointPath(endpointId), change, options);
  }

  deleteWebhookEndpoint(endpointId: string, options?: CallOptions): Promise<void> {
    return this.#delete(endpointPath(endpointId), options);
  }

  /** Sends an event of the type `webhook.test`; `listEndpointDeliveries` shows the result. */
  testWebhookEndpoint(endpointId: string, options?: PostOptions): Promise<SentTestEvent> {
    return this.#post(`${endpointPath(endpointId)}/test`, options);
  }

  listEndpointDeliveries(endpointId: string, options?: CallOptions): Promise<DeliveryList> {
    return this.#get(`${endpointPath(endpointId)}/deliveries`, options);
  }

  /** Returns the webhook secret, the first time that it is asked for. */
  createWebhookSecret(options?: PostOptions): Promise<WebhookSecret> {
    return this.#post("v1/webhook-secret", options);
  }

  /** Creates a new webhook secret, which is returned only once. */
  rotateWebhookSecret(options?: PostOptions): Promise<RotatedSecret> {
    return this.#post("v1/webhook-secret/rotate", options);
  }

  async #get<T>(route: string, options?: SendOptions, query: object = {}): Promise<T> {
    const url = this.#url(route);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined && value !== null) url.searchParams.set(name, String(value));
    }
    return parse(await this.#send({ method: "GET", url, headers: this.#headers }, options));
  }

  async #post<T>(route: string, options: PostOptions = {}, body?: object): Promise<T> {
    // With a key, a retry has no further effect and gets the first response.
    const headers: Record<string, string> = {
      ...this.#headers,
      "Idempotency-Key": options.idempotencyKey ?? crypto.randomUUID(),
    };
    const sent: ApiRequest = { method: "POST", url: this.#url(route), headers };
    if (body === undefined) return parse(await this.#send(sent, options));
    headers["Content-Type"] = "application/json";
    return parse(await this.#send({ ...sent, body: JSON.stringify(body) }, options));
  }

  async #patch<T>(route: string, body: object, options?: CallOptions): Promise<T> {
    const headers = { ...this.#headers, "Content-Type": "application/json" };
    const sent: ApiRequest = { method: "PATCH", url: this.#url(route), headers, body: JSON.stringify(body) };
    return parse(await this.#send(sent, options));
  }

  async #delete(route: string, options?: CallOptions): Promise<void> {
    const reply = await this.#send({ method: "DELETE", url: this.#url(route), headers: this.#headers }, options);
    // An earlier attempt whose response was lost may have deleted it.
    const deletedBefore = reply.repeated && reply.status === NOT_FOUND;
    if (!deletedBefore && (reply.status < 200 || reply.status >= 300)) throw apiError(reply);
  }

  #send(each: ApiRequest, options: SendOptions = {}): Promise<Reply> {
    return request(each, options, this.#fetch ?? fetch);
  }

  #url(route: string): URL {
    return new URL(route, this.#base);
  }
}

function path(jobId: string): string {
  return `v1/jobs/${encodeURIComponent(jobId)}`;
}

function endpointPath(endpointId: string): string {
  return `v1/webhook-endpoints/${encodeURIComponent(endpointId)}`;
}

/** Whether the API does not know the parameter `wait`, or has no place for a request that waits. */
function isWithoutWait(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  return error.code === TOO_MANY_STREAMS || error.errors.some((each) => each.pointer === "/query/wait");
}

function batchPath(batchId: string): string {
  return `v1/batches/${encodeURIComponent(batchId)}`;
}

function baseOf(url: string): URL {
  const base = URL.canParse(url) ? new URL(url.replace(/\/*$/, "/")) : undefined;
  if (!base || !/^https?:$/.test(base.protocol) || base.username || base.search || base.hash) {
    throw new ConfigurationError("The URL of the API must be an http or https URL without user name, query or fragment");
  }
  return base;
}
