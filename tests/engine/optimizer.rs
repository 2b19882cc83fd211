//! Adam and the gradient clip, against PyTorch's own numbers and against its formulas written out.

use ckaad::engine::device::{Session, cpu};
use ckaad::engine::ops::optimizer::Adam;
use ckaad::engine::params::Init;
use ckaad::engine::tape::{NetId, Tape, Var, Whole};
use ckaad::engine::tensor::DType;

use crate::common::{relative_error, uniform};

#[derive(Clone, Copy)]
struct Settings {
    lr: f64,
    betas: (f64, f64),
    eps: f64,
    clip: f64,
}

/// A program that does nothing but clip and update: the test writes the gradients.
struct Update {
    session: Box<dyn Session>,
    net: NetId,
    norm: Var,
    /// Where the test's numbers lie; parameters lie apart, each on its own cache line.
    places: Vec<usize>,
}

impl Update {
    fn new(dtype: DType, lens: &[usize], s: Settings) -> Self {
        let mut t = Tape::new(dtype);
        let net = t.network("net");
        for (i, len) in lens.iter().enumerate() {
            t.param(net, &format!("p{i}"), &[*len], Init::Zeros).unwrap();
        }
        let norm = t.clip_grad_norm(net, s.clip).unwrap();
        t.output(norm);
        t.adam(Adam { net, lr: s.lr, betas: s.betas, eps: s.eps }).unwrap();
        let places = t.parameters(net).entries().iter().flat_map(|e| e.range.clone()).collect();
        Update { session: cpu::session(t).unwrap(), net, norm, places }
    }

    /// All of the network's `what`: a whole of it, or a state.
    fn var(&self, what: &str) -> Var {
        let tape = self.session.tape();
        match what {
            "params" => tape.find_whole(self.net, Whole::Params).unwrap(),
            "grads" => tape.find_whole(self.net, Whole::Grads).unwrap(),
            state => tape.states().iter().find(|s| s.name == state).unwrap().var,
        }
    }

    fn read(&self, what: &str) -> Vec<f64> {
        let values = self.session.read_values(self.var(what)).unwrap();
        self.places.iter().map(|i| values[*i]).collect()
    }

    fn write(&mut self, what: &str, values: &[f64]) {
        let mut all = vec![0.0; self.session.tape().parameters(self.net).len()];
        self.places.iter().zip(values).for_each(|(i, v)| all[*i] = *v);
        self.session.write_values(self.var(what), &all).unwrap();
    }
}

/// `torch.optim.Adam` behind `clip_grad_norm_`, as PyTorch 2 computes them in f64.
#[test]
fn pytorchs_numbers() {
    let settings = Settings { lr: 0.01, betas: (0.5, 0.999), eps: 1e-8, clip: 1.0 };
    let mut update = Update::new(DType::F64, &[4], settings);
    update.write("params", &[0.5, -1.0, 2.0, 0.25]);
    let steps = [
        ([0.1, -0.2, 0.3, 0.0], 0.37416573867739417, [0.4900000009999999, -0.9900000005, 1.9900000003333334, 0.25]),
        (
            [3.0, -4.0, 12.0, 1.0],
            13.038404810405298,
            [0.4794760452848817, -0.9795286445531988, 1.9795772672307108, 0.24057426863906944],
        ),
        (
            [1e-3, 2e-3, -1e-9, -0.5],
            0.5000049999750003,
            [0.4739113272576071, -0.9740850932475298, 1.9741051028855048, 0.24960254188522357],
        ),
    ];
    for (gradients, norm, after) in steps {
        update.write("grads", &gradients);
        update.session.run().unwrap();
        let found = update.session.scalar(update.norm).unwrap();
        assert!((found - norm).abs() <= 1e-14 * norm, "norm {found}, expected {norm}");
        let found = update.read("params");
        let e = relative_error(&found, &after);
        assert!(e <= 1e-14, "{found:?}, expected {after:?}");
    }
}

/// Ten steps with several tensors and gradients of all sizes. In f64 the plain sum of 20,000 squares here is what rounds.
#[test]
fn formulas() {
    let kinds = [
        Settings { lr: 1e-3, betas: (0.9, 0.999), eps: 1e-8, clip: 1.0 },
        Settings { lr: 1e-1, betas: (0.5, 0.99), eps: 1e-3, clip: 1e6 },
    ];
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-6)] {
        for s in kinds {
            // More than one chunk of the parallel kernels, and lengths that leave gaps in the arena.
            let lens = [5, 20_000, 1, 333];
            let n: usize = lens.iter().sum();
            let number = |name: &str| -> Vec<f64> { uniform(name, n).into_iter().map(f64::from).collect() };
            let mut update = Update::new(dtype, &lens, s);
            let (mut p, mut m, mut v) = (number("start"), vec![0.0; n], vec![0.0; n]);
            update.write("params", &p);
            for t in 1..=10 {
                let size = 10f64.powi(t % 5 - 4);
                let mut g: Vec<f64> = number(&format!("gradient {t}")).iter().map(|x| x * size).collect();
                update.write("grads", &g);
                update.session.run().unwrap();

                let norm = g.iter().map(|g| g * g).sum::<f64>().sqrt();
                let scale = (s.clip / (norm + 1e-6)).min(1.0);
                let (b1, b2) = s.betas;
                for i in 0..n {
                    g[i] *= scale;
                    m[i] = b1 * m[i] + (1.0 - b1) * g[i];
                    v[i] = b2 * v[i] + (1.0 - b2) * g[i] * g[i];
                    let (m_hat, v_hat) = (m[i] / (1.0 - b1.powi(t)), v[i] / (1.0 - b2.powi(t)));
                    p[i] -= s.lr * m_hat / (v_hat.sqrt() + s.eps);
                }
                let found = update.session.scalar(update.norm).unwrap();
                assert!((found - norm).abs() <= tolerance * norm, "{dtype} step {t}: norm {found}, expected {norm}");
                for (what, expected) in [("grads", &g), ("moment1", &m), ("moment2", &v), ("params", &p)] {
                    let e = relative_error(&update.read(what), expected);
                    assert!(e <= tolerance, "{dtype} step {t}: {what} {e:e} from the formula");
                }
            }
        }
    }
}

/// A NaN among the gradients must reach the parameters: a clip that swallowed it would hide a broken loss.
#[test]
fn nan_is_not_clipped_away() {
    let settings = Settings { lr: 1e-3, betas: (0.9, 0.999), eps: 1e-8, clip: 1.0 };
    let mut update = Update::new(DType::F32, &[3], settings);
    update.write("params", &[1.0; 3]);
    update.write("grads", &[0.5, f64::NAN, 0.5]);
    update.session.run().unwrap();
    assert!(update.session.scalar(update.norm).unwrap().is_nan());
    assert!(update.read("params").iter().any(|p| p.is_nan()));
}
