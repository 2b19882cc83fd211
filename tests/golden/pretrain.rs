//! Training a backbone from scratch by classification, against PyTorch's in f64 (pretrain.py): losses of every step, and all
//! parameters and running statistics after the last; and what is trained, folded.

use crate::common::{self, Golden, as_f64, golden_values, relative_error};
use ckaad::Result;
use ckaad::engine::device::{Session, cpu};
use ckaad::engine::gradcheck::Open;
use ckaad::engine::ops::conv2d;
use ckaad::engine::ops::optimizer::{Adam, Decay, LrSchedule, Sgd};
use ckaad::engine::params::{Init, Values};
use ckaad::engine::real::Real;
use ckaad::engine::tape::{NetId, Tape, Var};
use ckaad::engine::tensor::{DType, Shape};
use ckaad::model::layers::{self, Norm};
use ckaad::model::{Architecture, resnet};
use std::sync::Arc;

struct Pretraining {
    golden: Golden,
    architecture: Architecture,
}

struct Program {
    tape: Tape,
    backbone: NetId,
    head: NetId,
    pictures: Var,
    labels: Var,
    loss: Var,
}

impl Pretraining {
    fn open() -> Self {
        let golden = Golden::open("golden/pretrain.safetensors");
        let size = golden.metadata("image_size").parse().unwrap();
        Pretraining { golden, architecture: Architecture::new("resnet18", &[2], size).unwrap() }
    }

    fn number(&self, key: &str) -> f64 {
        self.golden.metadata(key).parse().unwrap()
    }

    fn count(&self, key: &str) -> usize {
        self.golden.metadata(key).parse().unwrap()
    }

    fn optimize(&self, t: &mut Tape, name: &str, net: NetId) -> Result<()> {
        let schedule = LrSchedule::Cosine { warmup: self.count("warmup"), steps: self.count("total") };
        let (sgd, lr) = (name == "sgd", self.number(if name == "sgd" { "lr" } else { "adam_lr" }));
        let how = if name == "adamw" { Decay::Decoupled { lr, schedule } } else { Decay::L2 };
        if t.parameters(net).network == "backbone" {
            t.weight_decay(net, self.number("decay"), how, |p| p.file_shape.len() == 4)?;
        }
        if sgd {
            return t.sgd(Sgd { net, lr, momentum: self.number("momentum"), nesterov: false, schedule });
        }
        t.adam(Adam { net, lr, betas: (self.number("beta1"), self.number("beta2")), eps: 1e-8, schedule })
    }

    /// A step of training.
    fn record(&self, name: &str, dtype: DType) -> Result<Program> {
        let (a, batch, classes) = (&self.architecture, self.count("batch"), self.count("classes"));
        let mut tape = Tape::new(dtype);
        let t = &mut tape;
        let (backbone, head) = (t.network("backbone"), t.network("head"));
        let pictures = t.input(Shape([batch, a.image_size, a.image_size, 3]), dtype)?;
        let labels = t.input(Shape([batch, 1, 1, 1]), dtype.exact())?;
        let mut statistics = vec![];
        let map = resnet::record_unfolded(t, backbone, a, pictures, Norm::Batch(&mut statistics))?[0];
        let pooled = t.mean_pool(map, a.sizes()[0], 1, 0)?;
        let weight = t.param(head, "weight", &[classes, a.channels()[0]], Init::Zeros)?;
        let bias = t.param(head, "bias", &[classes], Init::Zeros)?;
        let o = conv2d::Options { bias: Some(bias), ..conv2d::Options::square(1, 0) };
        let logits = t.conv2d(pooled, weight, o)?;
        let loss = t.cross_entropy(logits, labels, self.number("smoothing"))?;
        t.backward(loss, backbone)?;
        t.backward(loss, head)?;
        layers::update_running(t, backbone, &statistics)?;
        self.optimize(t, name, backbone)?;
        self.optimize(t, name, head)?;
        t.output(loss);
        Ok(Program { tape, backbone, head, pictures, labels, loss })
    }

