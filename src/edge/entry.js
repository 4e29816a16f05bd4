/** The Worker's main module; the build puts it beside what it imports. */
import { serve } from "./service.js";

export { GlobalBoard } from "./index.js";
export { RegionShard } from "./service.js";

export default { fetch: serve };
