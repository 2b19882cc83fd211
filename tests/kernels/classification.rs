//! What training by classification asks of the kernels and the case table cannot hold: PyTorch's numbers for ties and NaN in a
//! window, large logits, labels that are none. The CPU is held against the same.

use crate::session;
use ckaad::engine::device::{Session, cpu};
use ckaad::engine::tape::{Tape, Var};
use ckaad::engine::tensor::{DType, Shape};
use ckaad::engine::toolkit::cuda::Number;

fn sessions(t: &Tape) -> [Box<dyn Session>; 2] {
    [cpu::session(t.clone()).unwrap(), Box::new(session(t.clone(), Number::F32).unwrap())]
}

fn same(found: &[f64], expected: &[f64]) -> bool {
    let equal = |(a, b): (&f64, &f64)| a == b || a.is_nan() && b.is_nan();
    found.len() == expected.len() && found.iter().zip(expected).all(equal)
}

/// The gradient is 1, 2, 3 ... of the maxima in order; each kind of window once alone, once as a channel of four.
#[test]
fn maxima_of_ties_and_nan_are_pytorchs() {
    const N: f64 = f64::NAN;
    const I: f64 = f64::INFINITY;
    #[rustfmt::skip]
    let x = [
        1.0, 1.0, 2.0, 2.0, 0.0,
        1.0, N, N, 1.0, 0.0,
        3.0, 3.0, -I, -I, 0.0,
        -0.0, 0.0, -I, -I, 5.0,
        0.0, 0.0, 5.0, 5.0, 5.0,
    ];
    type Expected<'a> = ((usize, usize, usize), &'a [f64], &'a [(usize, f64)]);
    let windows: [Expected; 3] = [
        (
            (3, 2, 1),
            &[N, N, 2.0, N, N, 5.0, 0.0, 5.0, 5.0],
            &[(3, 3.0), (6, 5.0), (7, 7.0), (15, 7.0), (19, 15.0), (22, 8.0)],
        ),
        ((2, 2, 0), &[N, N, 3.0, -I], &[(6, 1.0), (7, 2.0), (10, 3.0), (12, 4.0)]),
        (
            (2, 1, 0),
            &[N, N, N, 2.0, N, N, N, 1.0, 3.0, 3.0, -I, 5.0, 0.0, 5.0, 5.0, 5.0],
            &[
                (3, 4.0),
                (6, 6.0),
                (7, 18.0),
                (8, 8.0),
                (10, 9.0),
                (11, 10.0),
                (12, 11.0),
                (15, 13.0),
                (19, 28.0),
                (22, 29.0),
            ],
        ),
    ];
    for ((kernel, stride, pad), maxima, gradient) in windows {
        for c in [1, 4] {
            let spread = |x: &[f64]| -> Vec<f64> { x.iter().flat_map(|x| vec![*x; c]).collect() };
            let mut t = Tape::new(DType::F32);
            let input = t.input(Shape([1, 5, 5, c]), DType::F32).unwrap();
            let y = t.max_pool(input, kernel, stride, pad).unwrap();
            let dy = t.input(t.shape(y), DType::F32).unwrap();
            let dx = t.gradients(&[(y, dy)], &[input]).unwrap()[0].unwrap();
            // Once more: what the maxima's places are is known by then.
            let again = t.gradients(&[(y, dy)], &[input]).unwrap()[0].unwrap();
            for v in [y, dx, again] {
                t.output(v);
            }
            let mut expected = vec![0.0; 25];
            gradient.iter().for_each(|(at, g)| expected[*at] = *g);
            for mut s in sessions(&t) {
                s.write_values(input, &spread(&x)).unwrap();
                let ordinals: Vec<f64> = (1..=maxima.len()).map(|i| i as f64).collect();
                s.write_values(dy, &spread(&ordinals)).unwrap();
                s.run().unwrap();
                let [found, dx, again] = [y, dx, again].map(|v| s.read_values(v).unwrap());
                assert!(same(&found, &spread(maxima)), "{kernel}, {stride}, {pad}: {found:?}");
                assert_eq!(dx, spread(&expected), "{kernel}, {stride}, {pad}");
                assert_eq!(dx, again);
            }
        }
    }
}

/// A byte counts 256 taps. Wider windows can be taken the maximum of, as long as nobody asks for a gradient.
#[test]
fn maxima_of_wide_windows_have_no_gradient() {
    let mut t = Tape::new(DType::F32);
    let x = t.input(Shape([1, 17, 17, 1]), DType::F32).unwrap();
    for kernel in [16, 17] {
        let y = t.max_pool(x, kernel, 1, 0).unwrap();
        let dy = t.input(t.shape(y), DType::F32).unwrap();
        match t.gradients(&[(y, dy)], &[x]) {
            Ok(_) => assert_eq!(kernel, 16),
            Err(e) => assert!(e.to_string().contains("wider than 16, found 17"), "{e}"),
        }
    }
}

