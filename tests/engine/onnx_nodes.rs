//! Operators against the ONNX backend test suite (onnx 1.22.0): inputs and outputs that others computed.
//!
//! The file holds f32; relative errors (Euclidean norm) up to 1e-5 leave room for another order of summation.

use crate::common::{Golden, relative_error};
use ckaad::engine::device::cpu;
use ckaad::engine::ops::{Activation, conv2d, instance_norm};
use ckaad::engine::tape::{Tape, Var};
use ckaad::engine::tensor::{DType, Shape};
use ckaad::model::resnet;
use std::collections::BTreeSet;

/// Cases the engine does not compute, and why.
const NOT_COVERED: [(&str, &str); 2] = [
    ("adam", "ONNX's Adam adds weight decay to the gradient and starts counting steps at 0, without bias correction"),
    ("adam_multiple", "as adam"),
];

const TOLERANCE: f64 = 1e-5;

struct Node<'a> {
    file: &'a Golden,
    name: &'a str,
    op: String,
    attributes: serde_json::Value,
}

impl<'a> Node<'a> {
    fn new(file: &'a Golden, name: &'a str) -> Self {
        let info: serde_json::Value = serde_json::from_str(&file.metadata(name)).unwrap();
        let op = info["op"].as_str().unwrap().to_string();
        Node { file, name, op, attributes: info["attributes"].clone() }
    }

    fn number(&self, key: &str, default: f64) -> f64 {
        self.attributes.get(key).map_or(default, |v| v.as_f64().unwrap())
    }

    fn sizes(&self, key: &str, default: &[usize]) -> Vec<usize> {
        let list = |v: &serde_json::Value| v.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect();
        self.attributes.get(key).map_or(default.to_vec(), list)
    }

    /// A pair that begins as many axes as there are: (top, left) of pads too, since all cases pad both sides alike.
    fn pair(&self, key: &str, default: usize) -> [usize; 2] {
        let v = self.sizes(key, &[default; 4]);
        assert!(v.len() == 2 || v[..2] == v[2..], "{}: uneven {key} {v:?}", self.name);
        [v[0], v[1]]
    }

    fn has(&self, tensor: &str) -> bool {
        self.file.names().contains(&format!("{}/{tensor}", self.name))
    }

    fn values(&self, tensor: &str) -> Vec<f64> {
        self.file.get(&format!("{}/{tensor}", self.name))
    }

    fn f32(&self, tensor: &str) -> Vec<f32> {
        self.values(tensor).into_iter().map(|v| v as f32).collect()
    }

    fn shape(&self, tensor: &str) -> Vec<usize> {
        self.file.shape(&format!("{}/{tensor}", self.name))
    }
}

/// A program of one node and what its inputs are filled with.
struct Program {
    tape: Tape,
    inputs: Vec<(Var, Vec<f64>)>,
}

impl Program {
    fn fill(&mut self, shape: Shape, values: Vec<f64>) -> Var {
        let v = self.tape.input(shape, self.tape.dtype()).unwrap();
        self.inputs.push((v, values));
        v
    }

    /// An input of the node: (n, c, h, w) as NHWC, (out, in, kh, kw) as KRSC, both the same permutation; (c) as a vector.
    fn input(&mut self, node: &Node, i: usize) -> Var {
        let name = format!("in.{i}");
        let (shape, values) = (node.shape(&name), node.values(&name));
        match shape[..] {
            [n, c, h, w] => self.fill(Shape([n, h, w, c]), channels_last(&values, [n, c, h * w])),
            _ => self.fill(Shape::vector(values.len()), values),
        }
    }

    /// Runs and returns the result, NCHW.
    fn run(mut self, out: Var) -> Vec<f64> {
        self.tape.output(out);
        let shape = self.tape.shape(out);
        let mut session = cpu::session(self.tape).unwrap();
        for (v, values) in &self.inputs {
            session.write_values(*v, values).unwrap();
        }
        session.run().unwrap();
        // Back by the same rule with the roles of channels and positions swapped.
        channels_last(&session.read_values(out).unwrap(), [shape.n(), shape.h() * shape.w(), shape.c()])
    }
}

/// (n, c, p) to (n, p, c)
fn channels_last(x: &[f64], [n, c, p]: [usize; 3]) -> Vec<f64> {
    (0..n * c * p).map(|i| x[(i / (c * p) * c + i % c) * p + i / c % p]).collect()
}

