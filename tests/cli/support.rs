//! What the tests share: the datasets, a trained model, and the program with its output in hand.

use ckaad::data::synthetic::{Spec, generate};
use ckaad::weights::Archive;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use tempfile::TempDir;

/// What a run of the program left behind.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Run {
    #[track_caller]
    pub fn ok(self) -> Run {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// It failed with `code` and one line on standard error that holds all of `words`.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> Run {
        assert_eq!(self.code, Some(code), "{self:?}");
        let first = self.err.lines().find(|l| l.contains("error: ")).unwrap_or_else(|| panic!("no error: {self:?}"));
        // The argument parser adds a usage hint to its own errors; those of this program are one line.
        assert!(!first.starts_with("ckaad") || self.err.trim_end().ends_with(first), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "no \"{word}\" in {self:?}");
        }
        self
    }

    pub fn lines(&self) -> Vec<&str> {
        self.out.lines().collect()
    }

    #[track_caller]
    pub fn json(&self) -> Vec<Value> {
        self.out.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
    }
}

/// The program on one thread, nothing on standard input.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckaad"));
    // Model files tell when they were written: here all at once, so that equal ones have equal bytes.
    command.env("SOURCE_DATE_EPOCH", "0");
    command.args(args).args(["--threads", "1"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn run(mut command: Command) -> Run {
    let out = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: out.status.code(), out: text(out.stdout), err: text(out.stderr) }
}

pub fn ckaad(args: &[&str]) -> Run {
    run(command(args))
}

/// `ckaad train` with small settings, which flags in `more` (separated by blanks) replace.
pub fn training(data: &Path, out: &Path, more: &str) -> Command {
    let more: Vec<&str> = more.split_whitespace().collect();
    let mut args = vec!["train", "--data", text(data), "--out", text(out)];
    let small = [
        ("--weights", "random"),
        ("--image-size", "32"),
        ("--layers", "1,2"),
        ("--batch-size", "4"),
        ("--epochs", "1"),
        ("--strategy", "recon"),
    ];
    for (flag, value) in small {
        if !more.contains(&flag) {
            args.extend([flag, value]);
        }
    }
    args.extend(more);
    command(&args)
}

pub fn train(data: &Path, out: &Path, more: &str) -> Run {
    run(training(data, out, more))
}

#[track_caller]
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Made once for all tests of a run, in a place of their own under `target`.
struct Shared {
    full: PathBuf,
    plain: PathBuf,
    model: PathBuf,
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_CRATE_NAME"));
    let _ = std::fs::remove_dir_all(&root);
    let spec = Spec { size: 64, train_good: 9, train_anomalous: 3, test_good: 3, test_per_type: 2, seed: 5 };
    let shared = Shared { full: root.join("full"), plain: root.join("plain"), model: root.join("model.safetensors") };
    generate(&shared.full, &spec).unwrap();
    generate(&shared.plain, &Spec { train_anomalous: 0, ..spec }).unwrap();
    std::fs::remove_dir_all(shared.plain.join("ground_truth")).unwrap();
    train(&shared.full, &shared.model, "--strategy ckapatch").ok();
    shared
});

/// A dataset with labelled anomalies and masks: 9 normal and 3 anomalous training pictures, 3 normal test pictures and
/// 2 of each of hole, scratch and stain.
pub fn full() -> &'static Path {
    &SHARED.full
}

/// The same sizes, with neither labelled anomalies nor masks.
pub fn plain() -> &'static Path {
    &SHARED.plain
}

/// A model trained on [`full`], with a threshold.
pub fn model() -> &'static Path {
    &SHARED.model
}

/// A copy of the model that a test may change.
pub fn own_model(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("own.safetensors");
    std::fs::copy(model(), &path).unwrap();
    path
}

/// Names and values of a file's tensors, as bits.
pub fn tensors(path: &Path) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    let archive = Archive::open(path).unwrap();
    let bits = |t: ckaad::weights::TensorView| t.f32().iter().map(|v| v.to_bits()).collect();
    archive.tensors().map(|t| (t.name.to_string(), t.shape.to_vec(), bits(t))).collect()
}

pub fn metadata(path: &Path, key: &str) -> Option<String> {
    Archive::open(path).unwrap().metadata().get(key).cloned()
}

/// Writes a file again with the tensors that `keep` says and its metadata changed.
pub fn rewrite(path: &Path, keep: impl Fn(&str) -> bool, change: impl FnOnce(&mut BTreeMap<String, String>)) {
    let archive = Archive::open(path).unwrap();
    let held: Vec<_> = archive.tensors().filter(|t| keep(t.name)).map(|t| (t.name, t.shape, t.f32())).collect();
    let tensors: Vec<_> = held.iter().map(|(n, s, v)| ckaad::weights::Tensor::new(*n, s, v).unwrap()).collect();
    let mut metadata = archive.metadata().clone();
    change(&mut metadata);
    ckaad::weights::write_safetensors(path, &tensors, &metadata).unwrap();
}

/// A run's log without its times, one line an epoch.
#[track_caller]
pub fn log(model: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(model.with_extension("log.jsonl")).unwrap();
    let parse = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("seconds").expect("every line has its time");
        value
    };
    text.lines().map(parse).collect()
}

/// Writes a `width` x `height` RGB PNG.
pub fn write_png(path: &Path, width: u32, height: u32, rgb: impl Fn(u32, u32) -> [u8; 3]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::from_fn(width, height, |x, y| image::Rgb(rgb(x, y))).save(path).unwrap();
}

/// Side and values of a square `.npy` map of format 1.0.
#[track_caller]
pub fn npy(path: &Path) -> (usize, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let header = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    let (head, data) = bytes[10..].split_at(header);
    let head = std::str::from_utf8(head).unwrap();
    assert!(head.contains("'descr': '<f4'") && head.contains("'fortran_order': False"), "{head}");
    let values: Vec<f32> = data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let side = values.len().isqrt();
    assert!(head.contains(&format!("'shape': ({side}, {side})")), "{head} for {} values", values.len());
    (side, values)
}

/// The mean of the `k` largest values, in f64.
pub fn mean_of_largest(values: &[f32], k: usize) -> f64 {
    let mut sorted: Vec<f64> = values.iter().map(|v| *v as f64).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    sorted[..k].iter().sum::<f64>() / k as f64
}
