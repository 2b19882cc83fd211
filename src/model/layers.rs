//! Layers of networks, recorded with their parameters under PyTorch's names.

use super::Architecture;
use crate::engine::ops::batch_norm::BatchStatistics;
use crate::engine::ops::{Activation, conv2d, instance_norm};
use crate::engine::params::Init;
use crate::engine::tape::{NetId, Tape, Var};
use crate::{Result, invalid};

const NORM_EPS: f64 = 1e-5;
/// Of running statistics, as PyTorch's default.
const MOMENTUM: f64 = 0.1;

/// How the convolutions of a network are initialised.
#[derive(Clone, Copy)]
pub enum ConvInit {
    /// Kaiming normal over the fan-out with ReLU's gain.
    KaimingFanOut,
    /// PyTorch's default: uniform within 1 / sqrt(fan-in).
    Default,
}

impl ConvInit {
    /// Of a convolution with so many channels in and out, and taps for each pair of them.
    pub fn of(self, channels: usize, out: usize, taps: usize) -> Init {
        match self {
            ConvInit::KaimingFanOut => Init::Normal((2.0 / (out * taps) as f64).sqrt()),
            ConvInit::Default => Init::Uniform(1.0 / ((channels * taps) as f64).sqrt()),
        }
    }
}

/// What the affine norms of a network take their statistics from.
pub enum Norm<'a> {
    /// Every picture alone.
    Instance,
    /// The batch, in training. What running statistics are to learn from it is added here; see [`update_running`].
    Batch(&'a mut Vec<BatchStatistics>),
    /// What was learned of batches, in scoring.
    Running,
}

/// Records layers of one network, naming their parameters.
pub struct Recorder<'a> {
    pub tape: &'a mut Tape,
    pub net: NetId,
    pub conv_init: ConvInit,
    pub norm: Norm<'a>,
}

impl Recorder<'_> {
    /// Channels of a map.
    pub fn channels(&self, v: Var) -> usize {
        self.tape.shape(v).c()
    }

    /// Names what is recorded next, behind the network's name.
    pub fn label(&mut self, name: &str) {
        let label = format!("{}.{name}", self.tape.parameters(self.net).network);
        self.tape.set_label(label);
    }

    /// A square convolution without bias, parameter `<name>.weight`.
    pub fn conv(&mut self, x: Var, name: &str, out: usize, kernel: usize, o: conv2d::Options) -> Result<Var> {
        self.label(name);
        let c = self.channels(x);
        let init = self.conv_init.of(c, out, kernel * kernel);
        let w = self.tape.param(self.net, &format!("{name}.weight"), &[out, c, kernel, kernel], init)?;
        self.tape.conv2d(x, w, o)
    }

    /// A 2x2 transposed convolution with stride 2, parameter `<name>.weight`.
    pub fn conv_transpose(&mut self, x: Var, name: &str, out: usize) -> Result<Var> {
        self.label(name);
        let c = self.channels(x);
        // PyTorch takes the fan-in of a transposed convolution from its second axis.
        let init = Init::Uniform(1.0 / ((out * 4) as f64).sqrt());
        let w = self.tape.param(self.net, &format!("{name}.weight"), &[c, out, 2, 2], init)?;
        self.tape.conv_transpose2d(x, w, [2; 2], [0; 2], [0; 2])
    }

    /// Affine norm, parameters `<name>.weight` and `<name>.bias`, for a batch norm also `<name>.running_mean` and
    /// `<name>.running_var`, with residual and activation fused.
    pub fn norm(&mut self, x: Var, name: &str, residual: Option<Var>, act: Activation) -> Result<Var> {
        self.label(name);
        let c = self.channels(x);
        let gamma = self.tape.param(self.net, &format!("{name}.weight"), &[c], Init::Ones)?;
        let beta = self.tape.param(self.net, &format!("{name}.bias"), &[c], Init::Zeros)?;
        let o = instance_norm::Options { affine: Some((gamma, beta)), residual, act };
        if let Norm::Instance = self.norm {
            return self.tape.instance_norm(x, NORM_EPS, o);
        }
        let running = ["running_mean", "running_var"].map(|what| format!("{name}.{what}"));
        let mean = self.tape.param(self.net, &running[0], &[c], Init::Zeros)?;
        let var = self.tape.param(self.net, &running[1], &[c], Init::Ones)?;
        let Norm::Batch(statistics) = &mut self.norm else {
            return self.tape.batch_norm_by(x, [mean, var], NORM_EPS, o);
        };
        let count = self.tape.shape(x).len() / c;
        let (y, [mean, rstd]) = self.tape.batch_norm(x, NORM_EPS, o)?;
        statistics.push(BatchStatistics { running, mean, rstd, count, eps: NORM_EPS });
        Ok(y)
    }

    /// Instance norm without parameters.
    pub fn plain_norm(&mut self, x: Var, name: &str, act: Activation) -> Result<Var> {
        self.label(name);
        self.tape.instance_norm(x, NORM_EPS, instance_norm::Options { act, ..Default::default() })
    }
}

/// Updates the running statistics of a network from its batches, one after the other. To be recorded after all its layers, and
/// before its parameters' own update, which is what rounds them where programs keep 16 bits.
pub fn update_running(tape: &mut Tape, net: NetId, batches: &[BatchStatistics]) -> Result<()> {
    batches.iter().try_for_each(|batch| tape.running_stats(net, batch, MOMENTUM))
}

/// Refuses feature maps that do not belong to the architecture.
pub fn expect_maps(tape: &Tape, maps: &[Var], a: &Architecture) -> Result<()> {
    let found: Vec<(usize, usize)> = maps.iter().map(|m| (tape.shape(*m).h(), tape.shape(*m).c())).collect();
    let expected: Vec<(usize, usize)> = a.sizes().into_iter().zip(a.channels()).collect();
    if found != expected {
        invalid!("feature maps of (size, channels) {found:?}, expected {expected:?}");
    }
    Ok(())
}
