import { renderToString } from "react-dom/server";
import { Hitparade } from "hitparade/client";
import { App } from "./app.jsx";

export async function render(server) {
  const initial = await new Hitparade(server).topPosts({ region: "EU", timeframe: "1h", k: 5 });
  return { html: renderToString(<App server={server} initial={initial} />), props: { server, initial } };
}
