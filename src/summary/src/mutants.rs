//! A mistake to make on command: what proves that tests would find it.
//!
//! Only with the feature `testing`; otherwise the question is answered with a constant and compiles
//! to nothing.

#[cfg(feature = "testing")]
mod switch {
    use std::cell::Cell;

    thread_local! {
        static TRUNCATION_FORGETS: Cell<bool> = const { Cell::new(false) };
    }

    /// From now on in this thread, what a merge drops for want of room leaves no trace.
    pub fn set_truncation_forgets(forgets: bool) {
        TRUNCATION_FORGETS.set(forgets);
    }

    pub(crate) fn truncation_forgets() -> bool {
        TRUNCATION_FORGETS.get()
    }
}

#[cfg(feature = "testing")]
pub use switch::set_truncation_forgets;
#[cfg(feature = "testing")]
pub(crate) use switch::truncation_forgets;

/// Whether the mistake is to be made: never.
#[cfg(not(feature = "testing"))]
pub(crate) const fn truncation_forgets() -> bool {
    false
}
