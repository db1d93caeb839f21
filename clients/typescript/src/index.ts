export {
  PixelFlow,
  type CallOptions,
  type PixelFlowOptions,
  type PostOptions,
  type ProcessOptions,
  type WaitOptions,
} from "./client.js";
export type { EventsOptions } from "./events.js";
export * from "./errors.js";
export { declaredSource, uploadTo, type Progress, type UploadBody, type UploadOptions } from "./uploads.js";
export { verifyWebhook, type VerifyOptions } from "./webhooks.js";
export type * from "./types.js";
export type { components, operations, paths } from "./openapi.js";