/// The node's result and the expected one; `None` if no op computes it.
fn compute(node: &Node, dtype: DType) -> Option<(Vec<f64>, Vec<f64>)> {
    let mut p = Program { tape: Tape::new(dtype), inputs: vec![] };
    let expected = node.values("out.0");
    let out = match node.op.as_str() {
        "Conv" => {
            assert!(node.pair("dilations", 1) == [1, 1] && node.number("group", 1.0) == 1.0);
            let (x, w) = (p.input(node, 0), p.input(node, 1));
            let bias = node.has("in.2").then(|| p.input(node, 2));
            let (stride, pad) = (node.pair("strides", 1), node.pair("pads", 0));
            p.tape.conv2d(x, w, conv2d::Options { stride, pad, bias, ..Default::default() })
        }
        "ConvTranspose" => {
            assert!(node.pair("dilations", 1) == [1, 1] && node.number("group", 1.0) == 1.0);
            let (x, w) = (p.input(node, 0), p.input(node, 1));
            let (stride, pad) = (node.pair("strides", 1), node.pair("pads", 0));
            let y = p.tape.conv_transpose2d(x, w, stride, pad, node.pair("output_padding", 0)).unwrap();
            if node.has("in.2") {
                // The op has no bias; one value a channel, spread over the result, is added behind it.
                let (shape, bias) = (p.tape.shape(y), node.values("in.2"));
                let spread = p.fill(shape, (0..shape.len()).map(|i| bias[i % bias.len()]).collect());
                p.tape.add(y, spread)
            } else {
                Ok(y)
            }
        }
        "BatchNormalization" => {
            // As the backbone does it: folded into a convolution, here one that would change nothing.
            let x = p.input(node, 0);
            let c = p.tape.shape(x).c();
            let identity: Vec<f32> = (0..c * c).map(|i| (i % (c + 1) == 0) as u8 as f32).collect();
            let [gamma, beta, mean, var] = [1, 2, 3, 4].map(|i| node.f32(&format!("in.{i}")));
            let norm = [&gamma[..], &beta, &mean, &var];
            let (w, b) = resnet::fold(&identity, norm, node.number("epsilon", 1e-5));
            let (w, b) = (p.fill(Shape([c, 1, 1, c]), w), p.fill(Shape::vector(c), b));
            p.tape.conv2d(x, w, conv2d::Options { bias: Some(b), ..conv2d::Options::square(1, 0) })
        }
        "InstanceNormalization" => {
            let [x, gamma, beta] = [0, 1, 2].map(|i| p.input(node, i));
            let o = instance_norm::Options { affine: Some((gamma, beta)), ..Default::default() };
            p.tape.instance_norm(x, node.number("epsilon", 1e-5), o)
        }
        "Relu" | "LeakyRelu" => {
            // Element by element: the shape does not matter.
            let x = p.fill(Shape::vector(expected.len()), node.values("in.0"));
            let slope = node.number("alpha", 0.01) as f32;
            p.tape.activate(x, if node.op == "Relu" { Activation::Relu } else { Activation::LeakyRelu(slope) })
        }
        "MaxPool" => {
            let x = p.input(node, 0);
            let [kernel, stride, pad] =
                [("kernel_shape", 0), ("strides", 1), ("pads", 0)].map(|(key, default)| node.pair(key, default)[0]);
            p.tape.max_pool(x, kernel, stride, pad)
        }
        "Resize" => {
            assert_eq!(node.attributes["coordinate_transformation_mode"], "align_corners");
            let x = p.input(node, 0);
            let [1, 1, h, w] = node.shape("out.0")[..] else { panic!("{}: one channel", node.name) };
            assert_eq!(h, w, "{}", node.name);
            p.tape.anomaly_map(&[x], h, 0.0)
        }
        "TopK" => {
            // The engine keeps the mean of the k largest, not themselves nor their places.
            let (shape, k) = (node.shape("in.0"), node.values("in.1")[0] as usize);
            let len = shape[shape.len() - 1];
            let x = p.fill(Shape([shape.iter().product::<usize>() / len, len, 1, 1]), node.values("in.0"));
            let y = p.tape.topk_mean(x, Some(k)).unwrap();
            let means = expected.chunks(k).map(|c| c.iter().sum::<f64>() / k as f64).collect();
            return Some((p.run(y), means));
        }
        _ => return None,
    };
    Some((p.run(out.unwrap()), expected))
}

fn nodes(file: &Golden) -> BTreeSet<String> {
    file.names().iter().map(|n| n.split('/').next().unwrap().to_string()).collect()
}

#[test]
fn nodes_agree() {
    let file = Golden::open("onnx_nodes.safetensors");
    for name in nodes(&file) {
        let node = Node::new(&file, &name);
        for dtype in [DType::F64, DType::F32] {
            let Some((found, expected)) = compute(&node, dtype) else { continue };
            let e = relative_error(&found, &expected);
            assert!(e <= TOLERANCE, "{name} ({}) in {dtype}: relative error {e:e}", node.op);
        }
    }
}

#[test]
fn every_node_is_covered_or_listed() {
    let file = Golden::open("onnx_nodes.safetensors");
    let all = nodes(&file);
    assert_eq!(all.len(), 33);
    let listed: BTreeSet<String> = NOT_COVERED.iter().map(|(name, _)| name.to_string()).collect();
    let uncovered = all.into_iter().filter(|n| compute(&Node::new(&file, n), DType::F32).is_none()).collect();
    assert_eq!(listed, uncovered);
}
