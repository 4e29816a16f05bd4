//! The cases in Wasm: what `tests/runtime/bounds.test.mjs` calls. A case that fails traps; what it
//! said is then at [`said`].

// Exporting a function by its name is the only way in; it is not a risk here.
#![allow(unsafe_code)]

mod cases;

use std::cell::RefCell;

thread_local! {
    static SAID: RefCell<String> = RefCell::default();
}

/// Keeps what a panic says.
#[unsafe(no_mangle)]
pub extern "C" fn listen() {
    std::panic::set_hook(Box::new(|panic| SAID.set(panic.to_string())));
}

/// Where the text is that the last panic said, in UTF-8.
#[unsafe(no_mangle)]
pub extern "C" fn said() -> *const u8 {
    SAID.with_borrow(|said| said.as_ptr())
}

/// Its bytes.
#[unsafe(no_mangle)]
pub extern "C" fn said_bytes() -> usize {
    SAID.with_borrow(String::len)
}

/// The bits of a length.
#[unsafe(no_mangle)]
pub extern "C" fn length_bits() -> u32 {
    usize::BITS
}

#[unsafe(no_mangle)]
pub extern "C" fn the_largest_filters_are_folded() {
    cases::the_largest_filters_are_folded();
}

#[unsafe(no_mangle)]
pub extern "C" fn filters_of_any_sizes_are_folded_together() {
    cases::filters_of_any_sizes_are_folded_together();
}

#[unsafe(no_mangle)]
pub extern "C" fn a_large_exact_pane_is_cut_to_nearly_what_it_may_take() {
    cases::a_large_exact_pane_is_cut_to_nearly_what_it_may_take();
}
