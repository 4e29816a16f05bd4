/** Which post an address of a site is. */
import { messageOf } from "../say.mjs";

/** Proxies and generators encode what is encoded already; nobody was seen to do it more often. */
const MOST_DECODINGS = 3;

/** A part of an address as people write it: encoded twice or once or not at all, it is the same. @param {string} text */
function decoded(text) {
  for (let times = 0; times < MOST_DECODINGS && text.includes("%"); times++) {
    try {
      const next = decodeURIComponent(text);
      if (next === text) break;
      text = next;
    } catch {
      // A percent sign that encodes nothing, or bytes that are not UTF-8, stand for themselves.
      break;
    }
  }
  return text;
}

export const PATTERN_HELP = `    /songs/{post}          the part of the path at its place; * is any one part
    /blog/{post*}          the rest of the path, slashes and all
    /watch?v={post}        a parameter
    ^/(?<post>\\d+)-        a regular expression with a group of that name, for the path as it is requested`;

/**
 * @param {string} pattern
 * @param {(why: string) => never} refuse
 * @returns {(address: string) => string | null} a path or a whole URL, with its query; null where it is not of a post
 */
export function postOfAddress(pattern, refuse) {
  if (pattern.startsWith("^")) return byExpression(pattern, refuse);
  const [path, query] = pattern.split("?");
  const parts = partsOf(path);
  const parameter = query === undefined ? null : /^([^=&]+)=\{post\}$/.exec(query)?.[1];
  const places = parts.filter((part) => part === "{post}" || part === "{post*}").length + (parameter ? 1 : 0);
  const isRest = parts.indexOf("{post*}");
  if (!path.startsWith("/") || places !== 1 || parameter === undefined || (isRest !== -1 && isRest !== parts.length - 1)) {
    refuse(`--post ${pattern}: this does not say where in an address the post is.`);
  }
  const literals = parts.map(decoded);
  return (address) => {
    const { path, query } = splitAddress(address);
    const found = partsOf(path);
    if (isRest === -1 ? found.length !== parts.length : found.length < parts.length) return null;
    /** @type {string | null} */
    let post = null;
    for (const [index, literal] of literals.entries()) {
      if (literal === "{post*}") post = found.slice(index).map(decoded).join("/");
      else if (literal === "{post}") post = decoded(found[index]);
      else if (literal !== "*" && literal !== decoded(found[index])) return null;
    }
    if (!parameter) return post;
    const value = new URLSearchParams(query).get(parameter);
    return value === null ? null : decoded(value);
  };
}

function byExpression(pattern, refuse) {
  let expression;
  try {
    expression = new RegExp(pattern, "u");
  } catch (error) {
    refuse(`--post ${pattern}: ${messageOf(error)}`);
  }
  if (!pattern.includes("(?<post>")) refuse(`--post ${pattern}: the group (?<post>…) is missing.`);
  return (address) => {
    const { path, query } = splitAddress(address);
    const post = expression.exec(query ? `${path}?${query}` : path)?.groups?.post;
    return post ? decoded(post) : null;
  };
}

/** @param {string} address */
function splitAddress(address) {
  const [, path, query = ""] = /^(?:[a-z][a-z0-9+.-]*:\/\/[^/?#]*)?([^?#]*)(?:\?([^#]*))?/i.exec(address) ?? ["", ""];
  return { path, query };
}

/** A slash at the end says nothing. @param {string} path */
const partsOf = (path) => path.replace(/\/+$/, "").split("/").slice(1);
