/** What the installation can do, and what its users have used. */
import { Subject, type CallOptions } from "./api.js";
import type { Installation, Usage, UsageQuery } from "./types.js";

export class Service extends Subject {
  usage(query: UsageQuery = {}, options?: CallOptions): Promise<Usage> {
    return this.api.get("v1/usage", options, query);
  }

  /** Returns the formats, operations and limits of this installation. */
  capabilities(options?: CallOptions): Promise<Installation> {
    return this.api.get("v1/capabilities", options);
  }
}
