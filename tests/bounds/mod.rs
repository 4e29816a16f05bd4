//! The cases natively. In Wasm they run from `tests/runtime/bounds.test.mjs`.

mod cases;

#[test]
fn the_largest_filters_are_folded() {
    cases::the_largest_filters_are_folded();
}

#[test]
fn filters_of_any_sizes_are_folded_together() {
    cases::filters_of_any_sizes_are_folded_together();
}

#[test]
fn a_large_exact_pane_is_cut_to_nearly_what_it_may_take() {
    cases::a_large_exact_pane_is_cut_to_nearly_what_it_may_take();
}
