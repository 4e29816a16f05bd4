/**
 * What the service behind these pages can do beyond charts by views: the pages offer nothing else.
 * `live` is the socket `/live`; the others are values of `sort`.
 *
 * @type {Set<'live' | 'rising' | 'distinctive'>}
 */
export const SERVES = new Set(["live", "rising", "distinctive"]);
