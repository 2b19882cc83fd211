//! Gradients against central differences: every element of small inputs, as `torch.autograd.gradcheck`, large ones
//! along random directions.
//!
//! The gradients are those of the device under test, in whatever numbers it computes. The differences are the CPU's in
//! f64: those of f32 losses would have too few digits, and so the device's own forward pass cannot excuse its gradients.
//!
//! Of 16-bit numbers every one is rounded by itself, and small ones drown: there the gradients of all inputs are compared
//! as one vector, with the CPU's gradients in f64 of the same rounded inputs.

use crate::Result;
use crate::engine::device::{Session, cpu};
use crate::engine::ops::case::{Case, uniform};
use crate::engine::tape::Tape;
use crate::engine::tensor::DType;

/// Half the distance between the two points of a difference.
pub const STEP: f64 = 1e-6;
/// A gradient g passes beside a difference d if |g - d| <= ABSOLUTE + RELATIVE * |d|.
pub const RELATIVE: f64 = 1e-3;
pub const ABSOLUTE: f64 = 1e-5;
/// 16-bit gradients g of one op pass beside f64 ones e if |g - e| <= NORM * |e|, lengths of vectors: bf16 keeps 2^-9 of
/// every number, and an op rounds a few times.
pub const NORM: f64 = 1e-2;

/// Plans a program on the device under test.
pub type Open<'a> = &'a dyn Fn(Tape) -> Result<Box<dyn Session>>;

/// What came out for one case.
#[derive(Clone, Debug)]
pub struct Report {
    pub op: String,
    pub case: String,
    /// Number of derivatives compared.
    pub checked: usize,
    /// Largest |g - d| / (|d| + ABSOLUTE / RELATIVE), or of 16-bit gradients |g - e| / |e|; infinite where anything is NaN.
    pub worst: f64,
    /// What `worst` may be.
    pub tolerance: f64,
}

impl Report {
    /// Compares gradients with differences, pair by pair.
    pub fn new(op: &str, case: &str, gradients: &[f64], differences: &[f64]) -> Self {
        let error = |(g, d): (&f64, &f64)| (g - d).abs() / (d.abs() + ABSOLUTE / RELATIVE);
        let mut worst: f64 = if gradients.len() == differences.len() { 0.0 } else { f64::INFINITY };
        for e in gradients.iter().zip(differences).map(error) {
            worst = if e.is_nan() { f64::INFINITY } else { worst.max(e) };
        }
        Report { op: op.into(), case: case.into(), checked: differences.len(), worst, tolerance: RELATIVE }
    }

    /// Compares 16-bit gradients with f64 ones, as vectors.
    pub fn norms(op: &str, case: &str, gradients: &[f64], expected: &[f64], tolerance: f64) -> Self {
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let away = norm(&mut gradients.iter().zip(expected).map(|(g, e)| g - e));
        let worst = away / norm(&mut expected.iter().copied()).max(f64::MIN_POSITIVE);
        let comparable = gradients.len() == expected.len() && !worst.is_nan();
        let worst = if comparable { worst } else { f64::INFINITY };
        Report { op: op.into(), case: case.into(), checked: expected.len(), worst, tolerance }
    }

    /// All within the tolerance, and there was something to compare.
    pub fn passed(&self) -> bool {
        self.checked > 0 && self.worst <= self.tolerance
    }
}

/// Inputs with more elements in all are moved along this many random directions instead of one by one.
const ELEMENTS: usize = 3000;
const DIRECTIONS: usize = 4;

