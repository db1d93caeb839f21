/** Names for the schemas of the OpenAPI document. */
import type { components, operations } from "./openapi.js";

type Schemas = components["schemas"];

export type Step = Schemas["Step"];
export type CreateJobRequest = Schemas["CreateJobRequest"];
export type CreatedJob = Schemas["CreatedJob"];
export type StartedJob = Schemas["StartedJob"];
export type Job = Schemas["Job"];
export type JobPage = Schemas["JobPage"];
export type JobEvent = Schemas["JobEvent"];
export type JobStatus = Schemas["JobStatus"];
export type Output = Schemas["Output"];
export type Explanation = Schemas["Explanation"];
export type Upload = Schemas["Upload"];
export type MultipartUpload = Schemas["MultipartUpload"];
export type DeclaredSource = Schemas["DeclaredSource"];
export type Destination = Schemas["Destination"];
export type AddJobsRequest = Schemas["AddJobsRequest"];
export type AddedJobs = Schemas["AddedJobs"];
export type Batch = Schemas["Batch"];
export type BatchPage = Schemas["BatchPage"];
export type BatchSource = Schemas["BatchSource"];
export type BatchSummary = Schemas["BatchSummary"];
export type RefusedSource = Schemas["RefusedSource"];
export type CreateBatchRequest = Schemas["CreateBatchRequest"];
export type CreatedBatch = Schemas["CreatedBatch"];
export type Preset = Schemas["Preset"];
export type PresetList = Schemas["PresetList"];
/** In the pipeline, a text such as `"${size}"` stands for the value of a parameter. */
export type CreatePresetRequest = Schemas["CreatePresetRequest"];
/** Values of a preset's parameters. */
export type ParameterValues = NonNullable<CreateJobRequest["parameters"]>;
export type Asset = Schemas["Asset"];
export type AssetList = Schemas["AssetList"];
export type CreateAssetRequest = Schemas["CreateAssetRequest"];
export type CreatedAsset = Schemas["CreatedAsset"];
export type KeyList = Schemas["KeyList"];
export type CreatedKey = Schemas["CreatedKey"];
export type CreateKeyRequest = Schemas["CreateKeyRequest"];
export type Installation = Schemas["Installation"];
export type Usage = Schemas["UsageByDay"] | Schemas["UsageByUser"];
export type Problem = Schemas["Problem"];
export type FieldError = Schemas["FieldError"];
export type DeliveryList = Schemas["DeliveryList"];
export type ReplayedEvent = Schemas["ReplayedEvent"];
export type RotatedSecret = Schemas["RotatedSecret"];
export type WebhookSecret = Schemas["WebhookSecret"];
export type WebhookEndpoint = Schemas["WebhookEndpoint"];
export type WebhookEndpointList = Schemas["WebhookEndpointList"];
export type CreateWebhookEndpointRequest = Schemas["CreateWebhookEndpointRequest"];
export type UpdateWebhookEndpointRequest = Schemas["UpdateWebhookEndpointRequest"];
export type SentTestEvent = Schemas["SentTestEvent"];
export type JobWebhookEvent = {
  type: Exclude<Schemas["EventType"], Schemas["BatchEvent"]["type"]>;
  timestamp: string;
  data: Job;
};
export type BatchWebhookEvent = Schemas["BatchEvent"];
export type TestWebhookEvent = Schemas["TestEvent"];
/** Check `type` first: it determines `data`. A later release may have other types, which you can ignore. */
export type WebhookEvent = JobWebhookEvent | BatchWebhookEvent | TestWebhookEvent;

/** `metadata` has the values that the metadata of a job must have, such as `{ sku: "A-17" }`. */
export type ListJobsQuery = NonNullable<operations["list_jobs"]["parameters"]["query"]>;
export type ListBatchesQuery = NonNullable<operations["list_batches"]["parameters"]["query"]>;
export type UsageQuery = NonNullable<operations["get_usage"]["parameters"]["query"]>;
