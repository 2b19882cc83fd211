//! `ckaad doctor`: whether this machine, and what was put on it, is as the program needs it.

use super::message::{ALARM, DOUBT, plain};
use super::options::{Format, print, print_colored};
use crate::backend::{Request, read_tuning};
use crate::engine::device::cuda::card::{self, Gpu};
use crate::engine::device::{Backend, Device};
use crate::engine::ops::case::uniform;
use crate::engine::ops::{Activation, conv2d};
use crate::engine::params::{Init, Values};
use crate::engine::tape::Tape;
use crate::engine::tensor::{DType, Shape};
use crate::engine::toolkit::cpu::int8::microkernel::Dot;
use crate::engine::toolkit::cpu::isa::Isa;
use crate::engine::toolkit::cuda::{Number, replaced};
use crate::weights::fetch::sha256;
use crate::weights::registry;
use crate::{Result, invalid};
use anstyle::Style;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// Check this machine: processor, memory, devices and driver, cache and weights, environment, and that each device computes
#[derive(clap::Args, Debug)]
#[command(after_help = "\
A line for each check: ok, warn (it works, but not as well as it could) or fail, with what to do. Every device that there is computes one \
convolution, which is held against a plain loop.

Examples:
  ckaad doctor
  ckaad doctor --format json | jq -r '.checks[] | select(.state != \"ok\")'

Exit codes: 0 nothing failed; 1 a check failed.")]
pub struct Args {
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warn,
    Fail,
}

/// What was found, and what to do if that is not as it should be.
#[derive(Debug, Serialize)]
struct Check {
    check: String,
    state: State,
    found: String,
    advice: Option<String>,
}

/// The variables that this program reads itself.
const OWN: [&str; 6] =
    ["CKAAD_CACHE", "CKAAD_WEIGHTS_URL", "CKAAD_PTX", "CKAAD_GRAPHS", "CKAAD_SYNC_LAUNCHES", "CKAAD_TOKEN"];
/// Those of others that move what it does.
const OTHERS: [&str; 5] =
    ["XDG_CACHE_HOME", "SOURCE_DATE_EPOCH", "RAYON_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUDA_CACHE_PATH"];
/// Those of proxies, in either case; they may hold passwords.
const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];

/// Less free memory than this does not hold the training of a small detector.
const LITTLE: u64 = 1_000_000_000;

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, state: State, check: &str, found: impl Into<String>, advice: Option<&str>) {
        let (found, advice) = (found.into(), advice.map(String::from));
        self.0.push(Check { check: check.into(), state, found, advice });
    }

    fn ok(&mut self, check: &str, found: impl Into<String>) {
        self.add(State::Ok, check, found, None);
    }

    fn warn(&mut self, check: &str, found: impl Into<String>, advice: &str) {
        self.add(State::Warn, check, found, Some(advice));
    }

    fn fail(&mut self, check: &str, found: impl Into<String>, advice: &str) {
        self.add(State::Fail, check, found, Some(advice));
    }
}

pub fn run(args: &Args) -> Result<bool> {
    let mut checks = Checks::default();
    program(&mut checks);
    processor(&mut checks);
    let gpus = devices(&mut checks);
    cache(&mut checks);
    weights(&mut checks);
    tuning(&mut checks, &gpus);
    environment(&mut checks);
    computing(&mut checks, &gpus);
    let works = checks.0.iter().all(|c| c.state != State::Fail);
    match args.format {
        Format::Table => print_colored(&table(&checks.0))?,
        Format::Json => {
            let version = env!("CARGO_PKG_VERSION");
            print(&format!("{}\n", serde_json::json!({ "version": version, "works": works, "checks": checks.0 })))?;
        }
    }
    Ok(works)
}

fn table(checks: &[Check]) -> String {
    let width = checks.iter().map(|c| c.check.len()).max().unwrap_or(0);
    let line = |c: &Check| {
        let (style, state) = match c.state {
            State::Ok => (Style::new(), "ok"),
            State::Warn => (DOUBT, "warn"),
            State::Fail => (ALARM, "fail"),
        };
        let advice = c.advice.as_ref().map_or(String::new(), |a| format!("\n{:1$}{a}", "", width + 8));
        format!("{style}{state:<4}{style:#}  {:<width$}  {}{advice}\n", c.check, plain(&c.found))
    };
    checks.iter().map(line).collect()
}

