//! What each part of a program costs by itself, beside what it has to do.

use super::Stats;
use super::roofline::Limits;
use crate::Result;
use crate::engine::device::Cost;
use crate::engine::device::cuda::describe;
use crate::engine::device::{Profile, Session};
use crate::engine::plan::Plan;
use crate::engine::tape::Tape;
use crate::engine::toolkit::cuda::{Launch, Number, Use};
use serde::Serialize;

/// A launch, or on the CPU a record.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// The kernel, or on the CPU the op.
    pub name: String,
    /// Op and layer.
    pub layer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grid: Option<[u32; 3]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    pub multiply_adds: u64,
    /// Of all it reads and writes, counted once.
    pub bytes: u64,
    /// The least that the card, or the processor's arithmetic, can take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_s: Option<f64>,
    #[serde(flatten)]
    pub measured: Measured,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Measured {
    Time(Stats),
    Counted {
        instructions: u64,
        /// Share of the instructions that are matrix products.
        mma_share: f64,
        sectors: u64,
        ideal_sectors: u64,
        bank_conflicts: u64,
    },
    /// Nothing was run.
    #[serde(serialize_with = "nothing")]
    Planned,
}

fn nothing<S: serde::Serializer>(s: S) -> std::result::Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap;
    s.serialize_map(Some(0))?.end()
}

/// Measures every part of a session's program.
pub fn measure(
    session: &mut dyn Session,
    number: Number,
    limits: Option<&Limits>,
    repetitions: usize,
) -> Result<Vec<Part>> {
    let profiles = session.profile(repetitions)?;
    let (tape, plan) = (session.tape(), session.plan());
    Ok(parts(tape, number, limits, profiles, |record| plan_bytes(plan, record)))
}

/// The launches of a program that is not run.
pub fn planned(tape: &Tape, number: Number, limits: Option<&Limits>, launches: Vec<(usize, Launch)>) -> Vec<Part> {
    let unmeasured = Cost::Seconds(Vec::new());
    let profile = |(record, launch)| Profile { record, launch: Some(launch), cost: unmeasured.clone() };
    parts(tape, number, limits, launches.into_iter().map(profile).collect(), |_| 0)
}

fn parts(
    tape: &Tape,
    number: Number,
    limits: Option<&Limits>,
    profiles: Vec<Profile>,
    record_bytes: impl Fn(usize) -> u64,
) -> Vec<Part> {
    let mut last = None;
    let part = |Profile { record, launch, cost }: Profile| {
        let r = &tape.records()[record];
        // Of several launches the first computes the products, the others finish them.
        let multiply_adds = if last.replace(record) == Some(record) { 0 } else { r.op.multiply_adds() };
        let bytes = launch.as_ref().map_or_else(|| record_bytes(record), launch_bytes);
        let measured = match cost {
            Cost::Seconds(times) if times.is_empty() => Measured::Planned,
            Cost::Seconds(times) => Measured::Time(Stats::of(times)),
            Cost::Counters(c) => Measured::Counted {
                instructions: c.total(),
                mma_share: c.of(ptxsim::Class::Mma) as f64 / c.total().max(1) as f64,
                sectors: c.sectors,
                ideal_sectors: c.ideal_sectors,
                bank_conflicts: c.conflicts,
            },
        };
        Part {
            name: launch.as_ref().map_or(r.op.name(), |l| l.call.entry.name).into(),
            layer: describe(r),
            grid: launch.as_ref().map(|l| l.grid),
            threads: launch.as_ref().map(|l| l.block.iter().product()),
            multiply_adds,
            bytes,
            least_s: limits.and_then(|l| l.least_seconds(r, number, multiply_adds, bytes)),
            measured,
        }
    };
    profiles.into_iter().map(part).collect()
}

fn launch_bytes(launch: &Launch) -> u64 {
    let of = |(range, how): &(std::ops::Range<u64>, Use)| {
        (range.end - range.start) * if *how == Use::Update { 2 } else { 1 }
    };
    launch.call.buffers.iter().map(of).sum()
}

fn plan_bytes(plan: &Plan, record: usize) -> u64 {
    let step = &plan.steps[record];
    step.inputs.iter().chain(&step.outputs).chain(&step.packed).map(|r| r.len() as u64).sum()
}
