//! Reading a body: at most so many bytes, in at most so long.

use futures_util::StreamExt;

use super::problem::Problem;
use super::request::Call;
use crate::platform::within;

/// A body that is not complete by then is given up.
const DEADLINE_MS: u64 = 15_000;

/// The whole body.
///
/// # Errors
/// 413 over the limit, 408 past the deadline, 400 where the sender broke off.
pub async fn read(call: &mut Call, max_bytes: usize) -> Result<Vec<u8>, Problem> {
    let announced = call.header("Content-Length");
    let announced = announced.and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max_bytes) {
        return Err(too_large(max_bytes));
    }
    let broken = |_| Problem::bad("incomplete_body", "the body broke off");
    let reading = async {
        if announced.is_some() {
            // The runtime holds senders to the length that they announced.
            return call.request.bytes().await.map_err(broken);
        }
        if call.request.inner().body().is_none() {
            return Ok(Vec::new());
        }
        let mut stream = call.request.stream().map_err(broken)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend(chunk.map_err(broken)?);
            if bytes.len() > max_bytes {
                return Err(too_large(max_bytes));
            }
        }
        Ok(bytes)
    };
    within(DEADLINE_MS, reading).await.unwrap_or_else(|| {
        let detail = "the body was not complete after 15 seconds";
        Err(Problem::new(408, "too_slow", detail))
    })
}

fn too_large(max_bytes: usize) -> Problem {
    let detail = format!("a body has at most {max_bytes} bytes here; send fewer plays at once");
    Problem::new(413, "too_large", detail)
}
