/**
 * The bounds of every id of panes as large as they get, in Wasm as in the Worker: a length has 32 bits
 * there. The cases are in tests/bounds/cases.rs, and run natively too.
 */
import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { buildExample, instantiate } from "../../scripts/lib/wasm-example.mjs";

describe("where a length has 32 bits", () => {
  let module;
  before(async () => {
    module = await buildExample("bounds_wasm");
    assert.equal(instantiate(module).length_bits(), 32);
  });

  it("the largest filters are folded", () => run("the_largest_filters_are_folded"));
  it("filters of any sizes are folded together", () => run("filters_of_any_sizes_are_folded_together"));
  it("a large exact pane is cut to nearly what it may take", () => run("a_large_exact_pane_is_cut_to_nearly_what_it_may_take"));

  function run(name) {
    const { memory, listen, said, said_bytes, [name]: check } = instantiate(module);
    listen();
    try {
      check();
    } catch (error) {
      assert.fail(new TextDecoder().decode(new Uint8Array(memory.buffer, said(), said_bytes())) || error);
    }
  }
});
