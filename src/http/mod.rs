//! Reads headers, queries and bodies, and makes the text of answers: everything of HTTP that needs no request
//! object of the platform.

mod agent;
mod body;
mod catalog;
mod chart_query;
mod conditional;
mod cors;
mod counters;
mod export_lines;
mod exposition;
mod fields;
mod files;
mod hex;
mod method;
mod metrics;
mod negotiation;
mod parameters;
mod problem;
mod published;
mod query;
mod tokens;

pub use agent::is_bot;
pub use body::{Coding, UnpackError, announces_lines, coding};
pub use catalog::{
    elements, entry_json, given, list_page, merged, page_json, read_post, read_post_of,
};
pub use chart_query::{ChartQuery, Clocks};
pub use conditional::lists_etag;
pub use cors::{Cors, Origins};
pub use counters::{Counters, Source};
pub use export_lines::{end_line, head_line, line_of, push_line, read_lines};
pub use fields::Fields;
pub use files::{cache_control, content_type, has_version, page_policy};
pub use hex::{hex, read_hex};
pub use method::{Method, method_list};
pub use metrics::{MetricsInput, metrics_text};
pub use negotiation::{format_asked, format_of};
pub use parameters::{Misnamed, misnamed};
pub use problem::Problem;
pub use published::{
    Feed, Leaf, PageHead, PageNames, chart_asked, feed_asked, feed_text, list_asked, next_address,
    origin_of, published_list, read_kind, read_leaf, wants_page,
};
pub use query::{Query, decoded, path_of};
pub use tokens::{bearer, is_one_of};

/// The type and subtype of a media type, in small letters, without its parameters.
fn essence(media_type: &str) -> String {
    let end = media_type.find(';').unwrap_or(media_type.len());
    let essence = media_type.get(..end).unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}
