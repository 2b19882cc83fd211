//! One folder per op: sizes, shape rule, gradient rule, CPU kernel and nodes for ONNX in `mod.rs` (long ones in `cpu.rs` and
//! `onnx.rs`), launches in `cuda.rs`, test cases in `cases.rs`.
//!
//! An op is a plain struct of sizes and scalars. Adding one touches its folder and three lines of this file: its module,
//! the list of all ops, the list of cases.

pub mod activation;
pub mod add;
pub mod anomaly_map;
pub mod argmax;
pub mod batch_norm;
pub mod case;
pub mod concat;
pub mod conv2d;
pub mod conv2d_int8;
pub mod conv2d_pixels;
pub mod conv_transpose2d;
pub mod cosine;
pub mod cross_entropy;
pub mod energy;
pub mod fill;
pub mod gather;
pub mod instance_norm;
pub mod interpolate;
pub mod kernels;
pub mod l2_normalize;
pub mod nearest;
pub mod neighbourhood;
pub mod optimizer;
pub mod pool;
pub mod preprocess;
pub mod quantize;
pub mod topk;
pub mod weighted_sum;

use crate::engine::real::Real;
use crate::engine::tape::{Record, Tape, Var};
use crate::engine::tensor::{DType, Shape};
use crate::engine::toolkit::onnx::Composer;
use crate::{Error, Result};
use std::fmt::Debug;
use std::ops::Range;

pub use activation::Activation;

/// Most inputs and outputs any op has.
pub const MAX_OPERANDS: usize = 8;

/// What every op knows of itself.
pub trait Operation: Debug + Clone {
    /// Name in printed programs and traces.
    const NAME: &'static str;

    /// Records the gradients of the inputs. Ops that only ever run outside of training refuse: `b.refuse()`.
    fn gradient(&self, b: Backward) -> Gradients;

    /// The input whose buffer the first output may take over when that input is not needed any more.
    fn in_place(&self) -> Option<usize> {
        None
    }

    /// Outputs that it does not only write: it reads what the run before, or an earlier record, left there.
    fn updates(&self) -> Range<usize> {
        0..0
    }

    /// Multiplications with an addition each that the definition asks for; 0 where reading and writing is the work.
    fn multiply_adds(&self) -> u64 {
        0
    }

    /// Elements of scratch memory the CPU kernel needs with this many threads.
    fn scratch<T: Real>(&self, _threads: usize) -> usize {
        0
    }

    /// Elements of the weights (input 1) rearranged for the CPU kernel; 0 if it takes them as stored.
    fn packed_len<T: Real>(&self) -> usize {
        0
    }

    /// Rearranges frozen weights, given as the bytes of their type, once, before the first run.
    fn pack<T: Real>(&self, _weights: &[u8], _packed: &mut [T]) {}

    /// Composes it of ONNX's operators. Ops that only ever run in training have no counterpart.
    fn onnx(&self, _: &mut Composer) -> Result<()> {
        Err(Error::Invalid("has no counterpart in ONNX".into()))
    }

    /// Computes the outputs on the CPU.
    fn run<T: Real>(&self, args: Args<'_, T>);
}

/// Buffers of one record, as the CPU kernels get them.
pub struct Args<'a, T> {
    /// An empty slice stands for an input that shares the first output's memory.
    pub inputs: [&'a [T]; MAX_OPERANDS],
    pub outputs: [&'a mut [T]; MAX_OPERANDS],
    pub scratch: &'a mut [T],
    /// Frozen weights in the kernel's own order, if the op asked for it.
    pub packed: Option<&'a [T]>,
}

/// The gradients of a record's inputs, `None` where there is none or none is wanted.
pub type Gradients = Result<Vec<Option<Var>>>;

/// What the gradient of one record is recorded from.
pub struct Backward<'a> {
    pub tape: &'a mut Tape,
    record: &'a Record,
    /// Where the record is on the tape.
    at: usize,
    given: &'a [Option<Var>],
    wanted: &'a [bool],
}

impl<'a> Backward<'a> {
    /// Of `record`, the tape's record `at`. `given` has one entry for every output of it, `wanted` one for every input.
    pub fn new(
        tape: &'a mut Tape,
        (at, record): (usize, &'a Record),
        given: &'a [Option<Var>],
        wanted: &'a [bool],
    ) -> Self {
        Backward { tape, record, at, given, wanted }
    }

    /// The `i`-th input of the record.
    pub fn input(&self, i: usize) -> Var {
        self.record.inputs[i]
    }

    /// The `i`-th output of the record: its result, or what it saved.
    pub fn output(&self, i: usize) -> Var {
        self.record.outputs[i]
    }

    /// What the record is to save beside its only result now that its gradient is taken, for ops that would write it in vain
    /// where none is: `op` in place of the record's own also writes it.
    pub fn save(&mut self, op: impl Into<Op>, shape: Shape, dtype: DType) -> Var {
        // Another gradient of the same record may have asked before.
        if let Some(saved) = self.record.outputs.get(1) {
            return *saved;
        }
        let saved = self.tape.fresh(shape, dtype);
        let record = &mut self.tape.records[self.at];
        record.op = op.into();
        record.outputs.push(saved);
        saved
    }

    /// The gradient of the `i`-th output; `None` if nothing depends on it.
    pub fn given(&self, i: usize) -> Option<Var> {
        self.given[i]
    }

    /// Whether the `i`-th input needs a gradient.
    pub fn wanted(&self, i: usize) -> bool {
        self.wanted[i]
    }

    /// No gradient for any input.
    pub fn none(&self) -> Gradients {
        Ok(vec![None; self.wanted.len()])
    }

    /// The answer of ops that have no gradient because they only run in inference or in the backward pass itself.
    pub fn refuse(&self) -> Gradients {
        let name = self.record.op.name();
        Err(Error::Invalid(format!("{name} cannot be differentiated: it only runs outside of training losses")))
    }
}

macro_rules! operations {
    ($($variant:ident($type:path)),* $(,)?) => {
        /// Every op there is.
        #[derive(Clone, Debug)]
        pub enum Op { $($variant($type)),* }

        impl Op {
            /// Names of all ops.
            pub const NAMES: &'static [&'static str] = &[$(<$type as Operation>::NAME),*];

            pub fn name(&self) -> &'static str {
                match self { $(Op::$variant(_) => <$type as Operation>::NAME),* }
            }

            /// As [`Operation::multiply_adds`].
            pub fn multiply_adds(&self) -> u64 {
                match self { $(Op::$variant(o) => o.multiply_adds()),* }
            }
        }

