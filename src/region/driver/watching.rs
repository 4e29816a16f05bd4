//! Watching the global object, for who shows charts over sockets.

use super::Inner;
use crate::host::Host;
use crate::wire::{Look, Refusal, Watch};

/// How long the global object may take.
const LOOK_TIMEOUT_MS: u64 = 10_000;

impl<H: Host> Inner<H> {
    /// From now on the global object tells when charts may have changed, for
    /// [`crate::watchers::LEASE_MS`].
    ///
    /// # Errors
    /// Where it is away, or tells others already, as many as it may.
    pub async fn watch(&self) -> Result<Look, Refusal> {
        let object = self.host.object().clone();
        let (global, question) = (self.global(), Watch { object });
        let look = (self.host).ask_question(&global, &question, LOOK_TIMEOUT_MS);
        look.await.map_err(|error| Refusal::Storage(error.0))?
    }
}