    /// Takes so many steps; returns the backbone as it is then.
    fn train<T: Real>(&self, name: &str, steps: usize, tolerance: f64, dtype: DType, open: Open) -> Values<T> {
        let p = self.record(name, dtype).unwrap();
        let mut s = open(p.tape.clone()).unwrap();
        for net in [p.backbone, p.head] {
            s.write_params(net, &golden_values::<T>(p.tape.parameters(net))).unwrap();
        }
        let (batch, classes) = (self.count("batch"), self.count("classes") as f32);
        for step in 0..steps {
            let pictures = common::pictures(&format!("pictures.{step}"), batch, self.architecture.image_size);
            let labels = common::uniform(&format!("input.labels.{step}"), batch);
            let labels: Vec<f64> = labels.iter().map(|u| ((u + 1.0) / 2.0 * classes).floor() as f64).collect();
            s.write_values(p.pictures, &pictures).unwrap();
            s.write_values(p.labels, &labels).unwrap();
            s.run().unwrap();
            let (found, expected) = (s.scalar(p.loss).unwrap(), self.golden.get(&format!("{name}.losses"))[step]);
            let e = (found / expected - 1.0).abs();
            eprintln!("LOSS {name} {step} {e:.1e}");
            assert!(e <= tolerance, "{name}, step {step}: loss {found}, expected {expected} (relative error {e:e})");
        }
        if steps == self.count("steps") {
            for net in [p.backbone, p.head] {
                self.check_parameters::<T>(name, &p, net, &*s, tolerance);
            }
        }
        let mut trained = Values::zeros(Arc::new(p.tape.parameters(p.backbone).clone()));
        s.read_params(p.backbone, &mut trained).unwrap();
        trained
    }

    /// Norm, mean and first value of every tensor, on the scale of one of its values.
    fn check_parameters<T: Real>(&self, name: &str, p: &Program, net: NetId, s: &dyn Session, tolerance: f64) {
        let parameters = Arc::new(p.tape.parameters(net).clone());
        let mut after = Values::<T>::zeros(parameters.clone());
        s.read_params(net, &mut after).unwrap();
        let mut worst: f64 = 0.0;
        for e in parameters.entries() {
            let v = as_f64(&after.to_file(e));
            let root = (v.len() as f64).sqrt();
            let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            let found = [norm / root, v.iter().sum::<f64>() / v.len() as f64, v[0]];
            let golden = self.golden.get(&format!("{name}.after.{}.{}", parameters.network, e.name));
            let expected = [golden[0] / root, golden[1], golden[2]];
            for (found, of) in found.into_iter().zip(expected) {
                let error = (found - of).abs() / expected[0];
                worst = worst.max(error);
                let full = format!("{}.{}", parameters.network, e.name);
                assert!(error <= tolerance, "{name}: {full} is {found}, expected {of}: {error:e} of its scale");
            }
        }
        eprintln!("PARAMETERS {name} {} {worst:.1e}", parameters.network);
    }
}

const ALL: usize = 6;
/// Six steps from scratch amplify rounding, of f64's 1e-16 as well as of f32's 6e-8.
const F64: f64 = 1e-9;
const F32: f64 = 1e-3;
/// In two steps, of which every activation is rounded to 8 bits.
const BF16: f64 = 2e-2;

#[test]
fn training_f64() {
    for name in ["sgd", "adam", "adamw"] {
        Pretraining::open().train::<f64>(name, ALL, F64, DType::F64, &cpu::session);
    }
}

#[test]
fn training_f32() {
    for name in ["sgd", "adam", "adamw"] {
        Pretraining::open().train::<f32>(name, ALL, F32, DType::F32, &cpu::session);
    }
}

/// What scoring makes of the trained tensors, batch norms folded, is what the network has with batch norms by running statistics.
#[test]
fn trained_backbones_fold() {
    let p = Pretraining::open();
    let a = &p.architecture;
    let trained = p.train::<f32>("sgd", 2, F32, DType::F32, &cpu::session);
    let features = |values: &Values<f64>, folded: bool| {
        let mut t = Tape::new(DType::F64);
        let net = t.network("backbone");
        let x = t.input(Shape([2, a.image_size, a.image_size, 3]), DType::F64).unwrap();
        let maps = if folded {
            resnet::record(&mut t, net, a, x).unwrap()
        } else {
            resnet::record_unfolded(&mut t, net, a, x, Norm::Running).unwrap()
        };
        t.output(maps[0]);
        let mut s = cpu::session(t).unwrap();
        s.write_params(net, values).unwrap();
        s.write_values(x, &common::pictures("pictures.0", 2, a.image_size)).unwrap();
        s.run().unwrap();
        s.read_values(maps[0]).unwrap()
    };
    let (found, expected) =
        (features(&resnet::load(a, &trained).unwrap(), true), features(&trained.cast::<f64>(), false));
    let e = relative_error(&found, &expected);
    assert!(e <= 1e-12, "relative error {e:e}");
}

mod kernels {
    use super::*;

    #[test]
    fn first_steps() {
        for name in ["sgd", "adamw"] {
            Pretraining::open().train::<f32>(name, 2, F32, DType::F32, &crate::kernels::open);
        }
    }

    #[test]
    fn first_steps_bf16() {
        Pretraining::open().train::<f32>("sgd", 2, BF16, DType::Bf16, &crate::kernels::open);
    }
}
