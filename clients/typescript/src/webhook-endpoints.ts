/** Webhook endpoints: URLs that get the events of all jobs of a user. */
import { path, Subject, type CallOptions, type PostOptions } from "./api.js";
import type {
  CreateWebhookEndpointRequest,
  DeliveryList,
  SentTestEvent,
  UpdateWebhookEndpointRequest,
  WebhookEndpoint,
  WebhookEndpointList,
} from "./types.js";

const ROUTE = "webhook-endpoints";

export class WebhookEndpoints extends Subject {
  /** Sends the events of all your jobs to a URL, besides the `webhook_url` of a job. */
  createWebhookEndpoint(endpoint: CreateWebhookEndpointRequest, options?: PostOptions): Promise<WebhookEndpoint> {
    return this.api.post(path(ROUTE), options, endpoint);
  }

  getWebhookEndpoint(endpointId: string, options?: CallOptions): Promise<WebhookEndpoint> {
    return this.api.get(path(ROUTE, endpointId), options);
  }

  listWebhookEndpoints(options?: CallOptions): Promise<WebhookEndpointList> {
    return this.api.get(path(ROUTE), options);
  }

  /** Changes the given fields; `event_types: null` means all types. */
  updateWebhookEndpoint(
    endpointId: string,
    change: UpdateWebhookEndpointRequest,
    options?: CallOptions,
  ): Promise<WebhookEndpoint> {
    return this.api.patch(path(ROUTE, endpointId), change, options);
  }

  deleteWebhookEndpoint(endpointId: string, options?: CallOptions): Promise<void> {
    return this.api.delete(path(ROUTE, endpointId), options);
  }

  /** Sends an event of the type `webhook.test`; `listEndpointDeliveries` shows the result. */
  testWebhookEndpoint(endpointId: string, options?: PostOptions): Promise<SentTestEvent> {
    return this.api.post(path(ROUTE, endpointId, "test"), options);
  }

  listEndpointDeliveries(endpointId: string, options?: CallOptions): Promise<DeliveryList> {
    return this.api.get(path(ROUTE, endpointId, "deliveries"), options);
  }
}
