//! Weights and activations of 8 bits for a trained model: scales from normal pictures, and which layers can do with them.
//!
//! What every layer makes of the pictures is looked at once ([`calibrate`]). Then each layer is tried alone: how far the maps move where
//! only it has 8 bits. Last, all together; while the scores move further than they may, the layer that moves the maps most for what it
//! saves is left as it is.

pub mod calibrate;

use crate::detector::file::{Config, ModelFile};
use crate::detector::quantized::{Chosen, Weights, fill};
use crate::engine::device::{Backend, Session};
use crate::engine::quantized::{Layer, Scheme, Value, layers, of_pixels, rewrite, values};
use crate::engine::tape::{Tape, Var};
use crate::engine::toolkit::{Number, Quantization};
use crate::error::plural;
use crate::metrics::quantile;
use crate::program::Program;
use crate::{Error, Result, invalid};
use calibrate::{Choice, Magnitudes};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Pictures that scales are taken from, at most.
pub const PICTURES: usize = 64;
/// Of them, those that layers are tried with.
const TRIED: usize = 8;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub choice: Choice,
    /// How far scores may move: their median relative difference.
    pub tolerance: f64,
    /// How many of the first layers keep more than 8 bits, whatever they would cost.
    pub first: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { choice: Choice::Mse, tolerance: 0.005, first: 1 }
    }
}

/// One layer, tried alone.
#[derive(Clone, Debug)]
pub struct Tried {
    pub name: String,
    /// Of all multiply-adds of the layers that can be quantised.
    pub share: f64,
    /// How far the maps move where only this layer has 8 bits: ‖map - f32's‖ / ‖f32's‖ over all pictures.
    pub moved: f64,
    /// Why it has not 8 bits, if so.
    pub kept: Option<Kept>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    First,
    TooFar,
    /// In 16 bits of its weights: it takes pixels as they come.
    Pixels,
}

/// A quantised detector.
pub struct Quantized {
    pub scheme: Scheme,
    pub tried: Vec<Tried>,
    /// How far the scores of the pictures that layers were tried with move with the whole scheme: the median relative difference.
    pub scores_moved: f64,
    /// The same of the maps, as [`Tried::moved`].
    pub maps_moved: f64,
    program: Program,
    weights: Weights,
}

impl Quantized {
    /// Writes the model with its layers in 8 bits; `config` is the model's own.
    pub fn save(&self, path: &Path, config: &Config) -> Result<()> {
        let config = Config { quantized: Some(self.scheme.clone().into()), ..config.clone() };
        self.weights.save(path, &config, &self.scheme, &self.program)
    }

    /// One line: how much has 8 bits, and what that moves.
    pub fn describe(&self) -> String {
        let eight: Vec<&Tried> = self.tried.iter().filter(|t| t.kept.is_none()).collect();
        let share: f64 = eight.iter().map(|t| t.share).sum::<f64>().max(0.0);
        format!(
            "{} of {} in 8 bits, {:.1} % of the products; scores move by {:.2} % (median), maps by {:.2} %",
            eight.len(),
            plural(self.tried.len(), "layer"),
            100.0 * share,
            100.0 * self.scores_moved,
            100.0 * self.maps_moved
        )
    }
}

/// What `progress` hears: a stage, how much of it is done, and of how much.
pub type Progress<'a> = dyn FnMut(&'static str, usize, usize) -> Result<()> + 'a;

/// Refuses a model that has weights of 8 bits already.
pub fn expect_real(model: &ModelFile) -> Result<()> {
    if model.config.quantized.is_some() {
        invalid!(
            "{} has weights of 8 bits already: quantise the model that it was made of",
            model.archive.path().display()
        );
    }
    Ok(())
}

