//! How well a network tells pictures apart that it was not trained on.

use super::batches::{draw, held_out};
use super::program::{self, Program};
use super::recipe::Recipe;
use crate::Result;
use crate::data::formula::Scratch;
use crate::engine::device::{Backend, Session};
use crate::engine::params::Values;
use crate::model::resnet;
use std::ops::Range;

/// Of pictures that no step has taken, by running statistics.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct HeldOut {
    /// Positions whose class is the one with the largest logit, all heads together: of the pooled objective, pictures.
    #[serde(rename = "held_out_accuracy")]
    pub accuracy: f64,
    /// Mean cross-entropy, without smoothing.
    #[serde(rename = "held_out_loss")]
    pub loss: f64,
}

/// A program that says of pictures what they are, with its memory.
pub struct Judge {
    program: Program,
    session: Box<dyn Session>,
    instances: Range<u64>,
}

impl Judge {
    /// For about so many held-out pictures, whole batches of the training's size.
    pub fn open(recipe: &Recipe, backend: &Backend, pictures: usize) -> Result<Self> {
        let program = program::inference(recipe, recipe.batch, backend.dtype())?;
        let session = backend.open(program.tape.clone())?;
        let instances = held_out(pictures.div_ceil(recipe.batch) * recipe.batch);
        Ok(Judge { program, session, instances })
    }

    pub fn run(&mut self, recipe: &Recipe, backbone: &Values<f32>, heads: &Values<f32>) -> Result<HeldOut> {
        let Judge { program, session, instances } = self;
        session.write_params(program.backbone, &resnet::load::<f32>(&recipe.architecture, backbone)?)?;
        session.write_params(program.heads, heads)?;
        let (formula, mut scratch) = (recipe.formula(), Scratch::default());
        let sides: Vec<usize> = program.logits.iter().map(|y| program.tape.shape(*y).h()).collect();
        let (mut count, mut right, mut loss) = (0usize, 0usize, 0.0);
        for first in instances.clone().step_by(recipe.batch) {
            let batch = draw(recipe, &formula, &sides, first..first + recipe.batch as u64, &mut scratch);
            session.write(program.pixels, &batch.pixels)?;
            session.run()?;
            for (y, labels) in program.logits.iter().zip(&batch.labels) {
                let logits = session.read_values(*y)?;
                for (row, label) in logits.chunks_exact(formula.classes()).zip(labels) {
                    let of = row[*label as usize];
                    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    count += 1;
                    right += usize::from(of == largest);
                    loss += row.iter().map(|y| (y - largest).exp()).sum::<f64>().ln() + largest - of;
                }
            }
        }
        Ok(HeldOut { accuracy: right as f64 / count as f64, loss: loss / count as f64 })
    }
}
