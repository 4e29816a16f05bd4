/** Reading a command's options. */
import { parseArgs } from "node:util";
import { Advice, messageOf, say } from "./say.mjs";

/**
 * @param {string} usage printed for --help, and with every complaint
 * @param {Record<string, string | boolean>} defaults the options, each with a value: a string, or false
 *   for one that stands alone
 * @param {Record<string, string>} [elsewhere] options of other commands, and what is meant by them here
 * @returns {{values: Record<string, any>, refuse: (why: string) => never} | null} null after --help
 */
export function readOptions(usage, defaults, elsewhere = {}) {
  /** @type {(why: string) => never} */
  const refuse = (why) => {
    throw new Advice(why, ...usage.split("\n"));
  };
  /** @type {NonNullable<import("node:util").ParseArgsConfig["options"]>} */
  const options = { help: { type: "boolean", short: "h", default: false } };
  for (const [name, value] of Object.entries(defaults))
    options[name] = { type: typeof value === "string" ? "string" : "boolean", default: value };
  let values;
  try {
    ({ values } = parseArgs({ options }));
  } catch (error) {
    const [, name] = /^Unknown option '--([\w-]+)/.exec(messageOf(error)) ?? [];
    return refuse(elsewhere[name] ?? messageOf(error));
  }
  if (values.help) {
    say(usage);
    return null;
  }
  return { values, refuse };
}

/**
 * @param {string} name
 * @param {string} text
 * @param {{min: number, max: number, whole?: boolean}} range
 * @param {(why: string) => never} refuse
 */
export function numberOption(name, text, { min, max, whole = true }, refuse) {
  const number = Number(text);
  if (text.trim() === "" || !(number >= min && number <= max) || (whole && !Number.isInteger(number))) {
    refuse(`--${name} ${text}: a ${whole ? "whole " : ""}number from ${min} to ${max} is needed.`);
  }
  return number;
}
