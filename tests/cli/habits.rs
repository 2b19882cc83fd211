//! What every program of a shell does: quiet, verbose, colours, completions, manual pages.

use crate::support::*;

#[test]
fn quiet_and_verbose() {
    let dir = folder();
    let picture = full().join("test/good/000.png");
    let run = |more: &[&str]| ckaad(&[&["score", "--model", text(model()), text(&picture)], more].concat()).ok();
    let usual = run(&[]);
    assert!(usual.err.contains("computing on the CPU"), "{usual:?}");
    let quiet = run(&["-q"]);
    assert_eq!((&quiet.err[..], &quiet.out), ("", &usual.out));
    let verbose = run(&["--verbose"]);
    assert!(verbose.err.contains("threads 1") && verbose.err.contains("took "), "{verbose:?}");
    // Errors are told in any case.
    ckaad(&["-q", "score", "--model", "nowhere", "x"]).fails(2, &["nowhere"]);
    ckaad(&["-q", "-v", "devices"]).fails(2, &["--quiet"]);
    // Nothing is computed on any device where there is nothing to compute.
    let own = own_model(&dir);
    assert_eq!(ckaad(&["threshold", "--model", text(&own), "--value", "0.5"]).ok().err, "");
    assert_eq!(ckaad(&["info", text(&own)]).ok().err, "");
}

#[test]
fn colours_only_where_they_are_seen() {
    let picture = full().join("test/hole/000.png");
    let args = ["score", "--model", text(model()), "--threshold", "0", text(&picture), "--color"];
    let run = |when: &str| ckaad(&[&args[..], &[when]].concat()).ok().out;
    assert!(run("always").contains("\u{1b}["));
    let plain = run("auto");
    assert!(plain.contains("  ANOMALOUS  ") && !plain.contains('\u{1b}'));
    assert_eq!(run("never"), plain);
}

#[test]
fn completions_and_manual_pages() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = ckaad(&["completions", shell]).ok().out;
        assert!(script.contains("ckaad") && script.contains("max-false-alarms"), "{shell}");
    }
    assert!(ckaad(&["man"]).ok().out.contains(".TH"));
    let dir = folder();
    ckaad(&["man", "--out", text(dir.path())]).ok();
    for page in ["ckaad.1", "ckaad-train.1", "ckaad-weights-fetch.1"] {
        let page = std::fs::read_to_string(dir.path().join(page)).unwrap_or_else(|e| panic!("{page}: {e}"));
        assert!(page.contains(".SH"));
    }
}

/// What people download, 5.6 MB of it a backbone and 3.1 MB the server. With line numbers (`--profile profiling`) it is five times as large.
#[cfg(not(debug_assertions))]
#[test]
fn the_program_is_small() {
    let bytes = std::fs::metadata(env!("CARGO_BIN_EXE_ckaad")).unwrap().len();
    assert!(bytes < 39_500_000, "{bytes} bytes");
}

/// Examples are there to be copied, and prose is wrapped by the width of the terminal alone.
#[test]
fn help_is_wrapped_once() {
    for command in [
        "",
        "train",
        "eval",
        "score",
        "serve",
        "threshold",
        "info",
        "export",
        "plan",
        "tune",
        "gradcheck",
        "demo",
        "devices",
    ]
    .into_iter()
    .chain(["experiment", "demo theorems", "data check", "data split", "weights inspect", "weights fetch", "bench"])
    .chain([
        "bench score",
        "bench train",
        "bench kernels",
        "completions",
        "man",
        "pretrain",
        "weights list",
        "watch",
        "doctor",
    ]) {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let help = ckaad(&args).ok().out;
        let (_, after) =
            help.rsplit_once("\n  -V, --version").or(help.rsplit_once("[default: all]\n")).unwrap_or(("", &help));
        let lines: Vec<&str> = after.lines().collect();
        for (line, next) in lines.windows(2).map(|w| (w[0], w[1])) {
            // A line that was broken before its word would fit, and whose next one is prose, was wrapped twice.
            let prose = |l: &str| !l.is_empty() && !l.starts_with(' ') && !l.ends_with(':');
            let word = next.split(' ').next().unwrap_or_default();
            let breaks_early = line.len() + 1 + word.len() <= 100;
            let sentence = line.ends_with(['.', ';', ')']);
            assert!(!(prose(line) && prose(next) && breaks_early && !sentence), "{command}: {line}\n{next}");
            assert!(line.len() <= 100, "{command}: {line}");
        }
        let examples = after.lines().skip_while(|l| !l.starts_with("Examples:")).skip(1).take_while(|l| !l.is_empty());
        examples.for_each(|line| assert!(line.starts_with("  "), "{command}: an example was broken before {line}"));
    }
}