fn program(checks: &mut Checks) {
    let (version, system, arch) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
    let all = [
        ("nvtx", cfg!(feature = "nvtx")),
        ("cudnn", cfg!(feature = "cudnn")),
        ("serve", cfg!(feature = "serve")),
        ("watch", cfg!(feature = "watch")),
    ];
    let with: Vec<&str> = all.into_iter().filter(|f| f.1).map(|f| f.0).collect();
    let with = if with.is_empty() { String::new() } else { format!(", with {}", with.join(", ")) };
    let found = format!("ckaad {version} for {arch} {system}{with}");
    if cfg!(debug_assertions) {
        checks.warn("program", format!("{found}, not optimised"), "it is many times as slow: build it with --release");
    } else {
        checks.ok("program", found);
    }
}

fn processor(checks: &mut Checks) {
    let mut system = sysinfo::System::new();
    system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
    system.refresh_memory();
    let name = system.cpus().first().map_or("unknown", |cpu| cpu.brand().trim()).to_string();
    let isa = match Isa::detect() {
        Isa::Portable => "no wide instructions",
        Isa::Avx2 => "AVX2",
        Isa::Avx512 => "AVX-512",
    };
    let bytes = match Dot::detect() {
        Dot::Portable => "plain loops",
        Dot::Avx2 => "AVX2",
        Dot::AvxVnni => "AVX-VNNI",
        Dot::Avx512Vnni => "AVX-512 VNNI",
    };
    let found = format!("{name}; f32 by {isa}, int8 by {bytes}");
    if Isa::detect() == Isa::Portable {
        checks.warn("processor", found, "it works, several times as slow as with AVX2");
    } else {
        checks.ok("processor", found);
    }
    let (threads, cores) = (rayon::current_num_threads(), std::thread::available_parallelism().map_or(1, usize::from));
    let found = format!("{threads}, of {cores} that may run at once");
    if threads > cores {
        checks.warn("threads", found, "more only wait for each other: --threads, or RAYON_NUM_THREADS, set fewer");
    } else {
        checks.ok("threads", found);
    }
    // A container's own limit, where there is one.
    let (total, free) = match system.cgroup_limits() {
        Some(limits) => (limits.total_memory, limits.free_memory.min(system.available_memory())),
        None => (system.total_memory(), system.available_memory()),
    };
    let found = format!("{:.1} GB, {:.1} GB of it free", total as f64 / 1e9, free as f64 / 1e9);
    if free < LITTLE {
        checks.warn("memory", found, "training may need more: `ckaad plan train` says how much; end other programs");
    } else {
        checks.ok("memory", found);
    }
}

/// The GPUs that can be used.
fn devices(checks: &mut Checks) -> Vec<Gpu> {
    let gpus = match card::gpus() {
        Ok(gpus) => gpus,
        // A machine without is as it should be; a driver that does not answer is not.
        Err(e) if !card::is_driver_present() => {
            checks.ok("GPU", format!("none: {e}"));
            return Vec::new();
        }
        Err(e) => {
            checks.warn("GPU", e.to_string(), "everything is computed on the CPU until that is mended");
            return Vec::new();
        }
    };
    if let Ok(version) = card::driver_version() {
        checks.ok("driver", format!("NVIDIA's, for CUDA {}.{}", version / 1000, version % 1000 / 10));
    }
    if gpus.is_empty() {
        checks.warn(
            "GPU",
            "the NVIDIA driver finds no GPU",
            "CUDA_VISIBLE_DEVICES may hide it, or a container lack --gpus",
        );
    }
    for gpu in &gpus {
        let (name, found) = (format!("cuda:{}", gpu.index), gpu.to_string());
        match &gpu.unusable {
            Some(why) => checks.warn(&name, format!("{found}; cannot be used: {why}"), "use another, or --device cpu"),
            None => checks.ok(&name, found),
        }
    }
    gpus.into_iter().filter(|g| g.unusable.is_none()).collect()
}

