/** By what `serve` limits visitors, for who starts it: behind a proxy, addresses are not what they seem. */

const DEFAULTS = { LIMIT_PER_MINUTE: 600, VOTES_PER_MINUTE: 60 };
const HINT =
  "Behind a proxy all visitors connect from its address: CLIENT_ADDRESS_HEADER and TRUSTED_PROXIES tell them apart (docs/deploy.md).";

/** @param {Record<string, string>} settings as the Worker gets them @returns {string} a line or two */
export function limitsInWords(settings) {
  const requests = Number(settings.LIMIT_PER_MINUTE || DEFAULTS.LIMIT_PER_MINUTE);
  // As src/edge/limits.rs has it.
  const plays = Number(settings.VOTES_PER_MINUTE || (requests === 0 ? 0 : DEFAULTS.VOTES_PER_MINUTE));
  const count = (number) => (number === 0 ? "any number of" : String(number));
  const { TRUSTED_PROXIES: proxies, CLIENT_ADDRESS_HEADER: header } = settings;
  if (requests === 0 && plays === 0) return `Nobody is limited by address: LIMIT_PER_MINUTE is 0.${proxies ? "" : `\n  ${HINT}`}`;
  const limits = `Limits: ${count(requests)} requests and ${count(plays)} plays of a post a minute from one address`;
  return proxies && header ? `${limits}, which ${proxies} say in ${header}.` : `${limits}, the one that connects.\n  ${HINT}`;
}
