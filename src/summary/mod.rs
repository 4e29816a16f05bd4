//! Filtered Space-Saving.
