//! Programs that run on the stand-in: this very test program again, in a process of its own that finds the library as
//! `libcuda.so.1`.

mod folder;

use folder::folder;
use std::process::{Child, Command, Output, Stdio};

/// Names the program that a process is to be.
pub const PROGRAM: &str = "PTXSIM_TEST_PROGRAM";

/// Runs one of this test's programs.
pub fn run(program: &str, environment: &[(&str, &str)]) -> Output {
    run_with(program, environment, |_| ())
}

/// The same with what else its process is to have.
pub fn run_with(program: &str, environment: &[(&str, &str)], more: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["program", "--exact", "--nocapture"]).env(PROGRAM, program).env("LD_LIBRARY_PATH", folder());
    command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    more(&mut command);
    command.spawn().and_then(Child::wait_with_output).unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
