//! Gradients against central differences, in f64: every element of small inputs, as `torch.autograd.gradcheck`, some
//! of large ones, and whole programs along directions.

use crate::Result;
use crate::engine::device::Session;
use crate::engine::ops::case::{Case, uniform};
use crate::engine::tape::Tape;
use crate::engine::tensor::DType;

/// Half the distance between the two points of a difference.
pub const STEP: f64 = 1e-6;
/// About how many elements of a large input are checked.
const MOST: usize = 1000;
/// A gradient g passes beside a difference d if |g - d| <= ABSOLUTE + RELATIVE * |d|.
pub const RELATIVE: f64 = 1e-3;
pub const ABSOLUTE: f64 = 1e-5;

/// Plans a program on the device under test.
pub type Open<'a> = &'a dyn Fn(Tape) -> Result<Box<dyn Session>>;

/// What came out for one case.
#[derive(Clone, Debug)]
pub struct Report {
    pub op: String,
    pub case: String,
    /// Number of derivatives compared.
    pub checked: usize,
    /// Largest |g - d| / (|d| + ABSOLUTE / RELATIVE), infinite where anything is NaN.
    pub worst: f64,
}

impl Report {
    /// Compares gradients with differences, pair by pair.
    pub fn new(op: &str, case: &str, gradients: &[f64], differences: &[f64]) -> Self {
        let error = |(g, d): (&f64, &f64)| (g - d).abs() / (d.abs() + ABSOLUTE / RELATIVE);
        let mut worst: f64 = if gradients.len() == differences.len() { 0.0 } else { f64::INFINITY };
        for e in gradients.iter().zip(differences).map(error) {
            worst = if e.is_nan() { f64::INFINITY } else { worst.max(e) };
        }
        Report { op: op.into(), case: case.into(), checked: differences.len(), worst }
    }

    /// All within the tolerance, and there was something to compare.
    pub fn passed(&self) -> bool {
        self.checked > 0 && self.worst <= RELATIVE
    }
}

/// Checks the gradients of all inputs of a differentiable case.
///
/// The loss is the sum of all result values, each times its own fixed weight.
pub fn check(case: &Case, open: Open) -> Result<Report> {
    let inputs = case.values();
    let weights = |n: usize| -> Vec<f64> { uniform("gradcheck.weights", n).into_iter().map(f64::from).collect() };
    Ok(Report::new(
        case.op,
        &case.name,
        &gradients(case, &inputs, &weights, open)?,
        &differences(case, &inputs, &weights, open)?,
    ))
}

type Weights<'a> = &'a dyn Fn(usize) -> Vec<f64>;

/// The gradients of all inputs, one after the other.
fn gradients(case: &Case, inputs: &[Vec<f64>], weights: Weights, open: Open) -> Result<Vec<f64>> {
    let mut p = case.record(DType::F64)?;
    let shape = p.tape.shape(p.output);
    let seed = p.tape.input(shape, DType::F64)?;
    let grads = p.tape.gradients(&[(p.output, seed)], &p.inputs)?;
    for g in grads.iter().flatten() {
        p.tape.output(*g);
    }
    let mut session = open(p.tape.clone())?;
    p.write(&mut *session, inputs)?;
    session.write_values(seed, &weights(shape.len()))?;
    session.run()?;
    let mut all = Vec::new();
    for (g, values) in grads.iter().zip(inputs) {
        match g {
            Some(g) => all.extend(session.read_values(*g)?.into_iter().step_by(stride(values.len()))),
            None => all.extend(vec![0.0; values.len().div_ceil(stride(values.len()))]),
        }
    }
    Ok(all)
}

/// Every how-manyth of `n` elements is checked. Odd, so that no channel is left out where their number is a power of two.
fn stride(n: usize) -> usize {
    (n / MOST) | 1
}

/// Central differences for the elements of every input that are checked.
fn differences(case: &Case, inputs: &[Vec<f64>], weights: Weights, open: Open) -> Result<Vec<f64>> {
    let p = case.record(DType::F64)?;
    let weights = weights(p.tape.shape(p.output).len());
    let mut session = open(p.tape.clone())?;
    let mut run = |inputs: &[Vec<f64>]| -> Result<Vec<f64>> {
        // Every time, since a run may reuse the memory of its inputs.
        p.write(&mut *session, inputs)?;
        session.run()?;
        session.read_values(p.output)
    };
    let mut all = Vec::new();
    let mut moved = inputs.to_vec();
    for (i, values) in inputs.iter().enumerate() {
        for (j, &x) in values.iter().enumerate().step_by(stride(values.len())) {
            moved[i][j] = x + STEP;
            let above = run(&moved)?;
            moved[i][j] = x - STEP;
            let below = run(&moved)?;
            moved[i][j] = x;
            // Subtracted before they are summed: most terms are 0, and none loses digits to the others.
            let change: f64 = above.iter().zip(&below).zip(&weights).map(|((a, b), w)| w * (a - b)).sum();
            all.push(change / (2.0 * STEP));
        }
    }
    Ok(all)
}