/// A loss, and the gradient of its logits.
fn cross_entropy(rows: usize, classes: usize, smoothing: f64) -> (Tape, [Var; 4]) {
    let mut t = Tape::new(DType::F32);
    let logits = t.input(Shape([rows, 1, 1, classes]), DType::F32).unwrap();
    let labels = t.input(Shape([rows, 1, 1, 1]), DType::F32).unwrap();
    let loss = t.cross_entropy(logits, labels, smoothing).unwrap();
    let seed = t.input(Shape::SCALAR, DType::F32).unwrap();
    let gradient = t.gradients(&[(loss, seed)], &[logits]).unwrap()[0].unwrap();
    t.output(loss);
    t.output(gradient);
    (t, [logits, labels, loss, gradient])
}

/// `torch.nn.functional.cross_entropy` in f64.
#[test]
fn cross_entropies_are_pytorchs() {
    let logits = [0.5, -1.0, 2.0, 0.1, 0.2, 0.3, 100.0, -100.0, 99.5, -3e4, 2e4, -5.0];
    #[rustfmt::skip]
    let expected = [
        (0.0, 50.80433278226663, [
            -0.20617740196499082, 0.009778143317671862, 0.19639925864731897, 0.07515240133893183, 0.08305624838333683,
            -0.1582086497222686, 0.15561483280046365, -0.25, 0.09438516719953635, 0.0, 0.0, 0.0,
        ]),
        (0.1, 630.8526661156, [
            -0.18951073529832416, 0.0014448099843385291, 0.18806592531398564, 0.0668190680055985, 0.0747229150500035,
            -0.14154198305560195, 0.14728149946713032, -0.23333333333333334, 0.08605183386620302, -0.008333333333333333,
            0.016666666666666663, -0.008333333333333333,
        ]),
    ];
    for (smoothing, loss, gradient) in expected {
        let (t, [x, labels, y, dx]) = cross_entropy(4, 3, smoothing);
        let seed = t.records().last().unwrap().inputs[0];
        for mut s in sessions(&t) {
            s.write_values(x, &logits).unwrap();
            s.write_values(labels, &[0.0, 2.0, 1.0, 1.0]).unwrap();
            s.write_values(seed, &[1.0]).unwrap();
            s.run().unwrap();
            let (found, found_gradient) = (s.scalar(y).unwrap(), s.read_values(dx).unwrap());
            assert!((found / loss - 1.0).abs() <= 2e-7, "{found}, expected {loss}");
            for (found, expected) in found_gradient.iter().zip(gradient) {
                assert!((found - expected).abs() <= 5e-8, "{found_gradient:?}");
            }
        }
    }
}

/// A class of probability 0 is no label's, and costs nothing unless it is smoothed.
#[test]
fn impossible_classes_cost_nothing() {
    for (smoothing, expected) in [(0.0, 0.20141327798275246), (0.1, f64::INFINITY)] {
        let (t, [x, labels, y, _]) = cross_entropy(1, 3, smoothing);
        let seed = t.records().last().unwrap().inputs[0];
        for mut s in sessions(&t) {
            s.write_values(x, &[0.5, f64::NEG_INFINITY, 2.0]).unwrap();
            s.write_values(labels, &[2.0]).unwrap();
            s.write_values(seed, &[1.0]).unwrap();
            s.run().unwrap();
            let found = s.scalar(y).unwrap();
            assert!(found == expected || (found - expected).abs() <= 1e-7, "{found}, expected {expected}");
        }
    }
}

/// A label that is no class is seen in the loss, and in the gradient of its row alone; the emulator would stop at a read by it.
#[test]
fn labels_that_are_no_class_make_the_loss_nan() {
    for bad in [3.0, -1.0, 0.5, 1e9, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        let (t, [x, labels, y, dx]) = cross_entropy(2, 3, 0.1);
        let seed = t.records().last().unwrap().inputs[0];
        for mut s in sessions(&t) {
            s.write_values(x, &[0.5, -1.0, 2.0, 0.1, 0.2, 0.3]).unwrap();
            s.write_values(labels, &[1.0, bad]).unwrap();
            s.write_values(seed, &[1.0]).unwrap();
            s.run().unwrap();
            assert!(s.scalar(y).unwrap().is_nan(), "{bad}");
            let gradient = s.read_values(dx).unwrap();
            assert!(gradient[..3].iter().all(|g| g.is_finite()) && gradient[3..].iter().all(|g| g.is_nan()), "{bad}");
        }
    }
}