fn cache(checks: &mut Checks) {
    let folder = match registry::cache_dir() {
        Ok(folder) => folder,
        Err(e) => {
            return checks.warn(
                "cache",
                e.to_string(),
                "nothing can be fetched or tuned; the built-in weights need none",
            );
        }
    };
    let name = folder.display();
    let writable = |folder: &Path| tempfile::tempfile_in(folder).map(drop);
    let existing = folder.ancestors().find(|a| a.symlink_metadata().is_ok()).unwrap_or(Path::new("."));
    let found = match (std::fs::read_dir(existing), writable(existing)) {
        (Err(e), _) | (_, Err(e)) => {
            let found = format!("{name}: cannot be written: {e}");
            let advice = "set CKAAD_CACHE to a folder of your own, or mend this one's permissions";
            // What was asked for, or only what is usual.
            let asked = std::env::var_os("CKAAD_CACHE").is_some();
            return checks.add(if asked { State::Fail } else { State::Warn }, "cache", found, Some(advice));
        }
        _ if existing != folder => format!("{name}: made when it is needed"),
        (Ok(entries), _) => {
            let files = entries.flatten().filter(|e| e.path().is_file());
            let (count, bytes) = files.fold((0, 0), |(n, b), f| (n + 1, b + f.metadata().map_or(0, |m| m.len())));
            format!("{name}: {}, {:.1} MB", super::options::plural(count, "file"), bytes as f64 / 1e6)
        }
    };
    checks.ok("cache", found);
}

fn weights(checks: &mut Checks) {
    match registry::open(registry::FORMULA) {
        Ok(archive) => {
            checks.ok("weights", format!("{}, built in: {} tensors", registry::FORMULA, archive.names().len()))
        }
        Err(e) => checks.fail("weights", e.to_string(), "the program is damaged: install it again"),
    }
    let Ok(folder) = registry::cache_dir() else { return };
    for listed in &registry::manifest().weights {
        let file = folder.join(&listed.file);
        if !file.is_file() {
            continue;
        }
        let name = &listed.name;
        match sha256(&file) {
            Ok(found) if found.starts_with(&listed.sha256) => checks.ok("weights", format!("{name}: SHA-256 is right")),
            Ok(_) => {
                let advice = format!("`ckaad weights fetch {name}` downloads it again");
                checks.fail(
                    "weights",
                    format!("{name}: {} is not the file that was published", file.display()),
                    &advice,
                );
            }
            Err(e) => checks.fail("weights", e.to_string(), "mend its permissions, or remove it and fetch it again"),
        }
    }
}

fn tuning(checks: &mut Checks, gpus: &[Gpu]) {
    for gpu in gpus {
        let backend = Backend { device: Device::Cuda(gpu.index), ..Backend::CPU };
        let (Ok(Some(file)), Ok(Some(on))) = (Request::default().tuning_file(&backend), backend.measured_on()) else {
            continue;
        };
        let mut notes = Vec::new();
        let name = format!("tuning of cuda:{}", gpu.index);
        if !file.exists() {
            checks.ok(&name, "none: kernels are chosen by a model; `ckaad tune` measures them");
        } else if read_tuning(&file, &on, &mut notes).is_some() {
            checks.ok(&name, file.display().to_string());
        }
        notes.into_iter().for_each(|note| checks.warn(&name, note, "`ckaad tune` measures again"));
    }
}

fn environment(checks: &mut Checks) {
    for name in OWN.into_iter().chain(OTHERS) {
        let Some(value) = std::env::var_os(name).filter(|v| !v.is_empty()) else { continue };
        let (value, text) = (value.to_str(), format!("{name}={}", value.to_string_lossy()));
        let is_number = value.is_some_and(|v| v.parse::<u64>().is_ok());
        match name {
            "CKAAD_TOKEN" => checks.ok("environment", format!("{name} is set, for `ckaad serve`")),
            "CKAAD_PTX" => match replaced() {
                Ok(_) => checks.warn("environment", text, "GPUs run these kernels in place of the program's own"),
                Err(e) => checks.fail("environment", format!("{text}: {e}"), "unset it, or name another folder"),
            },
            "SOURCE_DATE_EPOCH" if !is_number => {
                checks.fail(
                    "environment",
                    format!("{text}: expected seconds since 1970"),
                    "unset it: no model file can be written",
                );
            }
            "RAYON_NUM_THREADS" if !is_number => {
                checks.warn(
                    "environment",
                    format!("{text}: expected a number"),
                    "it counts for nothing; --threads N sets them, too",
                );
            }
            _ => checks.ok("environment", text),
        }
    }
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if PROXIES.iter().any(|p| name.eq_ignore_ascii_case(p)) {
            checks.ok("environment", format!("{name} is set, for `ckaad weights fetch`"));
        } else if name.starts_with("CKAAD_") && !OWN.contains(&&*name) {
            let known = format!("this program knows {}", OWN.join(", "));
            checks.warn("environment", format!("{name}: not a variable of this program"), &known);
        }
    }
}

