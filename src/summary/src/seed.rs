//! The secret that keys the summary's hash.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

/// The 128-bit secret of an installation. Whoever does not know it cannot make ids collide.
///
/// Summaries with equal seeds put an id into the same cell of their filters, so their filters
/// merge cell by cell. A stored summary carries only the seed's [`id`](Seed::id).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 16]);

impl Seed {
    /// Takes 16 random bytes as the seed.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes, to be stored where only the installation reads them.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// What an encoding stores to tell seeds apart: a keyed hash of a constant, from which
    /// the seed cannot be computed.
    pub fn id(&self) -> u64 {
        self.keyed(b"hitparade summary seed id", 0)
    }

    /// The `at`th number that follows from the seed and tells nothing about the others.
    pub(super) fn derive(&self, at: u32) -> u64 {
        self.keyed(b"hitparade summary hash key", at)
    }

    fn keyed(&self, label: &[u8], at: u32) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(label);
        hasher.write(&at.to_le_bytes());
        hasher.finish()
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Seed(id {:016x})", self.id())
    }
}
