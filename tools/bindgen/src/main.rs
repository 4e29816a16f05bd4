//! `bindgen IN.wasm DIR`: writes `DIR/index.js`, which imports and exports what the Rust code says,
//! and `DIR/index_bg.wasm`, which it belongs to.

use std::env;
use std::error::Error;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<_> = env::args_os().skip(1).collect();
    let [input, folder] = paths.as_slice() else {
        return Err("usage: bindgen IN.wasm DIR".into());
    };
    Bindgen::new()
        .input_path(input)
        .out_name("index")
        .typescript(false)
        // The names of functions are 8 % of what is uploaded. A panic says file and line without them.
        .remove_name_section(true)
        .remove_producers_section(true)
        // src/js/instance.js starts the module, and makes the instance anew after a panic.
        .web(true)?
        .reset_state_function(true)
        .generate(folder)?;
    Ok(())
}
