/** `npx hitparade send`: plays from standard input to an installation, each counted once. */
import { runMain } from "./lib/say.mjs";
import { send } from "./lib/send/command.mjs";

await runMain(send);
