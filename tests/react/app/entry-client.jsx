import { hydrateRoot } from "react-dom/client";
import { App } from "./app.jsx";

const props = JSON.parse(document.getElementById("initial").textContent);
window.mismatches = [];
hydrateRoot(document.getElementById("root"), <App {...props} />, { onRecoverableError: (error) => window.mismatches.push(String(error)) });
window.hydrated = true;
