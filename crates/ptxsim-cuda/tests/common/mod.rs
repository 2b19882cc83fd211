//! Programs that run on the stand-in: this very test program again, in a process of its own that finds the library as
//! `libcuda.so.1`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Names the program that a process is to be.
pub const PROGRAM: &str = "PTXSIM_TEST_PROGRAM";

/// A folder in which the library has the driver's name.
pub fn folder() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let library = here.parent().unwrap().join("libptxsim_cuda.so");
    assert!(library.exists(), "{} is built with this test", library.display());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stand-in-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["libcuda.so", "libcuda.so.1"] {
        let link = folder.join(name);
        if !link.exists() {
            // Another thread of this process may have been first.
            let _ = std::os::unix::fs::symlink(&library, &link);
        }
    }
    folder
}

/// Runs one of this test's programs.
pub fn run(program: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["program", "--exact", "--nocapture"]).env(PROGRAM, program).env("LD_LIBRARY_PATH", folder());
    command.envs(environment.iter().copied()).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
