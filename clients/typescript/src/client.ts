/** The client: the calls of all subjects, with one API and one key. */
import { Api, Subject, type PixelFlowOptions } from "./api.js";
import { Assets } from "./assets.js";
import { Batches } from "./batches.js";
import { Deliveries } from "./deliveries.js";
import { Jobs } from "./jobs.js";
import { Keys } from "./keys.js";
import { Live } from "./live.js";
import { Outputs } from "./outputs.js";
import { Presets } from "./presets.js";
import { Service } from "./service.js";
import { WebhookEndpoints } from "./webhook-endpoints.js";

const SUBJECTS = [Jobs, Live, Outputs, Presets, Batches, Assets, Deliveries, WebhookEndpoints, Keys, Service];

/** A client of one API with one key, for Node and other servers. All methods throw `ApiError` and `ConnectionFailedError`. */
export class PixelFlow extends Subject {
  static {
    for (const { prototype } of SUBJECTS) {
      const { constructor: _, ...methods } = Object.getOwnPropertyDescriptors(prototype);
      Object.defineProperties(this.prototype, methods);
    }
  }

  /** @throws ConfigurationError the URL or the key is not valid, or this is a web page. */
  constructor(options: PixelFlowOptions) {
    super(new Api(options));
  }
}

export interface PixelFlow
  extends Jobs, Live, Outputs, Presets, Batches, Assets, Deliveries, WebhookEndpoints, Keys, Service {}
