// Contender: sharp, used as its documentation recommends. One thread and no cache, like the other contenders.
// Arguments: the folder that sharp is installed in, the font file.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { join } from "node:path";

const [folder, fontfile] = process.argv.slice(2);
const sharp = createRequire(join(folder, "package.json"))("sharp");
sharp.cache(false);
sharp.concurrency(1);

async function marked(source) {
  const picture = sharp(source);
  const { width, height } = await picture.metadata();
  const shorter = Math.min(width, height);
  const em = Math.round(0.05 * shorter);
  const margin = Math.round(0.03 * shorter);
  const text = `<span foreground="white" alpha="65%">© PixelFlow</span>`;
  const overlay = await sharp({ text: { text, font: `Noto Sans ${em}`, fontfile, dpi: 72, rgba: true } })
    .png()
    .toBuffer({ resolveWithObject: true });
  const left = width - overlay.info.width - margin;
  const top = height - overlay.info.height - margin;
  return picture.composite([{ input: overlay.data, left, top }]);
}

const cases = {
  photo_jpeg: (source, out) => sharp(source).autoOrient().resize(640).jpeg({ quality: 82 }).toFile(join(out, "small.jpg")),
  photo_png: (source, out) => sharp(source).autoOrient().resize(640).png().toFile(join(out, "small.png")),
  gradient_jpeg: (source, out) => sharp(source).resize(640).jpeg({ quality: 82 }).toFile(join(out, "small.jpg")),
  gradient_watermark: async (source, out) => (await marked(source)).png().toFile(join(out, "marked.png")),
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  for (let index = 0; index < request.times; index++) {
    await cases[request.case](request.sources[index % request.sources.length], request.folder);
  }
  process.stdout.write("done\n");
}
