//! The GPU's host code without a GPU: this test program again with `CKAAD_TEST_DEVICE=cuda`, in a process that finds the stand-in
//! for libcuda, `crates/ptxsim-cuda`.

#[path = "../../crates/ptxsim-cuda/tests/common/folder.rs"]
mod folder;

pub use folder::folder;
use std::ops::Range;
use std::process::Command;

/// Seeds of the orders of work to try: so many, or as many as `CKAAD_ORDERS` says.
pub fn orders(usual: u64) -> Range<u64> {
    0..all().unwrap_or(usual)
}

/// How many orders everything is to be run in, hours of work, rather than what a change can wait for.
pub fn all() -> Option<u64> {
    let count = std::env::var("CKAAD_ORDERS").ok()?;
    Some(count.parse().unwrap_or_else(|_| panic!("CKAAD_ORDERS={count}: expected a number")))
}

/// Runs those of this program's tests that `names` chooses (beginnings of names, or `--skip` and one), with work done in the order of a seed. Whatever the
/// stand-in finds fails it, too.
pub fn again(names: &[&str], seed: u64) {
    if std::env::var_os("CKAAD_TEST_DEVICE").is_some() {
        return;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(names).env("CKAAD_TEST_DEVICE", "cuda").env("LD_LIBRARY_PATH", folder());
    let out = command.env("PTXSIM_SCHEDULE", seed.to_string()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (told, wrong) = (text(&out.stdout), text(&out.stderr));
    assert!(out.status.success(), "seed {seed}: {told}{wrong}");
    assert!(!told.contains("running 0 tests"), "{names:?} are no tests");
}
