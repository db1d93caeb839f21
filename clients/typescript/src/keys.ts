/** API keys of the user. */
import { path, Subject, type CallOptions, type PostOptions } from "./api.js";
import type { CreatedKey, CreateKeyRequest, KeyList } from "./types.js";

export class Keys extends Subject {
  /** Creates an API key with scopes that your own key has. `key` of the response is the only copy. */
  createKey(key: CreateKeyRequest, options?: PostOptions): Promise<CreatedKey> {
    return this.api.post("v1/keys", options, key);
  }

  /** Returns your API keys: active keys first, then newest first. */
  listKeys(options?: CallOptions): Promise<KeyList> {
    return this.api.get("v1/keys", options);
  }

  /** Revokes an API key: within two seconds, all requests with it fail. */
  revokeKey(keyId: string, options?: CallOptions): Promise<void> {
    return this.api.delete(path("keys", keyId), options);
  }
}
