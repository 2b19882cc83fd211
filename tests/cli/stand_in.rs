//! `--device cuda` on the stand-in for libcuda (`crates/ptxsim-cuda`): the GPU's own host code, as it runs on a card.

use crate::common::stand_in::{folder as driver, orders};
use crate::support::*;
use std::collections::BTreeMap;
use std::process::Command;

/// The program on a machine with such cards.
fn with_card(args: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = command(args);
    command.env("LD_LIBRARY_PATH", driver()).envs(environment.iter().copied());
    command
}

/// Flags of the smallest scoring there is.
fn scoring(pictures: &str) -> [&str; 10] {
    ["score", "--model", text(model()), "--format", "json", "--device", "cuda", "--precision", "f32", pictures]
}

#[test]
fn cards_are_listed_as_they_are() {
    let listed =
        |cards, version| run(with_card(&["devices"], &[("PTXSIM_CARD", cards), ("PTXSIM_DRIVER", version)])).ok().out;
    let two = listed("h200,4090", "12.9");
    assert!(two.contains("cuda:0  NVIDIA H200 (ptxsim), compute capability 9.0, 132 multiprocessors"), "{two}");
    assert!(two.contains("cuda:1  NVIDIA GeForce RTX 4090 (ptxsim), compute capability 8.9"), "{two}");
    let old = listed("a100", "11.8");
    assert!(old.contains("the NVIDIA driver supports CUDA 11.8, this program needs 12.1"), "{old}");
}

/// The same kernels run by the same emulator, cut for more multiprocessors than those of `--device sim`: scores differ by what they do
/// between batch sizes, and not at all between orders of work.
#[test]
fn scores_are_the_emulators_in_any_order() {
    let pictures = full().join("test/good");
    let args = scoring(text(&pictures));
    let scores = |run: Run| -> Vec<f64> { run.ok().json().iter().map(|l| l["score"].as_f64().unwrap()).collect() };
    let expected = scores(ckaad(&args.map(|a| if a == "cuda" { "sim" } else { a })));
    let in_order = |seed: u64| scores(run(with_card(&args, &[("PTXSIM_SCHEDULE", &seed.to_string())])));
    let found = in_order(0);
    assert!(expected.len() > 1 && found.len() == expected.len());
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() <= 2e-6 * b, "{a} instead of {b}");
    }
    for seed in orders(20).skip(1) {
        assert_eq!(in_order(seed), found, "seed {seed}");
    }
}

/// The oldest driver that is accepted lacks the functions that came after it, and training needs none of them.
#[test]
fn the_oldest_driver_suffices() {
    let dir = folder();
    let mut command = training(full(), &dir.path().join("m.safetensors"), "--strategy ckapatch --device cuda");
    command.env("LD_LIBRARY_PATH", driver()).env("PTXSIM_DRIVER", "12.1");
    run(command).ok();
    let pictures = full().join("test/good");
    run(with_card(&scoring(text(&pictures)), &[("PTXSIM_DRIVER", "12.1")])).ok();
}

/// Training, too, in three orders: the model file has the same bytes.
#[test]
fn models_are_the_same_in_any_order() {
    let dir = folder();
    let models: Vec<Vec<u8>> = orders(3)
        .map(|seed| {
            let out = dir.path().join(format!("{seed}.safetensors"));
            let mut command = training(full(), &out, "--strategy ckapatch --epochs 1 --device cuda");
            command.env("LD_LIBRARY_PATH", driver()).env("PTXSIM_SCHEDULE", seed.to_string());
            run(command).ok();
            std::fs::read(out).unwrap()
        })
        .collect();
    assert!(models.iter().all(|m| *m == models[0]));
}

/// How often a command calls each function of the driver, and what it prints.
fn calls(args: &[&str]) -> (BTreeMap<String, usize>, String) {
    let dir = folder();
    let path = dir.path().join("calls");
    let told = run(with_card(args, &[("PTXSIM_CALLS", text(&path))])).ok().out;
    let line = |line: &str| line.split_once(' ').map(|(name, n)| (name.to_string(), n.parse().unwrap()));
    (std::fs::read_to_string(&path).unwrap().lines().filter_map(line).collect(), told)
}

/// What gives something back may fail: by then the work is done. (Cards are counted and asked about once more than is needed.)
fn may_fail(name: &str) -> bool {
    ["Free", "Destroy", "cuDevice", "cuDriver", "cuInit"].iter().any(|part| name.contains(part))
}

