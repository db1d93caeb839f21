/** Presets: pipelines with names, versions and parameters. */
import { path, Subject, type CallOptions, type PostOptions } from "./api.js";
import type { CreatePresetRequest, Preset, PresetList } from "./types.js";

export class Presets extends Subject {
  /** Saves a new version of a preset, and returns it; if the latest one has the same content, returns that one. */
  savePreset(preset: CreatePresetRequest, options?: PostOptions): Promise<Preset> {
    return this.api.post("v1/presets", options, preset);
  }

  /** Returns a preset, or one version of it, such as `avatar@3`. */
  getPreset(preset: string, options?: CallOptions): Promise<Preset> {
    return this.api.get(path("presets", preset), options);
  }

  /** Returns the latest version of each preset, by name. */
  listPresets(options?: CallOptions): Promise<PresetList> {
    return this.api.get("v1/presets", options);
  }

  /** Deletes a preset with all its versions. Jobs keep what they used. */
  deletePreset(name: string, options?: CallOptions): Promise<void> {
    return this.api.delete(path("presets", name), options);
  }
}
