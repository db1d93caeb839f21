/** The statuses of a job. */
const FINISHED = new Set<string>(["succeeded", "failed", "canceled"]);
const UNFINISHED = new Set<string>(["created", "queued", "processing"]);

/** Whether a job or its event says that the job has finished. A status of a later API counts only with `finished_at`. */
export function hasFinished(job: { readonly status: string; readonly finished_at?: string | null }): boolean {
  return FINISHED.has(job.status) || (!UNFINISHED.has(job.status) && (job.finished_at ?? null) !== null);
}