/// Each function of the driver fails once, in its first call, one in the middle and, in scoring, its last: in scoring of several batches,
/// which copies beside its work, and in training. It is told, or nothing has come of it; nothing hangs, and what was there before is left
/// alone. The stand-in would report what is not given back.
#[test]
fn every_call_that_fails_is_told() {
    let dir = folder();
    let out = dir.path().join("m.safetensors");
    train(full(), &out, "--strategy recon --epochs 1 --device cpu").ok();
    let before = std::fs::read(&out).unwrap();
    let pictures = full().join("test/good");
    let scoring = [&scoring(text(&pictures))[..], &["--batch-size", "1"]].concat();
    let data = text(full());
    let small = "--weights random --image-size 32 --layers 1,2 --batch-size 4 --epochs 1 --strategy recon --device cuda --force";
    let training: Vec<&str> =
        ["train", "--data", data, "--out", text(&out)].into_iter().chain(small.split(' ')).collect();
    for (args, most, least) in [(&scoring, 3, 40), (&training, 2, 25)] {
        let (all, usual) = calls(args);
        assert!(all.len() > 25, "{all:?}");
        // The command that is counted has trained a model in place of the first.
        let written = std::fs::read(&out).unwrap();
        std::fs::write(&out, &before).unwrap();
        let mut refused = 0;
        for (name, count) in &all {
            let mut some = vec![1, count.div_ceil(2), *count];
            some.dedup();
            for call in some.into_iter().take(most) {
                let fail = format!("{name}:{call}");
                let run = run(with_card(args, &[("PTXSIM_FAIL", &fail)]));
                match run.code {
                    Some(0) => {
                        assert!(may_fail(name) || call == *count, "{fail} is not told: {run:?}");
                        assert_eq!(run.out, usual, "{fail}");
                        assert!(std::fs::read(&out).unwrap() == written, "{fail}: another model was trained");
                        std::fs::write(&out, &before).unwrap();
                    }
                    Some(2) => {
                        refused += 1;
                        assert!(run.err.contains("cuda:0") && run.err.contains("CUDA_ERROR"), "{fail}: {run:?}");
                        assert!(
                            std::fs::read(&out).unwrap() == before,
                            "{fail}: the model that was there is another one"
                        );
                    }
                    _ => panic!("{fail}: {run:?}"),
                }
            }
        }
        assert!(refused > least, "{refused} were told");
    }
}

/// The same of what only measuring calls: events that tell the time.
#[test]
fn every_call_of_measuring_that_fails_is_told() {
    let kernels = "bench kernels --layers 1 --image-size 32 --repetitions 1 --device cuda --precision tf32";
    let kernels: Vec<&str> = kernels.split(' ').collect();
    let pictures = full().join("test/good");
    let (scoring, _) = calls(&scoring(text(&pictures)));
    let (all, _) = calls(&kernels);
    let own: Vec<&String> = all.keys().filter(|name| !scoring.contains_key(*name)).collect();
    assert!(own.iter().any(|name| name.contains("EventElapsedTime")), "{own:?}");
    for name in own {
        let run = run(with_card(&kernels, &[("PTXSIM_FAIL", &format!("{name}:1"))]));
        run.fails(2, &["cuda:0", "CUDA_ERROR"]);
    }
}

/// A folder with a libcuda of these few functions.
fn library(source: &str) -> tempfile::TempDir {
    let dir = folder();
    let c = dir.path().join("cuda.c");
    std::fs::write(&c, source).unwrap();
    let library = dir.path().join("libcuda.so");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o", text(&library), text(&c)]).status().unwrap();
    assert!(made.success());
    dir
}

/// A driver may be newer than any list of error codes, and older than the functions we know.
#[test]
fn drivers_that_answer_the_unknown() {
    let devices = |source| {
        let dir = library(source);
        let mut command = command(&["devices"]);
        command.env("LD_LIBRARY_PATH", dir.path());
        run(command).ok().out
    };
    let unknown = devices("int cuInit(unsigned flags) { return 12345; }");
    assert!(unknown.contains("starting the NVIDIA driver: error 12345"), "{unknown}");
    let explained = devices(
        "int cuInit(unsigned flags) { return 12345; }
         int cuGetErrorName(int code, const char **name) { *name = \"CUDA_ERROR_OF_THE_FUTURE\"; return 0; }
         int cuGetErrorString(int code, const char **text) { *text = \"not yet\"; return 0; }",
    );
    assert!(explained.contains("starting the NVIDIA driver: CUDA_ERROR_OF_THE_FUTURE: not yet"), "{explained}");
    let old = devices("int cuInit(unsigned flags) { return 0; }");
    assert!(old.contains("the driver has no cuDriverGetVersion: install a newer one"), "{old}");
}
