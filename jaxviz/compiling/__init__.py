"""How functions are compiled and run fast, without the model or the method knowing about it.

A method traces its function and compiles it with `jit`, over many items by `batches`; how it is computed is a value,
`execution`. Two edits are made to a traced function: `one_channel` narrows a score to the channel that it reads, before
differentiation, and `rewrite` replaces what XLA:CPU computes slowly, after it: convolutions by `winograd`, `taps` and
`grouped`, products by `products`, pools by `pools`. Taps, groups and pools are sums of shifted arrays, which `phases`
keeps free of a stride's zeros. `one_window` recomputes only the part of a network that sees a changed window of the
image; its geometry is in `patch`.
All of them are rules for the interpreter in `jaxprs`, which takes everything that it knows about the inside of JAX from
`workarounds`. `remembered` keeps what was found in the program of a model, `cache` keeps compiled programs from one
process to the next, `interrupts` holds Ctrl-C back during a compilation, and `garbage` holds Python's garbage collector
back while `jit` traces a function. `draws` has the few programs that random keys need. `xla` only keeps old names
importable.
"""
