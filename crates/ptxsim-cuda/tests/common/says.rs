//! Programs that are to say the same in whatever order work is done.

use super::common::{run, text};

/// Runs a program in several orders: it says these lines, and nothing else is found than `found`.
#[track_caller]
pub fn says(name: &str, lines: &[&str], found: Option<&str>) {
    for seed in ["0", "1", "2", "3"] {
        let out = run(name, &[("PTXSIM_SCHEDULE", seed)]);
        let (said, told) = (text(&out.stdout), text(&out.stderr));
        let mut rest = said.as_str();
        for line in lines {
            let at = rest.find(line).unwrap_or_else(|| panic!("{name}, seed {seed}: no {line:?} in {said}{told}"));
            rest = &rest[at + line.len()..];
        }
        match found {
            None => assert!(out.status.success(), "{name}, seed {seed}: {said}{told}"),
            Some(found) => assert!(told.contains(found), "{name}, seed {seed}: {said}{told}"),
        }
    }
}
