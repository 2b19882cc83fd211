//! The optimizers, weight decay and the gradient clip, against PyTorch's own numbers and against its formulas written out.

use ckaad::engine::device::{Session, cpu};
use ckaad::engine::ops::Op;
use ckaad::engine::ops::optimizer::{Adam, Decay, LrSchedule, Sgd};
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
    /// Where the test's numbers lie; parameters lie apart, each on its own cache line.
    places: Vec<usize>,
}

impl Update {
    fn new(dtype: DType, lens: &[usize], s: Settings) -> (Self, Var) {
        let mut norm = None;
        let update = Self::of(dtype, lens, |t, net| {
            norm = Some(t.clip_grad_norm(net, s.clip)?);
            t.output(norm.unwrap());
            t.adam(Adam { net, lr: s.lr, betas: s.betas, eps: s.eps, schedule: LrSchedule::Constant })
        });
        (update, norm.unwrap())
    }

    fn of(dtype: DType, lens: &[usize], record: impl FnOnce(&mut Tape, NetId) -> ckaad::Result<()>) -> Self {
        let mut t = Tape::new(dtype);
        let net = t.network("net");
        for (i, len) in lens.iter().enumerate() {
            t.param(net, &format!("p{i}"), &[*len], Init::Zeros).unwrap();
        }
        record(&mut t, net).unwrap();
        let places = t.parameters(net).entries().iter().flat_map(|e| e.range.clone()).collect();
        Update { session: cpu::session(t).unwrap(), net, places }
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
    let (mut update, norm_found) = Update::new(DType::F64, &[4], settings);
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
        let found = update.session.scalar(norm_found).unwrap();
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
            let (mut update, norm_found) = Update::new(dtype, &lens, s);
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
                let found = update.session.scalar(norm_found).unwrap();
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
    let (mut update, norm_found) = Update::new(DType::F32, &[3], settings);
    update.write("params", &[1.0; 3]);
    update.write("grads", &[0.5, f64::NAN, 0.5]);
    update.session.run().unwrap();
    assert!(update.session.scalar(norm_found).unwrap().is_nan());
    assert!(update.read("params").iter().any(|p| p.is_nan()));
}

/// Four and two parameters of which the four decay; gradients of five steps.
const START: [f64; 6] = [0.5, -1.0, 2.0, 0.25, 1.0, -0.5];
const GRADIENTS: [[f64; 6]; 5] = [
    [0.1, -0.2, 0.3, 0.0, 1.0, 2.0],
    [3.0, -4.0, 12.0, 1.0, -1.0, 0.5],
    [1e-3, 2e-3, -1e-9, -0.5, 0.0, 0.25],
    [0.5, 0.5, -1.0, 2.0, 4.0, -3.0],
    [1.0; 6],
];

/// Parameters after each of the steps, as PyTorch 2 has them in f64 with `weight_decay` 0.1 of the four. The fifth step of a schedule
/// of four moves nothing.
#[test]
fn steps_are_pytorchs() {
    const COSINE: LrSchedule = LrSchedule::Cosine { warmup: 2, steps: 4 };
    type Record = fn(&mut Tape, NetId) -> ckaad::Result<()>;
    fn decayed(t: &mut Tape, net: NetId, how: Decay) -> ckaad::Result<()> {
        t.weight_decay(net, 0.1, how, |p| p.name == "p0")
    }
    fn sgd(t: &mut Tape, net: NetId, nesterov: bool, schedule: LrSchedule) -> ckaad::Result<()> {
        decayed(t, net, Decay::L2)?;
        t.sgd(Sgd { net, lr: 0.1, momentum: 0.9, nesterov, schedule })
    }
    fn adam(t: &mut Tape, net: NetId, how: Decay) -> ckaad::Result<()> {
        decayed(t, net, how)?;
        t.adam(Adam { net, lr: 0.01, betas: (0.9, 0.99), eps: 1e-8, schedule: COSINE })
    }
    // Its name, how it is recorded, parameters after four steps and after the fifth.
    type Expected = (&'static str, Record, [[f64; 6]; 4], [f64; 6]);
    #[rustfmt::skip]
    let expected: [Expected; 4] = [
        ("SGD", |t, net| sgd(t, net, false, COSINE), [
            [0.4925, -0.985, 1.975, 0.24875, 0.95, -0.6],
            [0.17407499999999998, -0.5481499999999999, 0.7102500000000002, 0.1440125, 0.96, -0.83],
            [-0.11434825000000004, -0.14970349999999988, -0.43512749989999994, 0.09830862499999998, 0.969, -1.062],
            [-0.26856697125000006, 0.005345942500000142, -0.8983717373554999, -0.02274966187500002, 0.77305, -1.0164],
        ], [-0.26856697125000006, 0.005345942500000142, -0.8983717373554999, -0.02274966187500002, 0.77305, -1.0164]),
        ("SGD with Nesterov's momentum", |t, net| sgd(t, net, true, LrSchedule::Constant), [
            [0.4715, -0.943, 1.905, 0.24525, 0.81, -0.88],
            [-0.11960850000000005, -0.140783, -0.45169499999999996, 0.04856525, 0.919, -1.137],
            [-0.37528008850000005, 0.21502017700000006, -1.46699329481, 0.057833485250000004, 0.9271, -1.3708],
            [-0.6942406729685001, 0.4350706059370001, -2.1669541426276098, -0.35948685199475006, 0.17439, -0.98872],
        ], [-1.1164921470002487, 0.4817848320604971, -3.0489497166068245, -0.7377244039598748, -0.33304900000000004, -1.104848]),
        ("Adam", |t, net| adam(t, net, Decay::L2), [
            [0.4950000003333333, -0.9950000001666667, 1.9950000001, 0.2450000019999992, 0.99500000005, -0.504999999975],
            [0.48725598794051944, -0.9871073004845907, 1.9873079261682822, 0.23741458121361317, 0.9955263158342105, -0.5133226133942665],
            [0.48115294508155537, -0.9808437075711068, 1.9812451814252385, 0.2347810922318081, 0.9959340852168034, -0.5204958228043104],
            [0.47817292849623905, -0.9785685220602932, 1.9789528760488317, 0.2317324464826845, 0.9932644855661994, -0.5197710336021493],
        ], [0.47817292849623905, -0.9785685220602932, 1.9789528760488317, 0.2317324464826845, 0.9932644855661994, -0.5197710336021493]),
        ("AdamW", |t, net| adam(t, net, Decay::Decoupled { lr: 0.01, schedule: COSINE }), [
            [0.49475000049999995, -0.9945000002500001, 1.9940000001666667, 0.249875, 0.99500000005, -0.504999999975],
            [0.4866121172827648, -0.9857563790994911, 1.984416696416759, 0.24220052722070218, 0.9955263158342105, -0.5133226133942665],
            [0.4802017682678769, -0.978770091919921, 1.9765523768120041, 0.23967396227438967, 0.9959340852168034, -0.5204958228043104],
            [0.4770847885511834, -0.9761979188627695, 1.9734008874664368, 0.2365751372975646, 0.9932644855661994, -0.5197710336021493],
        ], [0.4770847885511834, -0.9761979188627695, 1.9734008874664368, 0.2365751372975646, 0.9932644855661994, -0.5197710336021493]),
    ];
    for (name, record, first, last) in expected {
        for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
            let mut update = Update::of(dtype, &[4, 2], record);
            update.write("params", &START);
            for (step, (gradients, after)) in GRADIENTS.iter().zip(first.iter().chain([&last])).enumerate() {
                update.write("grads", gradients);
                update.session.run().unwrap();
                let found = update.read("params");
                let e = relative_error(&found, after);
                assert!(e <= tolerance, "{name}, {dtype}, step {step}: {found:?}, expected {after:?}");
            }
        }
    }
}

/// Parameters that lie side by side decay as one piece, and no others.
#[test]
fn neighbours_decay_together() {
    let mut t = Tape::new(DType::F32);
    let net = t.network("net");
    for i in 0..5 {
        t.param(net, &format!("p{i}"), &[20], Init::Zeros).unwrap();
    }
    t.weight_decay(net, 0.1, Decay::L2, |p| p.name != "p2").unwrap();
    let Op::WeightDecay(op) = &t.records()[0].op else { panic!("{t}") };
    assert_eq!(op.ranges, [0..64, 96..160]);
    let message = t.weight_decay(net, 0.1, Decay::L2, |_| false).unwrap_err().to_string();
    assert!(message.contains("network net") && message.contains("none of its 5 parameters"), "{message}");
}

#[test]
fn schedules_that_cannot_be_are_refused() {
    let mut t = Tape::new(DType::F32);
    let net = t.network("net");
    t.param(net, "p", &[4], Init::Zeros).unwrap();
    for (warmup, steps) in [(5, 5), (0, 0), (1, usize::MAX)] {
        let schedule = LrSchedule::Cosine { warmup, steps };
        let step = Sgd { net, lr: 0.1, momentum: 0.9, nesterov: false, schedule };
        let message = t.sgd(step).unwrap_err().to_string();
        assert!(message.contains(&format!("over {warmup} steps of {steps}")), "{message}");
    }
    assert_eq!(LrSchedule::Cosine { warmup: 0, steps: 2 }.factor(0.0), 1.0);
}
