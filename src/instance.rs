//! The instance of Wasm in which the Worker and all objects of an isolate live: its memory, its name, its
//! end.

use std::cell::{Cell, RefCell};

use js_sys::Uint8Array;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::clock::now_ms;
use crate::play::MAX_BODY_BYTES;
use crate::wire::InstanceMetrics;

#[wasm_bindgen(module = "/src/js/instance.js")]
extern "C" {
    fn end();

    /// To be called after a call back into Wasm whose errors were caught: does not return where that
    /// was a panic.
    #[wasm_bindgen(js_name = goOn)]
    pub fn go_on();
}

/// What an instance does first. A panic ends it: nothing may run in it any more.
#[wasm_bindgen(start, private)]
fn start() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        tell(info);
        end();
    }));
}

/// What all objects of an instance may hold together. The platform ends one at 128 MiB, and its
/// memory never shrinks: room is left for what is under way when the budget is reached.
const INSTANCE_BYTES: usize = 96 << 20;

#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);

/// Bytes that are in use in this instance.
fn allocated_bytes() -> usize {
    ALLOCATOR.allocated()
}

/// Bytes of this instance's memory, which never shrinks.
fn wasm_memory_bytes() -> usize {
    core::arch::wasm32::memory_size::<0>() << 16
}

/// A random name of this instance of Wasm, and when it was first asked for. A panic ends an
/// instance; the next one has another name.
pub fn instance() -> (u64, u64) {
    INSTANCE.get().unwrap_or_else(|| {
        let instance = (u64::from_be_bytes(random_bytes()), now_ms());
        INSTANCE.set(Some(instance));
        instance
    })
}

thread_local! {
    static INSTANCE: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

/// This instance, for the operator.
pub fn instance_metrics() -> InstanceMetrics {
    let (id, started_ms) = instance();
    InstanceMetrics {
        id,
        started_ms,
        memory_bytes: wasm_memory_bytes() as u64,
        allocated_bytes: allocated_bytes() as u64,
    }
}

thread_local! {
    /// What gives up what could be had again.
    static GIVE_UP: RefCell<Vec<Box<dyn Fn()>>> = const { RefCell::new(Vec::new()) };
}

/// Where memory is short, this is asked to give up what could be had again, before anybody is refused.
pub fn when_memory_is_short(give_up: impl Fn() + 'static) {
    GIVE_UP.with_borrow_mut(|all| all.push(Box::new(give_up)));
}

/// Whether `more` bytes would pass the budget, though everything was given up that could be had again: then
/// the answer is to come back later.
pub fn memory_is_short(more: usize) -> bool {
    let is_short = || allocated_bytes().saturating_add(more) > INSTANCE_BYTES;
    is_short() && {
        GIVE_UP.with_borrow(|all| all.iter().for_each(|give_up| give_up()));
        is_short()
    }
}

/// Whether memory is short for the largest body that anybody may send: plays are refused.
#[wasm_bindgen(js_name = memoryIsSpent)]
pub fn memory_is_spent() -> bool {
    memory_is_short(2 * MAX_BODY_BYTES)
}

/// Random bytes of the platform. All zero where it has none, which no platform of ours is.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let bytes = Uint8Array::new_with_length(N as u32);
    let global = js_sys::global();
    let crypto = js_sys::Reflect::get(&global, &"crypto".into());
    if let Some(crypto) = crypto
        .ok()
        .and_then(|crypto| crypto.dyn_into::<web_sys::Crypto>().ok())
    {
        let _ = crypto.get_random_values_with_js_u8_array(&bytes);
    }
    let mut random = [0; N];
    bytes.copy_to(&mut random);
    random
}
