//! Reading a body: at most so many bytes, in at most so long.

use futures_util::StreamExt;

use super::problem::Problem;
use super::request::Call;
use crate::http::{Coding, UnpackError, coding};
use crate::platform::{memory_is_short, whole_body, within};

/// A body that is not complete by then is given up.
pub const DEADLINE_MS: u64 = 15_000;

/// Of a body that is too large, so much is read before it is refused.
const DRAIN_BYTES: usize = 16 << 20;

/// The whole body, unpacked.
///
/// # Errors
/// 413 over the limit, packed or unpacked; 408 past the deadline, 400 where the sender broke off or
/// what it sent cannot be unpacked, 415 for a coding that is not known, 503 where memory is short.
pub async fn read(call: &Call, max_bytes: usize) -> Result<Vec<u8>, Problem> {
    let reading = within(DEADLINE_MS, read_all(call, max_bytes));
    reading.await.unwrap_or_else(|| Err(too_slow()))
}

/// As [`read`], for a caller that keeps the deadline itself.
///
/// # Errors
/// As [`read`].
pub async fn read_all(call: &Call, max_bytes: usize) -> Result<Vec<u8>, Problem> {
    let coding = coding(call.seen.content_encoding.as_deref()).map_err(unknown_coding)?;
    let announced = call.seen.content_length.as_deref();
    let announced = announced.and_then(|length| length.parse::<usize>().ok());
    if let Some(length) = announced.filter(|length| *length > max_bytes) {
        if length <= DRAIN_BYTES {
            within(DEADLINE_MS, drain(call)).await;
        }
        return Err(too_large(max_bytes));
    }
    let packed_bytes = announced.unwrap_or(max_bytes);
    // What a packed body holds is known in the end only.
    let unpacked_bytes = coding.map_or(0, |_| max_bytes);
    if memory_is_short(2 * packed_bytes + unpacked_bytes) {
        return Err(Problem::busy(
            "overloaded",
            1,
            "too much to do at once; try again",
        ));
    }
    let bytes = received(call, announced.is_some(), max_bytes).await?;
    let Some(coding) = coding else {
        return Ok(bytes);
    };
    coding
        .unpack(&bytes, max_bytes)
        .map_err(|error| match error {
            UnpackError::TooLarge => too_large(max_bytes),
            UnpackError::Broken => not_packed(coding),
        })
}

/// The body as it was sent.
async fn received(call: &Call, is_announced: bool, max_bytes: usize) -> Result<Vec<u8>, Problem> {
    let broken = |_| Problem::bad("incomplete_body", "the body broke off");
    if is_announced {
        // The runtime holds senders to the length that they announced.
        return whole_body(call.raw()).await.map_err(broken);
    }
    if call.raw().body().is_none() {
        return Ok(Vec::new());
    }
    let mut stream = call.request().stream().map_err(broken)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend(chunk.map_err(broken)?);
        if bytes.len() > max_bytes {
            return Err(too_large(max_bytes));
        }
    }
    Ok(bytes)
}

fn unknown_coding(detail: String) -> Problem {
    let mut problem = Problem::new(415, "unsupported_media_type", detail);
    let accepted = Coding::ACCEPTED.to_owned();
    problem.headers.push(("Accept-Encoding", accepted));
    problem
}

fn not_packed(coding: Coding) -> Problem {
    let name = coding.name();
    let detail = format!("Content-Encoding says {name}, and the body is none, or not all of it");
    Problem::bad("malformed_body", detail)
}

pub fn too_slow() -> Problem {
    let detail = "the body was not complete after 15 seconds";
    Problem::new(408, "too_slow", detail)
}

/// Reads to the end and keeps nothing: most senders look for an answer only after they have sent
/// everything, and see a broken connection instead of the reason where nobody listens.
async fn drain(call: &Call) {
    if let Ok(mut stream) = call.request().stream() {
        while let Some(Ok(_)) = stream.next().await {}
    }
}

fn too_large(max_bytes: usize) -> Problem {
    let detail = format!("a body has at most {max_bytes} bytes here; send fewer plays at once");
    Problem::new(413, "too_large", detail)
}
