//! Where a program finds the library as `libcuda.so.1`. Other packages' tests include this file, too: a package that depends on this
//! one for its tests has the library built beside them.

use std::path::{Path, PathBuf};

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
