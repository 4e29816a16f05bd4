#!/usr/bin/env node
/**
 * `npx hitparade`, and what the npm scripts of its users call: one program for both. In the npm
 * package it stands bundled in `build/bin` (scripts/package.mjs).
 */
import { join } from "node:path";
import { runCommand } from "./lib/command.mjs";
import { ROOT } from "./lib/paths.mjs";

const USAGE = `usage: hitparade [COMMAND] [OPTIONS]

  demo     the whole service on this machine, playing real data; also runs where no command is named, at a
           terminal and outside an installation's folder
  init     a folder for an installation of your own: settings, a page, all that is uploaded
  serve    the service on this machine
  deploy   the service on Cloudflare
  doctor   what of an installation works, what does not, and what to do
  send     plays from logs, files and pipes, each counted once
  export   everything that an installation keeps, into a file
  import   such a file into another installation; or the views that another system counted
  backup   a copy of an installation that runs, or of what \`serve\` stored
  restore  puts it back

\`hitparade COMMAND --help\` tells a command's options, \`hitparade --version\` which release this is.
What it names as docs/… is in ${join(ROOT, "docs")}`;

const COMMANDS = {
  demo: () => import("./demo.mjs"),
  init: () => import("./init.mjs"),
  serve: () => import("./serve.mjs"),
  deploy: () => import("./deploy.mjs"),
  doctor: () => import("./doctor.mjs"),
  send: () => import("./send.mjs"),
  export: () => import("./export.mjs"),
  import: () => import("./import.mjs"),
  backup: () => import("./backup.mjs"),
  restore: () => import("./restore.mjs"),
};

runCommand(COMMANDS, "demo", USAGE, {
  bare: async () => {
    const [{ HOME, isInstallation }, { say }] = await Promise.all([import("./lib/paths.mjs"), import("./lib/say.mjs")]);
    if (!isInstallation() && process.stdout.isTTY) return COMMANDS.demo();
    say(isInstallation() ? `${HOME} is an installation: \`npx hitparade serve\` serves it.\n\n${USAGE}` : USAGE);
    process.exitCode = 1;
  },
  version: async () => {
    const { readPackage } = await import("./lib/release.mjs");
    process.stdout.write(`${readPackage().version}\n`);
  },
});
