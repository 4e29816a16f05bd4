/** Why requests and plays are refused, for the operator's page. */

/** What the codes of problems and of plays that were not counted say of whoever sends or reads. @type {Record<string, string>} */
export const REASONS = {
  too_many_votes:
    "One address plays one post more often than VOTES_PER_MINUTE allows: mostly somebody who games the chart. Behind a proxy, is the service told who a visitor is?",
  timestamp_out_of_range:
    "Plays over a day old without the token, or ahead of the clock: a device with a wrong clock, or a sender that needs the token.",
  rate_limited: "One address comes more often than LIMIT_PER_MINUTE allows.",
  too_many_sockets: "One address holds all the sockets that it may have. Its readers poll meanwhile.",
  too_many_bodies: "One address sends too many large bodies side by side.",
  bot: "Programs that say what they are; their plays do not count.",
  bad_post_id: "An id that is empty, too long, or has characters that nobody sees.",
  unknown_board: "A board that is not made, or that is closed to browsers: PUT /boards makes and opens one.",
  too_many_parts: "A batch for over 24 boards and regions: its sender has to send it in several.",
  unknown_region: "A region that is not made: PUT /regions makes one.",
  region_deleted: "A region that was deleted.",
  unauthorized: "A token that is not valid for what it was shown for.",
  disabled: "A route whose token is not set here.",
  origin_not_allowed: "A page that ALLOWED_ORIGINS does not name.",
  unsupported_media_type: 'A body that does not say it is JSON: with curl, -H "Content-Type: application/json".',
  malformed_body: "A body that is no JSON.",
  malformed_line: "A line of a body that is no JSON.",
  not_found: "Addresses that are none: mostly programs that look for others.",
  key_reused: "One name for two batches: nothing of the second was counted.",
  too_old_to_repeat: "A batch that was repeated for over 15 minutes: the sender drops it.",
  overloaded: "Too much to do at once: a region with more shards, or fewer different charts.",
  unavailable: "An object or its storage was away. Senders repeat; nothing acknowledged is lost.",
  no_good_play: "A request without one play that counts; each has its own reason.",
  count_needs_token: "A count above 1 without INGEST_TOKEN.",
  region_needs_token: "A region named without INGEST_TOKEN: browsers count where they are.",
  too_large: "A body of over 1 MiB, with the token of over 4 MiB: its sender has to send it in several.",
  too_many_plays: "Over 1,000 plays in a request, with the token over 10,000.",
  incomplete_body: "A body that ended early: somebody went away in the middle of it.",
  too_slow: "A body that was not there after 15 s: somebody sends very slowly.",
  method_not_allowed: "A route that is there, asked with another method.",
  no_chart: "A published chart that is not there, or not yet.",
  no_good_post: "A list of posts of which none can be stored; each has its own reason.",
  too_many_posts: "Over 10,000 posts in a request: its sender has to send them in several.",
  too_many_rows: "Too much of an import in a request: `npx hitparade import` sends less at a time.",
  key_required: "A batch for several boards or regions that has no name: it could not be told from its repeat.",
  outcome_unknown: "A batch without a name that may have been counted: with one, its sender can repeat it.",
  unknown_home: "A batch whose region or shards are not known here yet: its sender repeats it.",
  upgrade_required: "/live asked as a page: it is a WebSocket.",
  unhealthy: "/healthz said that plays cannot be taken; the card above says more.",
  not_announced: "Something that every shard has to know first: the same request again.",
  not_confirmed: "A deletion without its `confirm`: nothing was deleted.",
  wrong_installation: "A reset that names another installation: nothing was reset.",
  export_over: "An export that nobody read for too long: begin it again.",
  filter_too_wide: "A filter of more posts than can be looked through: a board of its own is the better way.",
};

/** @param {string} code */
export const meaningOf = (code) =>
  REASONS[code] ??
  (code.startsWith("bad_")
    ? "A value that the interface does not take: the answer says which, and what it may be."
    : "docs/api.md says what it means.");
