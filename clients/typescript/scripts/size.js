/** Prints the minified and compressed size of what an application bundles. */
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const ENTRIES = {
  "everything": 'export * from "./dist/index.js"',
  "uploadTo only": 'export { uploadTo } from "./dist/index.js"',
  "verifyWebhook only": 'export { verifyWebhook } from "./dist/index.js"',
};

for (const [name, contents] of Object.entries(ENTRIES)) {
  const result = await build({
    stdin: { contents, resolveDir: new URL("..", import.meta.url).pathname },
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    target: "es2022",
  });
  const code = result.outputFiles[0].contents;
  console.log(`${name}: ${code.length} bytes minified, ${gzipSync(code, { level: 9 }).length} compressed`);
}