/// Quantises a model. `pictures`: normal ones, image_size x image_size x 3 bytes each; of more than [`PICTURES`] some are taken.
pub fn quantize(model: &ModelFile, pictures: &[Vec<u8>], s: &Settings, progress: &mut Progress) -> Result<Quantized> {
    expect_real(model)?;
    if pictures.is_empty() {
        return Err(Error::Usage("there is no normal picture to take scales from".into()));
    }
    let program = model.config.scoring(1, Number::F32)?;
    let layers = layers(&program.tape);
    let mut weights = Weights::of(model, &program, &layers)?;
    let all = layers.iter().map(|l| l.name.clone()).collect();
    let mut q =
        Quantizer { program: &program, weights: &mut weights, layers: &layers, values: values(&program.tape, &all) };

    let scales = q.scales(&spread(pictures, PICTURES), s.choice, progress)?;
    let tried_with = spread(pictures, TRIED);
    let exact = q.outcomes(&Scheme::default(), &tried_with)?;
    let mut tried = q.try_layers(&scales, &tried_with, &exact, s, progress)?;
    loop {
        let eight = tried.iter().filter(|t| t.kept.is_none()).map(|t| t.name.clone()).collect();
        // One that is missing is an error of the rewriting, which names it.
        let known = |v: Value| scales.get_key_value(&v.name).map(|(name, scale)| (name.clone(), *scale));
        let needed = values(&program.tape, &eight).into_iter().filter_map(known);
        let scheme = Scheme { scales: needed.collect(), layers: eight };
        let found = q.outcomes(&scheme, &tried_with)?;
        let (scores_moved, maps_moved) = (found.scores_from(&exact)?, found.maps_from(&exact));
        // The one that is dearest for what it saves; each layer costs something, however small.
        let dearest = tried.iter_mut().filter(|t| t.kept.is_none() && scores_moved > s.tolerance);
        match dearest.max_by(|a, b| (a.moved.powi(2) / a.share).total_cmp(&(b.moved.powi(2) / b.share))) {
            Some(layer) => layer.kept = Some(Kept::TooFar),
            None => {
                let pixels = of_pixels(&program.tape, &scheme.layers);
                tried.iter_mut().filter(|t| pixels.contains(&t.name)).for_each(|t| t.kept = Some(Kept::Pixels));
                return Ok(Quantized { scheme, tried, scores_moved, maps_moved, program: program.clone(), weights });
            }
        }
        progress("layers left as they are", tried.iter().filter(|t| t.kept.is_some()).count(), tried.len())?;
    }
}

/// Adds the mean of every channel of one picture's map to `sums`.
fn add_means(map: &[f32], channels: usize, sums: &mut Vec<f64>) {
    sums.resize(channels, 0.0);
    let positions = (map.len() / channels) as f64;
    for pixel in map.chunks_exact(channels) {
        sums.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += f64::from(*x) / positions);
    }
}

/// At most `most` of the pictures, evenly spread.
fn spread(pictures: &[Vec<u8>], most: usize) -> Vec<&[u8]> {
    let count = pictures.len().min(most);
    (0..count).map(|i| pictures[i * pictures.len() / count].as_slice()).collect()
}

struct Quantizer<'a> {
    program: &'a Program,
    weights: &'a mut Weights,
    layers: &'a [Layer],
    /// All that is needed in bytes where every layer is quantised.
    values: Vec<Value>,
}

/// Scores and maps of some pictures.
struct Outcomes {
    scores: Vec<f32>,
    maps: Vec<Vec<f32>>,
}

impl Outcomes {
    fn scores_from(&self, exact: &Outcomes) -> Result<f64> {
        let moved = |(a, b): (&f32, &f32)| f64::from((a - b).abs()) / f64::from(b.abs()).max(f64::MIN_POSITIVE);
        let moved: Vec<f64> = self.scores.iter().zip(&exact.scores).map(moved).collect();
        quantile::quantile(&moved, 0.5)
    }

    fn maps_from(&self, exact: &Outcomes) -> f64 {
        let (mut of_all, mut moved) = (0.0, 0.0);
        for (a, b) in self.maps.iter().zip(&exact.maps) {
            moved += a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
            of_all += b.iter().map(|b| f64::from(*b).powi(2)).sum::<f64>();
        }
        (moved / of_all.max(f64::MIN_POSITIVE)).sqrt()
    }
}

