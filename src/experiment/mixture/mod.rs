//! The paper's theorems, seen: `ckapatch`'s losses on points of the plane, where distributions can be looked at.
//!
//! "Pictures" are 8x8 points. Those of normal pictures come from two discs; of an anomalous picture every fifth point, on average, comes
//! from a third disc apart from them, and nobody is told which: the label is coarse. A generator sees both, eqs. (5) and (6), and
//! is trained as the auto-encoder is, eqs. (8) to (13), by the functions that train it and with the paper's settings, on 16 normal
//! pictures and an anomalous one a step.
//!
//! What is asked: where does it take anomalous points, and how close is the distribution of what it generates of as many normal as
//! anomalous points to the normal one? Two normal samples are as close as [`between_samples`], and [`at_the_edge`] is what it would be
//! if each anomalous point went to the nearest normal one. What was found is in `docs/results.md`.

pub mod distance;
pub mod page;
pub mod points;

use crate::Result;
use crate::detector::ckaad::discriminator;
use crate::detector::ckaad::step::{Hyper, adversarial_term, update_discriminator};
use crate::detector::ckaad::strategy::{Adversary, Strategy};
use crate::engine::device::{Session, cpu};
use crate::engine::ops::concat::Axis;
use crate::engine::ops::optimizer::{Adam, LrSchedule};
use crate::engine::ops::{Activation, conv2d};
use crate::engine::tape::{NetId, Tape, Var};
use crate::engine::tensor::{DType, Shape};
use crate::model::init;
use crate::model::layers::{ConvInit, Norm, Recorder};
use distance::energy_distance;
use points::{nearer_to_anomalous, nearest_normal, sample};
use rayon::prelude::*;

/// Points along a picture's side.
const SIDE: usize = 8;
const POINTS: usize = SIDE * SIDE;
/// Pictures of a step.
pub const NORMAL: usize = 16;
pub const ANOMALOUS: usize = 1;
/// Share of an anomalous picture's points that are anomalous.
pub const SHARE: f64 = 0.2;
/// Steps of a run where nobody asks for others, after which `ckapatch` reproduces no anomalous points; and steps between two
/// measurements.
pub const STEPS: usize = 1750;
pub const EVERY: usize = 125;
/// Points that measurements are taken on: so many normal and so many anomalous ones, none of them seen in training.
pub const MEASURED: usize = 8 * POINTS;
/// Channels between the layers of both networks.
const HIDDEN: usize = 32;

/// What the generator is trained with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variant {
    pub name: &'static str,
    /// What its discriminator is told.
    pub about: &'static str,
    strategy: Strategy,
    /// See [`Hyper::gamma`].
    gamma: f64,
}

/// The paper's method, the same without the term for collected anomalies, and a GAN. All discriminators are of points.
pub const VARIANTS: [Variant; 3] = [
    Variant {
        name: "ckapatch",
        about: "told of normal, generated and coarsely labelled points",
        strategy: Strategy::CkaPatch,
        gamma: 0.5,
    },
    Variant {
        name: "gamma 1",
        about: "ckapatch without the anomaly term: told of normal and generated points",
        strategy: Strategy::CkaPatch,
        gamma: 1.0,
    },
    Variant {
        name: "gan",
        about: "told of normal and generated points, with cross-entropy",
        strategy: Strategy::Gan,
        gamma: 1.0,
    },
];

/// What the generator does after so many steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    pub step: usize,
    /// Energy distance of what it generates to normal points.
    pub distance: f64,
    /// Share of the anomalous points that it takes nearer to the anomalous disc than to any normal one.
    pub reproduced: f64,
    /// Mean energy (of a GAN: mean absolute logit) that the discriminator gives anomalous points.
    pub energy: f64,
}

/// A variant's training.
#[derive(Clone, Debug)]
pub struct Run {
    pub variant: Variant,
    /// What the generator makes of the measured points, normal ones first, before training and after it.
    pub before: Vec<[f64; 2]>,
    pub after: Vec<[f64; 2]>,
    /// From step 0 to the last.
    pub curve: Vec<Measured>,
}

impl Run {
    /// After training.
    pub fn last(&self) -> Measured {
        self.curve[self.curve.len() - 1]
    }
}

