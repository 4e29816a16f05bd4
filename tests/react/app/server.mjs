/** The application's server: `node server.mjs dev|production SERVICE`. Prints its address. */
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";

const [mode, service] = process.argv.slice(2);
const isDev = mode === "dev";
const here = import.meta.dirname;
const vite = isDev
  ? await (await import("vite")).createServer({ server: { middlewareMode: true }, appType: "custom", logLevel: "error" })
  : null;
const TYPES = { ".js": "text/javascript", ".css": "text/css" };

async function page(url) {
  const raw = await readFile(join(here, isDev ? "index.html" : "dist/client/index.html"), "utf8");
  const template = vite ? await vite.transformIndexHtml(url, raw) : raw;
  const { render } = vite ? await vite.ssrLoadModule("/entry-server.jsx") : await import("./dist/server/entry-server.js");
  const { html, props } = await render(service);
  const initial = JSON.stringify(props).replace(/</g, "\\u003c");
  return template.replace("<!--app-->", () => html).replace("<!--initial-->", () => initial);
}

const server = createServer((request, response) => {
  const serve = async () => {
    try {
      if (request.url.startsWith("/assets/")) {
        response.setHeader("content-type", TYPES[extname(request.url)] ?? "application/octet-stream");
        return response.end(await readFile(join(here, "dist/client", request.url)));
      }
      response.setHeader("content-type", "text/html");
      response.end(await page(request.url));
    } catch (error) {
      response.writeHead(500).end(error.stack);
    }
  };
  if (vite) vite.middlewares(request, response, serve);
  else void serve();
});
server.listen(0, "127.0.0.1", () => console.log(`ready http://127.0.0.1:${server.address().port}`));