        $(impl From<$type> for Op {
            fn from(o: $type) -> Op { Op::$variant(o) }
        })*

        /// Calls a generic method on whichever op it is: `dispatch!(op, o => o.run(args))`.
        macro_rules! dispatch_ops {
            ($op:expr, $o:ident => $body:expr) => {
                match $op { $($crate::engine::ops::Op::$variant($o) => $body),* }
            };
        }
        pub(crate) use dispatch_ops as dispatch;
    };
}

operations! {
    Activate(activation::Activate),
    ActivateBwd(activation::ActivateBwd),
    Adam(optimizer::Adam),
    Add(add::Add),
    AnomalyMap(anomaly_map::AnomalyMap),
    ArgMax(argmax::ArgMax),
    BatchNorm(batch_norm::BatchNorm),
    ClipGradNorm(optimizer::ClipGradNorm),
    Concat(concat::Concat),
    ConcatBwd(concat::ConcatBwd),
    Conv2d(conv2d::Forward),
    Conv2dBwdBias(conv2d::BwdBias),
    Conv2dBwdInput(conv2d::BwdInput),
    Conv2dBwdWeight(conv2d::BwdWeight),
    Conv2dInt8(conv2d_int8::Conv2dInt8),
    Conv2dPixels(conv2d_pixels::Conv2dPixels),
    ConvTranspose2d(conv_transpose2d::ConvTranspose2d),
    CosineLoss(cosine::Loss),
    CosineLossBwd(cosine::LossBwd),
    CosineMap(cosine::Map),
    CrossEntropy(cross_entropy::CrossEntropy),
    CrossEntropyBwd(cross_entropy::CrossEntropyBwd),
    Energy(energy::Energy),
    EnergyBwd(energy::EnergyBwd),
    Fill(fill::Fill),
    Gather(gather::Gather),
    InstanceNorm(instance_norm::InstanceNorm),
    InstanceNormBwd(instance_norm::InstanceNormBwd),
    Interpolate(interpolate::Interpolate),
    L2Normalize(l2_normalize::L2Normalize),
    L2NormalizeBwd(l2_normalize::L2NormalizeBwd),
    MaxPool(pool::MaxPool),
    MaxPoolBwd(pool::MaxPoolBwd),
    MeanPool(pool::MeanPool),
    MeanPoolBwd(pool::MeanPoolBwd),
    Nearest(nearest::Nearest),
    Neighbourhood(neighbourhood::Neighbourhood),
    Preprocess(preprocess::Preprocess),
    Quantize(quantize::Quantize),
    RunningStats(batch_norm::RunningStats),
    Sgd(optimizer::Sgd),
    TopKMean(topk::TopKMean),
    WeightDecay(optimizer::WeightDecay),
    WeightedSum(weighted_sum::WeightedSum),
    WeightedSumBwd(weighted_sum::WeightedSumBwd),
}

/// The test cases of every op, op by op.
pub fn cases() -> Vec<case::Case> {
    [
        activation::cases::cases(),
        add::cases::cases(),
        concat::cases::cases(),
        conv2d::cases::cases(),
        conv2d_int8::cases::cases(),
        conv2d_pixels::cases::cases(),
        conv_transpose2d::cases::cases(),
        fill::cases::cases(),
        instance_norm::cases::cases(),
        batch_norm::cases::cases(),
        l2_normalize::cases::cases(),
        pool::cases::cases(),
        interpolate::cases::cases(),
        preprocess::cases::cases(),
        quantize::cases::cases(),
        energy::cases::cases(),
        cosine::cases::cases(),
        cross_entropy::cases::cases(),
        weighted_sum::cases::cases(),
        anomaly_map::cases::cases(),
        topk::cases::cases(),
        nearest::cases::cases(),
        argmax::cases::cases(),
        gather::cases::cases(),
        neighbourhood::cases::cases(),
        optimizer::cases::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