/// What runs of several seeds come to in the end: the median, the least and the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    pub fn new(runs: &[Run], value: impl Fn(&Measured) -> f64) -> Self {
        let (least, most) = (f64::INFINITY, f64::NEG_INFINITY);
        let values: Vec<f64> = runs.iter().map(|run| value(&run.last())).collect();
        let (least, most) = values.iter().fold((least, most), |(least, most), v| (v.min(least), v.max(most)));
        Spread { median: median(values), least, most }
    }
}

/// Of an even number the upper one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// From step 0 to the last, each number the median of the runs.
pub fn median_curve(runs: &[Run]) -> Vec<Measured> {
    let shortest = runs.iter().map(|run| run.curve.len()).min().unwrap_or(0);
    let at = |i: usize| {
        let of = |value: fn(&Measured) -> f64| median(runs.iter().map(|run| value(&run.curve[i])).collect());
        let [distance, reproduced, energy] = [of(|m| m.distance), of(|m| m.reproduced), of(|m| m.energy)];
        Measured { step: runs[0].curve[i].step, distance, reproduced, energy }
    };
    (0..shortest).map(at).collect()
}

/// Distance between two samples of normal points, as large as those that are measured.
pub fn between_samples(seed: u64) -> f64 {
    energy_distance(&sample(2 * MEASURED, 0.0, seed, "sample"), &reference(seed))
}

/// Distance to normal points if normal points stay and each anomalous one goes to the nearest normal one.
pub fn at_the_edge(seed: u64) -> f64 {
    let moved: Vec<[f64; 2]> = measured_points(seed).into_iter().map(nearest_normal).collect();
    energy_distance(&moved, &reference(seed))
}

fn measured_points(seed: u64) -> Vec<[f64; 2]> {
    let mut all = sample(MEASURED, 0.0, seed, "measured.normal");
    all.extend(sample(MEASURED, 1.0, seed, "measured.anomalous"));
    all
}

fn reference(seed: u64) -> Vec<[f64; 2]> {
    sample(2 * MEASURED, 0.0, seed, "reference")
}

/// Trains every variant with each of `seeds` seeds from `seed` on, side by side: of every variant its runs. `step` is told of every step
/// done.
pub fn all(variants: &[Variant], seed: u64, seeds: u64, steps: usize, step: impl Fn() + Sync) -> Result<Vec<Vec<Run>>> {
    let of_seed = |variant: Variant| (seed..seed + seeds).into_par_iter().map(move |seed| (variant, seed));
    let runs = variants.par_iter().map(|variant| {
        of_seed(*variant).map(|(variant, seed)| run(variant, seed, steps, |_| step())).collect::<Result<Vec<Run>>>()
    });
    runs.collect()
}

/// Trains a generator on the CPU for so many steps. The same seed gives the same bits, and all variants the same points and initial networks.
/// `step` is told of every step done.
pub fn run(variant: Variant, seed: u64, steps: usize, step: impl Fn(usize)) -> Result<Run> {
    let hyper = Hyper { gamma: variant.gamma, ..Hyper::default() };
    let Some(adversary) = variant.strategy.adversary(&hyper) else {
        crate::invalid!("variant {} trains no discriminator", variant.name);
    };
    let mut training = Running::new(NORMAL + ANOMALOUS, |r| r.record_step(&adversary, &hyper))?;
    let mut measuring = Running::new(2 * MEASURED / POINTS, |r| r.record_measurement())?;
    let mut networks = training.networks.map(|net| init::network(training.session.tape().parameters(net), seed));
    for (net, values) in training.networks.iter().zip(&networks) {
        training.session.write_params(*net, values)?;
    }
    let (measured, reference) = (measured_points(seed), reference(seed));
    let mut run = Run { variant, before: vec![], after: vec![], curve: vec![] };
    for at in 0..=steps {
        if at % EVERY == 0 || at == steps {
            for (net, values) in training.networks.iter().zip(&mut networks) {
                training.session.read_params(*net, values)?;
                measuring.session.write_params(*net, values)?;
            }
            measuring.run(&measured)?;
            let [generated, energies] = [0, 1].map(|i| measuring.session.read_values(measuring.results[i]));
            run.after = generated?.chunks(CHANNELS).map(|p| [p[0], p[1]]).collect();
            let reproduced = run.after[MEASURED..].iter().filter(|p| nearer_to_anomalous(**p)).count();
            let energy: f64 = energies?[MEASURED..].iter().map(|e| e.abs()).sum();
            run.curve.push(Measured {
                step: at,
                distance: energy_distance(&run.after, &reference),
                reproduced: reproduced as f64 / MEASURED as f64,
                energy: energy / MEASURED as f64,
            });
            if at == 0 {
                run.before = run.after.clone();
            }
        }
        if at < steps {
            let mut batch = sample(NORMAL * POINTS, 0.0, seed, &format!("normal.{at}"));
            batch.extend(sample(ANOMALOUS * POINTS, SHARE, seed, &format!("anomalous.{at}")));
            training.run(&batch)?;
            step(at + 1);
        }
    }
    Ok(run)
}

