import { StrictMode, useState } from "react";
import { TopPosts } from "hitparade/react";

export function App({ server, initial }) {
  const [region, setRegion] = useState("EU");
  return (
    <StrictMode>
      <TopPosts
        server={server}
        region={region}
        timeframe="1h"
        k={5}
        initial={region === "EU" ? initial : null}
        empty={<p>Nothing yet.</p>}
      />
      <button onClick={() => setRegion(region === "EU" ? "AF" : "EU")}>{region}</button>
    </StrictMode>
  );
}
