/** Deliveries of webhooks, and the secret that signs them. */
import { path, Subject, type CallOptions, type PostOptions } from "./api.js";
import type { DeliveryList, ReplayedEvent, RotatedSecret, WebhookSecret } from "./types.js";

export class Deliveries extends Subject {
  /** Returns the latest delivery attempts of a job's webhooks, newest first. */
  listDeliveries(jobId: string, options?: CallOptions): Promise<DeliveryList> {
    return this.api.get(path("jobs", jobId, "deliveries"), options);
  }

  /** Returns the latest delivery attempts of a batch's own webhooks, newest first. */
  listBatchDeliveries(batchId: string, options?: CallOptions): Promise<DeliveryList> {
    return this.api.get(path("batches", batchId, "deliveries"), options);
  }

  /** Sends the event of a delivery again. */
  replayDelivery(deliveryId: string, options?: PostOptions): Promise<ReplayedEvent> {
    return this.api.post(path("deliveries", deliveryId, "replay"), options);
  }

  /** Returns the webhook secret, the first time that it is asked for. */
  createWebhookSecret(options?: PostOptions): Promise<WebhookSecret> {
    return this.api.post("v1/webhook-secret", options);
  }

  /** Creates a new webhook secret, which is returned only once. */
  rotateWebhookSecret(options?: PostOptions): Promise<RotatedSecret> {
    return this.api.post("v1/webhook-secret/rotate", options);
  }
}