/// Both coordinates of a point, and a 1 that stands for the biases that the networks lack.
const CHANNELS: usize = 3;

/// A program over points, being recorded.
struct Recording<'a> {
    tape: &'a mut Tape,
    generator: NetId,
    discriminator: NetId,
    /// (pictures, 4, 4, 3), and what is 1 in it, (pictures, 4, 4, 1).
    points: Var,
    ones: Var,
}

impl Recording<'_> {
    /// The step that `detector/ckaad/step.rs` records of pictures.
    fn record_step(&mut self, adversary: &Adversary, h: &Hyper) -> Result<Vec<Var>> {
        let generated = self.generate()?;
        let real = self.discriminate(self.points)?;
        let fake = self.discriminate(generated)?;
        update_discriminator(self.tape, self.discriminator, adversary, h, &[real], &[fake], NORMAL)?;
        let fake = self.discriminate(generated)?;
        let adv = adversarial_term(self.tape, adversary, &[fake])?;
        let recon = self.tape.cosine_loss(self.points, generated, 0..NORMAL)?;
        let loss = self.tape.weighted_sum(&[(1.0, recon), (h.adv, adv)])?;
        self.tape.backward(loss, self.generator)?;
        self.tape.adam(Adam {
            net: self.generator,
            lr: h.lr,
            betas: h.betas,
            eps: h.eps,
            schedule: LrSchedule::Constant,
        })?;
        Ok(vec![loss])
    }

    /// What is generated of points, and the energies of the points.
    fn record_measurement(&mut self) -> Result<Vec<Var>> {
        Ok(vec![self.generate()?, self.discriminate(self.points)?])
    }

    fn layers(&mut self, net: NetId) -> Recorder<'_> {
        Recorder { tape: self.tape, net, conv_init: ConvInit::Default, norm: Norm::Instance }
    }

    /// Three 1x1 convolutions to a point.
    fn generate(&mut self) -> Result<Var> {
        let (points, ones) = (self.points, self.ones);
        let mut r = self.layers(self.generator);
        let plain = conv2d::Options::square(1, 0);
        let hidden = conv2d::Options { act: Activation::LeakyRelu(0.1), ..plain };
        let x = r.conv(points, "layers.0", HIDDEN, 1, hidden)?;
        let x = r.conv(x, "layers.2", HIDDEN, 1, hidden)?;
        let x = r.conv(x, "layers.4", CHANNELS - 1, 1, plain)?;
        self.tape.concat(&[x, ones], Axis::Channels)
    }

    fn discriminate(&mut self, points: Var) -> Result<Var> {
        discriminator::patch(&mut self.layers(self.discriminator), 0, points, HIDDEN)
    }
}

/// A recorded program with its memory.
struct Running {
    session: Box<dyn Session>,
    points: Var,
    ones: Var,
    /// Generator and discriminator.
    networks: [NetId; 2],
    results: Vec<Var>,
}

impl Running {
    fn new(pictures: usize, record: impl FnOnce(&mut Recording) -> Result<Vec<Var>>) -> Result<Self> {
        let mut tape = Tape::new(DType::F32);
        let networks = ["generator", discriminator::NETWORK].map(|name| tape.network(name));
        let points = tape.input(Shape([pictures, SIDE, SIDE, CHANNELS]), DType::F32)?;
        let ones = tape.input(Shape([pictures, SIDE, SIDE, 1]), DType::F32)?;
        let [generator, discriminator] = networks;
        let results = record(&mut Recording { tape: &mut tape, generator, discriminator, points, ones })?;
        for v in &results {
            tape.output(*v);
        }
        Ok(Running { session: cpu::session(tape)?, points, ones, networks, results })
    }

    fn run(&mut self, points: &[[f64; 2]]) -> Result<()> {
        let values: Vec<f32> = points.iter().flat_map(|p| [p[0] as f32, p[1] as f32, 1.0]).collect();
        self.session.write(self.points, &values)?;
        self.session.write(self.ones, &vec![1.0f32; points.len()])?;
        self.session.run()
    }
}
