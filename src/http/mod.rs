//! What headers and queries say. Which form a reader wants, whether it has it already, how a body
//! is written, and which parameter was meant: as far as it can be decided without a request.

mod agent;
mod body;
mod conditional;
mod negotiation;
mod parameters;

pub use agent::is_bot;
pub use body::{Coding, UnpackError, announces_lines, coding};
pub use conditional::lists_etag;
pub use negotiation::format_of;
pub use parameters::{Misnamed, misnamed};

/// The type and subtype of a media type, in small letters, without its parameters.
fn essence(media_type: &str) -> String {
    let end = media_type.find(';').unwrap_or(media_type.len());
    let essence = media_type.get(..end).unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}
