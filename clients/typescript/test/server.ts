/** A server that answers with prepared responses and records what it got. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface Prepared {
  readonly status: number;
  readonly headers?: Record<string, string>;
  readonly body?: unknown;
  /** Close the connection instead. */
  readonly drop?: boolean;
  /** Send no response. */
  readonly hold?: boolean;
}

export interface Received {
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: Buffer;
}

export interface FakeServer extends AsyncDisposable {
  readonly url: string;
  readonly received: Received[];
  /** Resolves when a request is held. */
  readonly held: Promise<void>;
}

/** Starts a server; the last prepared response repeats. */
export async function serve(...prepared: Prepared[]): Promise<FakeServer> {
  const received: Received[] = [];
  let reportHeld = (): void => undefined;
  const held = new Promise<void>((resolve) => (reportHeld = resolve));
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const next = prepared[Math.min(received.length, prepared.length - 1)] ?? { status: 500 };
      received.push({
        method: request.method ?? "",
        url: request.url ?? "",
        headers: request.headers,
        body: Buffer.concat(chunks),
      });
      if (next.hold) return reportHeld();
      if (next.drop) return request.socket.destroy();
      response.writeHead(next.status, { "Content-Type": "application/json", ...next.headers });
      return response.end(typeof next.body === "string" ? next.body : JSON.stringify(next.body ?? null));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    held,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