/// The farthest that sums in f32 over this convolution may be off, in parts of the largest value.
const OFF: f64 = 1e-5;

fn computing(checks: &mut Checks, gpus: &[Gpu]) {
    let devices = [Device::Cpu, Device::Sim].into_iter().chain(gpus.iter().map(|g| Device::Cuda(g.index)));
    for device in devices {
        let backend = Backend { device, number: Number::F32, ..Backend::CPU };
        let name = format!("computing on {device}");
        match convolution(&backend) {
            Ok(off) if off <= OFF => {
                checks.ok(&name, format!("a convolution is right, to {off:.0e} of its largest value"))
            }
            Ok(off) => {
                let found = format!("a convolution is wrong, by {off:.1e} of its largest value");
                checks.fail(&name, found, "do not use this device: memory or processor may be faulty");
            }
            Err(e) => checks.fail(&name, e.to_string(), "use another device (--device)"),
        }
    }
}

/// How far a device is off a plain loop over a 3x3 convolution with a ReLU, in parts of the largest value.
fn convolution(backend: &Backend) -> Result<f64> {
    const HEIGHT: usize = 11;
    const WIDTH: usize = 9;
    const IN: usize = 16;
    const OUT: usize = 24;
    let mut t = Tape::new(DType::F32);
    let net = t.network("doctor");
    let x = t.input(Shape([1, HEIGHT, WIDTH, IN]), DType::F32)?;
    let w = t.param(net, "weight", &[OUT, IN, 3, 3], Init::Zeros)?;
    let y = t.conv2d(x, w, conv2d::Options { act: Activation::Relu, ..conv2d::Options::square(1, 1) })?;
    t.output(y);
    let (pixels, weights) = (uniform("doctor.x", HEIGHT * WIDTH * IN), uniform("doctor.w", OUT * IN * 9));
    let mut values = Values::<f32>::zeros(Arc::new(t.parameters(net).clone()));
    values.set_from_file("weight", &weights)?;
    let mut session = backend.open(t)?;
    session.write_params(net, &values)?;
    session.write(x, &pixels)?;
    session.run()?;
    let found = session.read_values(y)?;
    if found.len() != HEIGHT * WIDTH * OUT {
        invalid!("{} values came back, expected {}", found.len(), HEIGHT * WIDTH * OUT);
    }
    let at = |row: usize, column: usize, k: usize| {
        let mut sum = 0.0;
        for (r, s) in (0..3).flat_map(|r| (0..3).map(move |s| (r, s))) {
            let (y, x) = (row + r, column + s);
            if !(1..=HEIGHT).contains(&y) || !(1..=WIDTH).contains(&x) {
                continue;
            }
            let pixel = &pixels[((y - 1) * WIDTH + x - 1) * IN..][..IN];
            sum += (0..IN).map(|c| f64::from(pixel[c]) * f64::from(weights[(k * IN + c) * 9 + r * 3 + s])).sum::<f64>();
        }
        sum.max(0.0)
    };
    let (mut largest, mut off): (f64, f64) = (0.0, 0.0);
    for (i, found) in found.into_iter().enumerate() {
        let expected = at(i / (WIDTH * OUT), i / OUT % WIDTH, i % OUT);
        largest = largest.max(expected);
        // A NaN is as wrong as can be.
        off = off.max(if found.is_finite() { (found - expected).abs() } else { f64::INFINITY });
    }
    Ok(off / largest)
}