impl Quantizer<'_> {
    /// A session of `tape`, the program by a scheme, its weights in place.
    fn open(&self, tape: Tape, scheme: &Scheme) -> Result<Box<dyn Session>> {
        let program = Program { tape, ..self.program.clone() };
        let mut session = Backend::CPU.open(program.tape.clone())?;
        fill(&mut *session, &program, &Chosen(self.weights, scheme))?;
        Ok(session)
    }

    /// Scales of all values, from what they are of these pictures; and the biases of layers with 8 bits.
    fn scales(&mut self, pictures: &[&[u8]], choice: Choice, progress: &mut Progress) -> Result<BTreeMap<String, f32>> {
        let mut tape = self.program.tape.clone();
        for v in self.values.iter().map(|value| value.var).chain(self.layers.iter().map(|layer| layer.x)) {
            tape.output(v);
        }
        let mut session = self.open(tape, &Scheme::default())?;
        let mut seen = vec![Magnitudes::default(); self.values.len()];
        let mut sums: Vec<Vec<f64>> = vec![Vec::new(); self.layers.len()];
        let input = self.input()?;
        for (i, picture) in pictures.iter().enumerate() {
            progress("scales", i, pictures.len())?;
            session.write(input, picture)?;
            session.run()?;
            for (value, seen) in self.values.iter().zip(&mut seen) {
                let numbers: Vec<f32> = session.read(value.var)?;
                if numbers.iter().any(|v| !v.is_finite()) {
                    invalid!("{} makes values that are not numbers: the model's weights are broken", value.name);
                }
                seen.add(&numbers);
            }
            for (layer, sums) in self.layers.iter().zip(&mut sums).filter(|(layer, _)| layer.bias.is_some()) {
                add_means(&session.read(layer.x)?, self.program.tape.shape(layer.x).c(), sums);
            }
        }
        for (layer, sums) in self.layers.iter().zip(sums) {
            let means: Vec<f64> = sums.iter().map(|sum| sum / pictures.len() as f64).collect();
            self.correct_bias(layer, &means);
        }
        let scale = |(value, seen): (&Value, Magnitudes)| {
            let [_, most] = Quantization { scale: 1.0, zero: value.zero }.range();
            (value.name.clone(), seen.scale(choice, most))
        };
        Ok(self.values.iter().zip(seen).map(scale).collect())
    }

    /// Rounded weights shift what a layer makes of its usual input, channel by channel: its bias takes that back (Nagel et al.,
    /// "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, with means that were seen).
    fn correct_bias(&mut self, layer: &Layer, means: &[f64]) {
        let Some(name) = &layer.bias else { return };
        let (eight, real) = (&self.weights.layers[&layer.name], &self.weights.real[&layer.name]);
        let taps: usize = eight.shape[2..].iter().product();
        let off: Vec<f64> = real.iter().zip(eight.f32(layer.axis)).map(|(w, q)| f64::from(*w) - f64::from(q)).collect();
        let of_filter = |filter: &[f64]| -> f64 {
            filter.chunks(taps).zip(means).map(|(off, mean)| mean * off.iter().sum::<f64>()).sum()
        };
        let biases = self.weights.real[name].iter().zip(off.chunks(taps * means.len()));
        let corrected = biases.map(|(bias, filter)| (f64::from(*bias) + of_filter(filter)) as f32).collect();
        self.weights.biases.insert(name.clone(), (layer.name.clone(), corrected));
    }

    fn input(&self) -> Result<Var> {
        match self.program.inputs().next() {
            Some(input) => Ok(input),
            None => invalid!("scoring takes no pictures"),
        }
    }

    fn outcomes(&self, scheme: &Scheme, pictures: &[&[u8]]) -> Result<Outcomes> {
        let mut session = self.open(rewrite(&self.program.tape, scheme)?, scheme)?;
        let mut outcomes = Outcomes { scores: Vec::new(), maps: Vec::new() };
        for picture in pictures {
            session.write(self.input()?, picture)?;
            session.run()?;
            outcomes.scores.extend(session.read::<f32>(self.program.report("score")?)?);
            outcomes.maps.push(session.read(self.program.report("map")?)?);
        }
        if outcomes.scores.iter().any(|s| !s.is_finite()) {
            invalid!("the model gives scores that are not numbers: its weights are broken");
        }
        Ok(outcomes)
    }

    fn try_layers(
        &self,
        scales: &BTreeMap<String, f32>,
        pictures: &[&[u8]],
        exact: &Outcomes,
        s: &Settings,
        progress: &mut Progress,
    ) -> Result<Vec<Tried>> {
        let all: u64 = self.layers.iter().map(|l| l.multiply_adds).sum();
        let mut tried = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            progress("layers tried", i, self.layers.len())?;
            let scheme = Scheme { layers: BTreeSet::from([layer.name.clone()]), scales: scales.clone() };
            let found = self.outcomes(&scheme, pictures)?;
            tried.push(Tried {
                name: layer.name.clone(),
                share: layer.multiply_adds as f64 / all as f64,
                moved: found.maps_from(exact),
                kept: (i < s.first).then_some(Kept::First),
            });
        }
        Ok(tried)
    }
}
