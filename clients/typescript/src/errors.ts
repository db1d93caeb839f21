import type { FieldError, Job, Problem } from "./types.js";

/** Root of the errors. `code` is stable; `message` is one sentence for people and never has a key or a signed URL. */
export class PixelFlowError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.name = new.target.name;
    this.code = code;
  }
}

/** The URL or the key of the API is missing or not valid. */
export class ConfigurationError extends PixelFlowError {
  constructor(message: string) {
    super("not_configured", message);
  }
}

/** The server can't be reached, did not respond in time or closed the connection. */
export class ConnectionFailedError extends PixelFlowError {
  /** Whether the request may have arrived. */
  readonly sent: boolean;

  constructor(message: string, sent: boolean) {
    super("connection_failed", message);
    this.sent = sent;
  }
}

/** The API returned an error, or a response that this version does not understand (`unexpected_answer`). */
export class ApiError extends PixelFlowError {
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  /** Every invalid field, with a JSON Pointer into the request. */
  readonly errors: readonly FieldError[];
  /** ID of the request, for the operator of the API. */
  readonly requestId: string | undefined;
  /** Seconds after which the same request may succeed, if the API said so. */
  readonly retryAfter: number | undefined;

  constructor(problem: Problem, retryAfter?: number) {
    const shown = (problem.errors ?? []).slice(0, 5).map((each) => `${each.pointer || "/"} ${each.message}`);
    super(problem.code, [`${problem.detail} (${problem.status} ${problem.code})`, ...shown].join("; "));
    this.status = problem.status;
    this.title = problem.title;
    this.detail = problem.detail;
    this.errors = problem.errors ?? [];
    this.requestId = problem.request_id || undefined;
    this.retryAfter = retryAfter;
  }
}

/** An upload or a download failed. `status` is that of object storage, if it responded. */
export class TransferError extends PixelFlowError {
  readonly status: number | undefined;

  constructor(message: string, status?: number) {
    super("transfer_failed", message);
    this.status = status;
  }
}

/** The job failed or was canceled. `code` is the error code of the job, or its status. */
export class JobFailedError extends PixelFlowError {
  readonly job: Job;

  constructor(job: Job) {
    const reason = job.error ? `: ${job.error.message} (${job.error.code})` : "";
    super(job.error?.code ?? job.status, `Job ${job.job_id} ${job.status}${reason}`);
    this.job = job;
  }
}

/** The job did not finish in time and continues. `job` is its last known state. */
export class WaitTimeoutError extends PixelFlowError {
  readonly job: Job;

  constructor(job: Job, timeoutMs: number) {
    super("wait_timeout", `Job ${job.job_id} is still ${job.status} after ${timeoutMs} ms`);
    this.job = job;
  }
}

/** A webhook has no valid signature, or its timestamp is too far from now. */
export class WebhookVerificationError extends PixelFlowError {
  constructor(message: string) {
    super("webhook_not_verified", message);
  }
}
