/** Event streams of jobs. */
import { path, Subject } from "./api.js";
import type { EventsOptions, StreamedEvent } from "./events.js";

export class Live extends Subject {
  /**
   * Iterates over the changes of one job until it has finished. A connection that breaks is made again, and continues
   * without a gap.
   */
  watchJob(jobId: string, options: EventsOptions = {}): AsyncGenerator<StreamedEvent, void, undefined> {
    return this.api.events(path("jobs", jobId, "events"), true, options);
  }

  /** Iterates over the changes of all jobs, without an end: see `watchJob`. */
  watchJobs(options: EventsOptions = {}): AsyncGenerator<StreamedEvent, void, undefined> {
    return this.api.events("v1/events", false, options);
  }
}
