/** Starts PixelFlow (`pixelflow up`) and programs beside it for the tests of this folder. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export const REPOSITORY = resolve("../..");
const PYTHON = join(REPOSITORY, ".venv/bin/python");
const START_SECONDS = 90;

export interface Started {
  readonly url: string;
  readonly apiKey: string;
  stop(): Promise<void>;
}

/** Starts the whole service in a new home, which is deleted when it stops. */
export async function startPixelFlow(): Promise<Started> {
  const home = await mkdtemp(join(tmpdir(), "pixelflow-typescript-"));
  const settings = {
    PIXELFLOW_WEBHOOK_ALLOW_CIDRS: "127.0.0.0/8",
    PIXELFLOW_WEBHOOK_ALLOW_HTTP: "true",
  };
  const args = ["-m", "pixelflow", "up", "--home", home, "--api-port", "0", "--metrics-port", "0"];
  const child = start(args, settings);
  const stop = async (): Promise<void> => {
    await stopProcess(child);
    await rm(home, { recursive: true, force: true });
  };
  try {
    await until(child, async () => (await fetch(`${(await credentials(home)).api_url}/readyz`)).ok);
    const { api_url: url, api_key: apiKey } = await credentials(home);
    return { url, apiKey, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function credentials(home: string): Promise<{ api_url: string; api_key: string }> {
  return JSON.parse(await readFile(join(home, "credentials.json"), "utf-8")) as { api_url: string; api_key: string };
}

/** Starts Python with `args`, and waits until `url` answers. */
export async function startPython(args: string[], env: Record<string, string>, url: string): Promise<() => Promise<void>> {
  const child = start(args, env);
  await until(child, async () => (await fetch(url)).ok);
  return () => stopProcess(child);
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

function start(args: string[], env: Record<string, string>): ChildProcess {
  const child = spawn(PYTHON, args, { cwd: REPOSITORY, env: { ...process.env, ...env }, stdio: ["ignore", "ignore", "pipe"] });
  child.stderr?.on("data", (chunk: Buffer) => process.env["VERBOSE"] && process.stderr.write(chunk));
  return child;
}

async function until(child: ChildProcess, isReady: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + START_SECONDS * 1000;
  while (!(await isReady().catch(() => false))) {
    if (child.exitCode !== null) throw new Error(`${child.spawnargs.join(" ")} ended with ${child.exitCode}`);
    if (Date.now() > deadline) throw new Error(`${child.spawnargs.join(" ")} is not ready after ${START_SECONDS} s`);
    await sleep(100);
  }
}

async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const ended = new Promise((done) => child.once("exit", done));
  child.kill("SIGINT");
  await ended;
}
