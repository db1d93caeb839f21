/** Jobs: creating, uploading, starting, waiting, listing, canceling, erasing. */
import { path, Subject, type CallOptions, type PostOptions } from "./api.js";
import { fileOf, sourceOf, type Photo } from "./sources.js";
import type {
  CreatedJob,
  CreateJobRequest,
  Explanation,
  Job,
  JobPage,
  ListJobsQuery,
  ParameterValues,
  StartedJob,
  Step,
  Upload,
} from "./types.js";
import { uploadTo, type UploadBody, type UploadOptions } from "./uploads.js";
import { waitForJob, type WaitOptions } from "./waiting.js";

/** The steps of a job, or a preset that has them, such as `{ preset: "avatar@3", parameters: { size: 200 } }`. */
export type StepsOrPreset = readonly Step[] | { readonly preset: string; readonly parameters?: ParameterValues };

export interface SubmitOptions extends PostOptions {
  readonly onUpload?: UploadOptions["onProgress"];
  /** Further fields of the create request, such as `metadata` and `destination`. */
  readonly request?: Omit<CreateJobRequest, "pipeline"> | undefined;
}

export interface ProcessOptions extends SubmitOptions, Pick<WaitOptions, "timeoutMs" | "onProgress"> {}

export class Jobs extends Subject {
  /** Creates a job and returns how to upload its source. With `auto_start`, it starts when its source is there. */
  createJob(job: CreateJobRequest, options?: PostOptions): Promise<CreatedJob> {
    return this.api.post("v1/jobs", options, job);
  }

  /** Returns what a pipeline would do with a source of the declared size; nothing is created. */
  explain(job: CreateJobRequest, options?: PostOptions): Promise<Explanation> {
    return this.api.post("v1/jobs?dry_run=true", options, job);
  }

  /** Uploads the source of a created job; needs no key: see `uploadTo`. */
  upload(job: { readonly upload: Upload }, file: UploadBody, options: UploadOptions = {}): Promise<void> {
    return uploadTo(job.upload, file, { ...options, fetch: options.fetch ?? this.api.fetch });
  }

  /** Starts a job whose source was uploaded. */
  startJob(jobId: string, options?: PostOptions): Promise<StartedJob> {
    return this.api.post(path("jobs", jobId, "start"), options);
  }

  getJob(jobId: string, options?: CallOptions): Promise<Job> {
    return this.api.get(path("jobs", jobId), options);
  }

  /** Iterates over the jobs that meet all conditions, newest first. Pages are fetched on demand. */
  listJobs(query: ListJobsQuery = {}, options?: CallOptions): AsyncGenerator<Job, void, undefined> {
    return this.api.pages("v1/jobs", parametersOf(query), options);
  }

  /** Returns one page of the jobs that meet all conditions; `next_cursor` is the `cursor` of the next one. */
  getJobPage(query: ListJobsQuery = {}, options?: CallOptions): Promise<JobPage> {
    return this.api.get("v1/jobs", options, parametersOf(query));
  }

  /** Cancels a job, even while it is processing. */
  cancel(jobId: string, options?: PostOptions): Promise<Job> {
    return this.api.post(path("jobs", jobId, "cancel"), options);
  }

  /** Runs a failed or canceled job again. */
  retry(jobId: string, options?: PostOptions): Promise<StartedJob> {
    return this.api.post(path("jobs", jobId, "retry"), options);
  }

  /** Deletes a job at once, and its source and outputs within seconds. */
  erase(jobId: string, options?: CallOptions): Promise<void> {
    return this.api.delete(path("jobs", jobId), options);
  }

  /**
   * Waits until a job succeeds, and returns it. The API responds when the job has finished; one that can't is polled.
   * Goes on while the API is away for up to a minute, as when it restarts.
   *
   * @throws JobFailedError the job failed or was canceled.
   * @throws WaitTimeoutError the job did not finish in time; it continues.
   */
  waitForJob(jobId: string, options: WaitOptions = {}): Promise<Job> {
    return waitForJob(this.api, jobId, options);
  }

  /**
   * Creates a job for `photo`, uploads it if it is a file, starts the job and returns its ID. With an `idempotencyKey`,
   * the same call completes what an earlier one began.
   */
  async submit(photo: Photo, steps: StepsOrPreset, options: SubmitOptions = {}): Promise<string> {
    const { signal, idempotencyKey, request } = options;
    const made = "preset" in steps ? steps : { pipeline: [...steps] };
    const source = { ...sourceOf(photo), ...request?.source };
    const created = await this.createJob({ ...request, ...made, source }, { signal, idempotencyKey });
    const wasStarted = idempotencyKey !== undefined && (await this.getJob(created.job_id, { signal })).queued_at !== null;
    if (wasStarted) return created.job_id;
    const file = fileOf(photo);
    if (file) await this.upload(created, file, { signal, onProgress: options.onUpload });
    if (!request?.auto_start) await this.startJob(created.job_id, { signal });
    return created.job_id;
  }

  /** Submits `photo` and waits for its job. `timeoutMs` counts from the start of the job. */
  async process(photo: Photo, steps: StepsOrPreset, options: ProcessOptions = {}): Promise<Job> {
    return this.waitForJob(await this.submit(photo, steps, options), options);
  }
}

function parametersOf({ metadata = {}, ...conditions }: ListJobsQuery): { cursor?: string | null } {
  const values = Object.entries(metadata).map(([name, value]) => [`metadata.${name}`, value]);
  return { ...conditions, ...Object.fromEntries(values) };
}
