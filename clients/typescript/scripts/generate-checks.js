/** Writes programs for tsc: the examples of the OpenAPI document as typed constants, and the snippets of the documentation. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

const ROOT = "../..";
const PAGES = { typescript: `${ROOT}/docs/typescript.md`, readme: "README.md" };
const DOCUMENT = JSON.parse(readFileSync(`${ROOT}/docs/openapi.json`, "utf-8"));

rmSync("generated", { recursive: true, force: true });
mkdirSync("generated");
const constants = [...typed("paths", DOCUMENT.paths), ...typed("webhooks", DOCUMENT.webhooks)];
write("examples.ts", ['import type { paths, webhooks } from "../src/openapi.js";', ...constants].join("\n\n"));
for (const [name, page] of Object.entries(PAGES)) {
  const snippets = [...readFileSync(page, "utf-8").matchAll(/^```ts\n(.*?)^```$/gms)];
  if (snippets.length === 0) throw new Error(`${page} has no snippets`);
  // The empty export makes a module of each, so that their names do not meet.
  snippets.forEach(([, code], index) => write(`${name}-${index}.ts`, `${code}\nexport {};`));
}
console.log(`${constants.length} examples of the OpenAPI document and the snippets of ${Object.keys(PAGES).length} pages`);

function write(name, text) {
  writeFileSync(`generated/${name}`, `${text}\n`);
}

/** One constant for each example of each operation below `root`. */
function typed(root, operations) {
  return Object.entries(operations).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, operation]) => {
      const type = `${root}[${JSON.stringify(path)}][${JSON.stringify(method)}]`;
      const bodies = [
        ...contents(operation.requestBody, `NonNullable<${type}["requestBody"]>`),
        ...Object.entries(operation.responses).flatMap(([status, response]) =>
          contents(response, `${type}["responses"][${/^\d+$/.test(status) ? status : JSON.stringify(status)}]`),
        ),
      ];
      const name = `${operation.operationId}_`;
      return bodies.map(([kind, value], index) => `export const ${name}${index}: ${kind} = ${JSON.stringify(value)};`);
    }),
  );
}

function contents(body, type) {
  return Object.entries(body?.content ?? {}).flatMap(([media, { example, examples }]) => {
    const values = [...(example === undefined ? [] : [example]), ...Object.values(examples ?? {}).map((each) => each.value)];
    return values.map((value) => [`${type}["content"][${JSON.stringify(media)}]`, value]);
  });
}
