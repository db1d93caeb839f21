/** The package as npm would publish it, installed into an empty project. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";

const PACKAGE = resolve(".");
const PROGRAM = `
import { PixelFlow, type Step } from "pixelflow-client";
import { uploadTo } from "pixelflow-client/browser";
import { verifyWebhook } from "pixelflow-client/webhooks";
const steps: Step[] = [{ id: "small", action: "resize", width: 640 }];
export const found: unknown[] = [uploadTo, verifyWebhook];
export async function sample(photo: Blob): Promise<string[]> {
  const pixelflow = new PixelFlow({ url: "http://127.0.0.1:8080", apiKey: "key" });
  const job = await pixelflow.process(photo, steps, { timeoutMs: 60_000 });
  const again = await pixelflow.submit({ job: job.job_id }, { preset: "avatar@3", parameters: { size: 96 } });
  for await (const event of pixelflow.watchJob(again)) console.log(event.status);
  return job.outputs.map((output) => output.step_id);
}
`;
const STRICT = ["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--target", "es2022"];

let project: string;

before(() => {
  project = mkdtempSync(join(tmpdir(), "pixelflow-package-"));
  const packed = execFileSync("npm", ["pack", "--silent", "--pack-destination", project], { encoding: "utf-8" }).trim();
  writeFileSync(join(project, "package.json"), '{"type": "module", "private": true}');
  writeFileSync(join(project, "program.ts"), PROGRAM);
  execFileSync("npm", ["install", "--silent", "--offline", "--no-audit", "--no-fund", `./${packed}`], { cwd: project });
  mkdirSync(join(project, "node_modules/@types"));
  for (const name of ["@types/node", "undici-types"]) {
    symlinkSync(join(PACKAGE, "node_modules", name), join(project, "node_modules", name));
  }
});
after(() => rmSync(project, { recursive: true, force: true }));

test("each entry is imported by Node", () => {
  const code = 'for (const each of ["", "/browser", "/webhooks"]) console.log(Object.keys(await import("pixelflow-client" + each)).length > 0)';
  const printed = execFileSync("node", ["--input-type=module", "-e", code], { cwd: project, encoding: "utf-8" });
  assert.equal(printed, "true\n".repeat(3));
});

for (const [name, options] of Object.entries({
  "Node without the types of browsers": ["--module", "nodenext", "--lib", "es2022", "--types", "node"],
  "a bundler without the types of Node": ["--module", "esnext", "--moduleResolution", "bundler", "--lib", "es2022,dom", "--typeRoots", "none"],
})) {
  test(`its types compile under strict for ${name}`, () => {
    execFileSync(join(PACKAGE, "node_modules/.bin/tsc"), [...STRICT, ...options, "program.ts"], { cwd: project, stdio: "inherit" });
  });
}
