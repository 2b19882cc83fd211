//! What the environment asks for: which cards and driver, in which order work is done, what fails.

use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::card::{CARDS, Card};
use crate::report::say;
use crate::status::{Status, named};

/// Device memory where `PTXSIM_MEMORY` does not say: what is allocated takes as much of the machine's.
const MEMORY: u64 = 8 << 30;
/// As much as one may have: each has addresses for some times that, since they are never used twice.
const MOST: u64 = 1 << 40;
/// Newest CUDA that the driver supports where `PTXSIM_DRIVER` does not say.
const DRIVER: i32 = 12_090;
/// Exit code of a process in which something was found.
pub const EXIT: i32 = 99;

/// Read once, when the driver starts.
pub struct Settings {
    pub cards: Vec<&'static Card>,
    /// Newest CUDA that the driver supports, as 12090.
    pub driver: i32,
    /// Bytes of each card.
    pub memory: u64,
    /// 0: work is done as late as can be. Else: in an order drawn from this seed.
    pub schedule: u64,
    pub fail: Vec<Rule>,
    /// Warp instructions that a kernel may execute; no end if nothing is said.
    pub instructions: Option<u64>,
    /// A free waits for the work before it, as cards' drivers do without promising it.
    pub free_waits: bool,
    /// Whether bytes that nobody wrote may be copied to the host and read by kernels.
    pub unwritten_allowed: bool,
    pub leaks: bool,
    /// 0: the program's own, whatever was found.
    pub exit: i32,
    /// Where the number of calls of each function is written at exit.
    pub calls: Option<String>,
}

/// A call that fails.
pub struct Rule {
    /// Full name of the function.
    pub name: String,
    /// Which of its calls, from 1.
    pub call: u64,
    /// With what; nothing: as is usual.
    pub status: Option<Status>,
}

/// What a variable says; an empty one is not set.
fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// Stops the program: a setting that is not understood would test something else than meant.
pub fn wrong(name: &str, found: &str, expected: &str) -> ! {
    say(&format!("{name}={found}: expected {expected}"));
    std::process::exit(2);
}

/// A number in a range.
fn number<T: FromStr + PartialOrd>(name: &str, usual: T, range: RangeInclusive<T>, expected: &str) -> T {
    let Some(text) = var(name) else { return usual };
    text.parse().ok().filter(|number| range.contains(number)).unwrap_or_else(|| wrong(name, &text, expected))
}

fn choice(name: &str, usual: &str, other: &str) -> bool {
    match var(name) {
        None => false,
        Some(text) if text == usual => false,
        Some(text) if text == other => true,
        Some(text) => wrong(name, &text, &format!("{usual} or {other}")),
    }
}

impl Settings {
    pub fn read() -> Settings {
        Settings {
            cards: cards(),
            driver: driver(),
            memory: number("PTXSIM_MEMORY", MEMORY, 1..=MOST, "a number of bytes, no more than 1 TiB"),
            schedule: number("PTXSIM_SCHEDULE", 0, 0..=u64::MAX, "a seed, or 0 for as late as can be"),
            fail: failures(),
            instructions: instructions(),
            free_waits: choice("PTXSIM_FREE", "strict", "wait"),
            unwritten_allowed: choice("PTXSIM_UNWRITTEN", "strict", "allow"),
            leaks: !choice("PTXSIM_LEAKS", "report", "ignore"),
            exit: number("PTXSIM_EXIT", EXIT, 0..=255, "an exit code from 1 to 255, or 0 for the program's own"),
            calls: var("PTXSIM_CALLS"),
        }
    }
}

fn instructions() -> Option<u64> {
    let expected = "a number of instructions, or 0 for no end";
    Some(number("PTXSIM_INSTRUCTIONS", 0, 0..=u64::MAX, expected)).filter(|instructions| *instructions > 0)
}

fn cards() -> Vec<&'static Card> {
    let text = var("PTXSIM_CARD").unwrap_or_else(|| "a100".into());
    let find = |name: &str| CARDS.iter().find(|c| c.key.eq_ignore_ascii_case(name.trim()));
    let keys: Vec<&str> = CARDS.iter().map(|c| c.key).collect();
    let expected = format!("one of {}, or several with commas between", keys.join(", "));
    text.split(',').map(|name| find(name).unwrap_or_else(|| wrong("PTXSIM_CARD", &text, &expected))).collect()
}

/// `12.4` as 12040.
fn version(text: &str) -> Option<i32> {
    let (major, minor) = text.split_once('.')?;
    let (major, minor): (u8, u8) = (major.parse().ok()?, minor.parse().ok()?);
    ((11..100).contains(&major) && minor < 10).then(|| 1000 * i32::from(major) + 10 * i32::from(minor))
}

fn driver() -> i32 {
    let Some(text) = var("PTXSIM_DRIVER") else { return DRIVER };
    version(&text)
        .unwrap_or_else(|| wrong("PTXSIM_DRIVER", &text, "the newest CUDA it supports, as 12.4, from 11.0 on"))
}

/// The same for where the program cannot be stopped yet if it is not understood.
pub fn asked_driver() -> i32 {
    var("PTXSIM_DRIVER").and_then(|text| version(&text)).unwrap_or(DRIVER)
}

/// `cuMemAlloc_v2:3,cuEventCreate:1:CUDA_ERROR_OUT_OF_MEMORY`.
fn failures() -> Vec<Rule> {
    let Some(text) = var("PTXSIM_FAIL") else { return vec![] };
    let error = |name: &str| match named(name) {
        Some(Status::CUDA_SUCCESS) | None => {
            wrong("PTXSIM_FAIL", &text, &format!("the name of an error, and {name} is none of CUDA 12.9"))
        }
        Some(status) => status,
    };
    let rule = |part: &str| {
        let fields: Vec<&str> = part.trim().split(':').collect();
        let &[name, call, ref status @ ..] = &fields[..] else { return None };
        let call = call.parse().ok().filter(|call| *call > 0)?;
        let status = match status {
            [] => None,
            [name] => Some(error(name)),
            _ => return None,
        };
        Some(Rule { name: name.into(), call, status })
    };
    let expected = "FUNCTION:CALL or FUNCTION:CALL:CUDA_ERROR_NAME, calls counted from 1, several with commas between";
    let mut rules: Vec<Rule> = vec![];
    for part in text.split(',') {
        let rule = rule(part).unwrap_or_else(|| wrong("PTXSIM_FAIL", &text, expected));
        if rules.iter().any(|other| other.name == rule.name && other.call == rule.call) {
            wrong("PTXSIM_FAIL", &text, &format!("each call once, and {}:{} is there twice", rule.name, rule.call));
        }
        rules.push(rule);
    }
    rules
}
