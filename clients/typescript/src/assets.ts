/** Assets: pictures that pipelines use. */
import { path, Subject, type Api, type CallOptions, type PostOptions } from "./api.js";
import type { Asset, AssetList, CreatedAsset } from "./types.js";
import { declaredSource, uploadTo, type UploadOptions } from "./uploads.js";

export class Assets extends Subject {
  /**
   * Creates an asset from `file`. If that fails, none remains. With an `idempotencyKey`, the same call completes what an
   * earlier one began, and a call that fails deletes nothing.
   */
  async createAsset(name: string, file: Blob, options: PostOptions & UploadOptions = {}): Promise<Asset> {
    const created: CreatedAsset = await this.api.post("v1/assets", options, { name, source: declaredSource(file) });
    if (options.idempotencyKey !== undefined) {
      const known = await this.getAsset(created.asset_id, { signal: options.signal });
      return known.status === "ready" ? known : complete(this.api, created, file, options);
    }
    try {
      return await complete(this.api, created, file, options);
    } catch (error) {
      await this.deleteAsset(created.asset_id).catch(() => undefined);
      throw error;
    }
  }

  /** Returns the asset with this ID or name, with a download URL. */
  getAsset(asset: string, options?: CallOptions): Promise<Asset> {
    return this.api.get(path("assets", asset), options);
  }

  listAssets(options?: CallOptions): Promise<AssetList> {
    return this.api.get("v1/assets", options);
  }

  /** Deletes an asset. Jobs that are started later and use it fail. */
  deleteAsset(assetId: string, options?: CallOptions): Promise<void> {
    return this.api.delete(path("assets", assetId), options);
  }
}

async function complete(api: Api, created: CreatedAsset, file: Blob, options: UploadOptions): Promise<Asset> {
  await uploadTo(created.upload, file, { ...options, fetch: options.fetch ?? api.fetch });
  return api.post(path("assets", created.asset_id, "complete"), { signal: options.signal });
}
