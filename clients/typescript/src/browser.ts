/** What a web page needs: functions without an API key. */
export { ConnectionFailedError, PixelFlowError, TransferError } from "./errors.js";
export { declaredSource, uploadTo, type Progress, type UploadBody, type UploadOptions } from "./uploads.js";
export type { CreatedJob, Job, Output, Upload } from "./types.js";
