/** Compiled, never run: tsc fails if a line marked with `@ts-expect-error` compiles. */
import type { CreateJobRequest, CreatePresetRequest, ListJobsQuery, Photo, Step } from "../src/index.js";

export const minimal: CreateJobRequest = { pipeline: [{ id: "small", action: "resize", width: 640 }] };

export const tree: Step[] = [
  { id: "hero", action: "resize", width: 1600, height: 900, fit: "cover", gravity: "attention", format: "avif" },
  { id: "marked", from: "hero", action: "watermark", watermark: { text: "© Acme", opacity: 0.65 } },
];

export const preset: CreateJobRequest = { preset: "avatar@3", parameters: { size: 200 } };

export const parameterized: CreatePresetRequest = {
  name: "avatar",
  parameters: { size: { type: "integer", default: 160 } },
  pipeline: [{ id: "avatar", action: "resize", width: "${size}" }],
};

export const photos: Photo[] = [{ job: "j", output: "hero" }, { url: "https://img.example/a.jpg" }, { bucket: "originals", key: "a.jpg" }, new Uint8Array(1)];

// @ts-expect-error an object in a bucket has a key
export const keyless: Photo = { bucket: "originals" };

// @ts-expect-error a file is opened first
export const path: Photo = "photo.jpg";

// @ts-expect-error times are texts
export const times: ListJobsQuery = { created_after: new Date() };

// @ts-expect-error a preset is named by a string
export const number: CreateJobRequest = { preset: 3 };

// @ts-expect-error no such action
export const action: Step = { id: "a", action: "resized", width: 640 };

// @ts-expect-error a width is a number
export const width: Step = { id: "a", action: "resize", width: "640" };

// @ts-expect-error a misspelled option
export const option: Step = { id: "a", action: "resize", widht: 640 };

// @ts-expect-error a blur has no width
export const foreign: Step = { id: "a", action: "blur", width: 640 };

// @ts-expect-error no such fit
export const fit: Step = { id: "a", action: "resize", width: 640, fit: "covered" };

// @ts-expect-error an option is left out, not undefined
export const left: Step = { id: "a", action: "resize", width: 640, fit: undefined };
