//! What can be read can be run: to its end, or to a fault, within its instruction budget. Parameters are addresses of a
//! small allocation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ptxsim::{Launch, Memory, Module, Options};

fuzz_target!(|text: &str| {
    let Ok(module) = Module::parse("fuzz.ptx", text) else { return };
    let mut memory = Memory::new(1 << 20);
    let Ok(address) = memory.alloc(4096) else { return };
    if memory.write(address, &[1; 2048]).is_err() {
        return;
    }
    for kernel in module.kernels() {
        let params: Vec<u8> = address.to_le_bytes().into_iter().cycle().take(kernel.params_size).collect();
        let block = kernel.required_block.unwrap_or([kernel.max_threads.unwrap_or(64).clamp(1, 64), 1, 1]);
        let launch =
            Launch { entry: &kernel.name, grid: [2, 1, 1], block, dynamic_shared: 256, params: &params, buffers: None };
        let options = Options { threads: 1, instructions: Some(20_000), ..Options::default() };
        if let Err(fault) = module.launch(&memory, &launch, &options) {
            assert!(!fault.to_string().is_empty());
        }
    }
});