/// Checks the gradients of all inputs of a differentiable case, computed in `dtype`.
///
/// The loss is the sum of all result values, each times its own fixed weight.
pub fn check(case: &Case, dtype: DType, open: Open) -> Result<Report> {
    let mut inputs = case.values();
    let narrow = dtype.exact() != dtype;
    if narrow {
        inputs.iter_mut().flatten().for_each(|x| *x = dtype.round(*x));
    }
    let gradients = gradients(case, &inputs, dtype, open)?;
    if narrow {
        let expected = self::gradients(case, &inputs, DType::F64, &cpu::session)?;
        return Ok(Report::norms(case.op, &case.name, &gradients, &expected, NORM));
    }
    if gradients.len() <= ELEMENTS {
        return Ok(Report::new(case.op, &case.name, &gradients, &differences(case, &inputs, None)?));
    }
    let directions: Vec<Vec<f64>> =
        (0..DIRECTIONS).map(|k| values(&format!("gradcheck.{k}"), gradients.len())).collect();
    let slope = |d: &Vec<f64>| gradients.iter().zip(d).map(|(g, d)| g * d).sum();
    let slopes: Vec<f64> = directions.iter().map(slope).collect();
    Ok(Report::new(case.op, &case.name, &slopes, &differences(case, &inputs, Some(&directions))?))
}

fn values(name: &str, n: usize) -> Vec<f64> {
    uniform(name, n).into_iter().map(f64::from).collect()
}

/// Weights of the result values in the loss: odd sixteenths between -1 and 1, exact in every type.
fn weights(n: usize) -> Vec<f64> {
    values("gradcheck.weights", n).into_iter().map(|u| ((u * 8.0).floor() + 0.5) / 8.0).collect()
}

/// The gradients of all inputs of a differentiable case, one after the other, computed in `dtype`.
pub fn gradients(case: &Case, inputs: &[Vec<f64>], dtype: DType, open: Open) -> Result<Vec<f64>> {
    let mut p = case.record(dtype)?;
    let output = p.tape.info(p.output).clone();
    let seed = p.tape.input(output.shape, output.dtype)?;
    let grads = p.tape.gradients(&[(p.output, seed)], &p.inputs)?;
    for g in grads.iter().flatten() {
        p.tape.output(*g);
    }
    let mut session = open(p.tape.clone())?;
    p.write(&mut *session, inputs)?;
    session.write_values(seed, &weights(output.shape.len()))?;
    session.run()?;
    let mut all = Vec::new();
    for (g, values) in grads.iter().zip(inputs) {
        match g {
            Some(g) => all.extend(session.read_values(*g)?),
            None => all.extend(vec![0.0; values.len()]),
        }
    }
    Ok(all)
}

/// Central differences of the loss along every direction in the space of all inputs, or for every element.
fn differences(case: &Case, inputs: &[Vec<f64>], directions: Option<&[Vec<f64>]>) -> Result<Vec<f64>> {
    let p = case.record(DType::F64)?;
    let weights = weights(p.tape.shape(p.output).len());
    let mut session = cpu::session(p.tape.clone())?;
    let mut run = |inputs: &[Vec<f64>]| -> Result<Vec<f64>> {
        // Every time, since a run may reuse the memory of its inputs.
        p.write(&mut *session, inputs)?;
        session.run()?;
        session.read_values(p.output)
    };
    let mut moved = inputs.to_vec();
    // The slope between two points that `place` sets, STEP before and behind the inputs.
    let mut slope = |place: &dyn Fn(&mut [Vec<f64>], f64)| -> Result<f64> {
        place(&mut moved, STEP);
        let above = run(&moved)?;
        place(&mut moved, -STEP);
        let below = run(&moved)?;
        place(&mut moved, 0.0);
        // Subtracted before they are summed: most terms are 0, and none loses digits to the others.
        let change: f64 = above.iter().zip(&below).zip(&weights).map(|((a, b), w)| w * (a - b)).sum();
        Ok(change / (2.0 * STEP))
    };
    if let Some(directions) = directions {
        let along = |direction: &Vec<f64>| {
            slope(&|moved, step| {
                let points = inputs.iter().flatten().zip(direction).map(|(x, d)| x + step * d);
                moved.iter_mut().flatten().zip(points).for_each(|(to, x)| *to = x);
            })
        };
        return directions.iter().map(along).collect();
    }
    let elements = inputs.iter().enumerate().flat_map(|(i, values)| (0..values.len()).map(move |j| (i, j)));
    elements.map(|(i, j)| slope(&|moved, step| moved[i][j] = inputs[i][j] + step)).collect()
}
