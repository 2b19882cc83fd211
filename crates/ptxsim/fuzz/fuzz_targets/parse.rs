//! Any text is read or refused; an error names a line of the text. Seeds: `tests/fixtures/fixture.ptx`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = ptxsim::Module::parse("fuzz.ptx", text) {
        assert!(error.line <= text.lines().count().max(1));
        assert!(!error.message.is_empty());
    }
});
