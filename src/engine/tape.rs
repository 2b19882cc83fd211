//! The tape: *what* to compute, as a flat list of records over variables with static shapes.
//!
//! Model code records ops (each op folder adds its methods to [`Tape`]); [`Tape::backward`] appends the gradient
//! records. Nothing runs here, and nothing is hidden in closures: `println!("{tape}")` shows the whole program.

use crate::engine::ops::{Activation, Backward, Op, Operation, dispatch, fill};
use crate::engine::params::{Init, Parameters};
use crate::engine::tensor::{DType, Shape};
use crate::{Error, Result, invalid};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// A variable of the program: written by one record (or from outside), read by later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Var(pub(crate) u32);

/// A network whose parameters the program uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetId(pub(crate) usize);

/// Where a variable's memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Written by the caller before every run.
    Input,
    /// Placed by the plan between its first write and its last use.
    Temp,
    /// A network's `index`-th parameter, a part of all of them.
    Param { net: NetId, index: usize },
    /// The gradient of that parameter, a part of all gradients.
    Grad { net: NetId, index: usize },
    /// All parameters of a network, or all gradients.
    Whole { net: NetId, what: Whole },
    /// The `index`-th of [`Tape::states`]: 0 before the first run, kept from run to run.
    State { index: usize },
    /// The same memory as another variable under another shape.
    View(Var),
}

/// What there is of a whole network in one piece, with the gaps between parameters, which hold 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whole {
    /// As the optimizer updates them: in f32 where the program keeps its tensors in 16 bits.
    Params,
    /// Only in such programs: the parameters rounded to 16 bits, as the passes read them.
    Rounded,
    Grads,
}

/// What an op keeps from run to run beside parameters: an optimizer's moments, a norm's running statistics.
#[derive(Clone, Debug)]
pub struct State {
    /// The network it belongs to.
    pub net: NetId,
    /// Under which checkpoints have it.
    pub name: String,
    pub var: Var,
}

#[derive(Clone, Debug)]
pub struct VarInfo {
    pub shape: Shape,
    pub dtype: DType,
    pub storage: Storage,
}

/// One step of the program.
#[derive(Clone, Debug)]
pub struct Record {
    pub op: Op,
    pub inputs: Vec<Var>,
    /// The result, then what the op saves for its gradient (or further results).
    pub outputs: Vec<Var>,
    /// Name of the layer that recorded it, for people reading traces.
    pub label: String,
}

/// A recorded program.
#[derive(Clone, Debug)]
pub struct Tape {
    pub(crate) vars: Vec<VarInfo>,
    pub(crate) records: Vec<Record>,
    pub(crate) nets: Vec<Parameters>,
    pub(crate) outputs: Vec<Var>,
    params: HashMap<(usize, usize), Var>,
    wholes: HashMap<(NetId, Whole), Var>,
    states: Vec<State>,
    dtype: DType,
    label: String,
}

impl Tape {
    /// An empty program whose tensors are kept in `dtype`: `F32` or `F64` on the CPU, `F32`, `Bf16` or `F16` on CUDA.
    pub fn new(dtype: DType) -> Self {
        Tape {
            vars: Vec::new(),
            records: Vec::new(),
            nets: Vec::new(),
            outputs: Vec::new(),
            params: HashMap::new(),
            wholes: HashMap::new(),
            states: Vec::new(),
            dtype,
            label: String::new(),
        }
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Declares a network; its parameters are added as they are used.
    pub fn network(&mut self, name: &str) -> NetId {
        self.nets.push(Parameters::new(name));
        NetId(self.nets.len() - 1)
    }

    pub fn parameters(&self, net: NetId) -> &Parameters {
        &self.nets[net.0]
    }

    /// The parameter `name` of `net`, with PyTorch's shape. The same name gives the same variable again.
    pub fn param(&mut self, net: NetId, name: &str, file_shape: &[usize], init: Init) -> Result<Var> {
        let index = self.nets[net.0].add(name, file_shape, init)?;
        if let Some(&v) = self.params.get(&(net.0, index)) {
            return Ok(v);
        }
        let shape = self.nets[net.0].entries()[index].shape;
        let v = self.var(shape, self.dtype, Storage::Param { net, index });
        self.params.insert((net.0, index), v);
        Ok(v)
    }

    /// The variable of a network's `index`-th parameter.
    pub fn param_var(&self, net: NetId, index: usize) -> Option<Var> {
        self.params.get(&(net.0, index)).copied()
    }

    /// All of a network's parameters or gradients as one variable, with `parameters(net).len()` elements. The network can have
    /// no more parameters from then on.
    pub fn whole(&mut self, net: NetId, what: Whole) -> Result<Var> {
        if let Some(v) = self.find_whole(net, what) {
            return Ok(v);
        }
        let parameters = &mut self.nets[net.0];
        if parameters.is_empty() {
            invalid!("network {} has no parameters to train: record its layers first", parameters.network);
        }
        parameters.seal();
        let shape = Shape::vector(parameters.len()).check()?;
        let dtype = if what == Whole::Rounded { self.dtype } else { self.dtype.exact() };
        let v = self.var(shape, dtype, Storage::Whole { net, what });
        self.wholes.insert((net, what), v);
        Ok(v)
    }

    /// As [`Tape::whole`], if the program has it.
    pub fn find_whole(&self, net: NetId, what: Whole) -> Option<Var> {
        self.wholes.get(&(net, what)).copied()
    }

    /// Whether gradients or updates of this network's parameters are part of the program.
    pub fn trains(&self, net: NetId) -> bool {
        self.wholes.keys().any(|(of, _)| *of == net)
    }

    /// What an op of `net` keeps from run to run under `name`. The same name gives the same variable again.
    pub fn state(&mut self, net: NetId, name: &str, shape: Shape, dtype: DType) -> Result<Var> {
        if let Some(state) = self.states.iter().find(|s| s.net == net && s.name == name) {
            let (var, network) = (state.var, &self.nets[net.0].network);
            let known = self.info(var);
            if known.shape != shape || known.dtype != dtype {
                let (was, of) = (known.shape, known.dtype);
                invalid!("state {network}.{name} is used as {shape} {dtype}, but was declared as {was} {of}");
            }
            return Ok(var);
        }
        let index = self.states.len();
        let var = self.var(shape.check()?, dtype, Storage::State { index });
        self.states.push(State { net, name: name.to_string(), var });
        Ok(var)
    }

    /// All that the program's ops keep from run to run beside parameters, in the order in which it was declared.
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// A variable the caller fills before every run.
    pub fn input(&mut self, shape: Shape, dtype: DType) -> Result<Var> {
        Ok(self.var(shape.check()?, dtype, Storage::Input))
    }

    /// Declares `v` a result: it stays readable after a run.
    pub fn output(&mut self, v: Var) -> Var {
        if !self.outputs.contains(&v) {
            self.outputs.push(v);
        }
        v
    }

    /// `v` under another shape with as many elements.
    pub fn view(&mut self, v: Var, shape: Shape) -> Result<Var> {
        let from = self.shape(v);
        if from.len() != shape.len() {
            invalid!("cannot view {from} as {shape}: {} elements against {}", from.len(), shape.len());
        }
        Ok(self.var(shape, self.info(v).dtype, Storage::View(v)))
    }

    pub fn shape(&self, v: Var) -> Shape {
        self.vars[v.0 as usize].shape
    }

    pub fn info(&self, v: Var) -> &VarInfo {
        &self.vars[v.0 as usize]
    }

    /// The variable whose memory `v` is a view of (itself if it is none).
    pub fn root(&self, mut v: Var) -> Var {
        while let Storage::View(of) = self.info(v).storage {
            v = of;
        }
        v
    }

    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Names the records made until the next call, for traces and error messages.
    pub fn set_label(&mut self, label: impl Into<String>) {
        self.label = label.into();
    }

    fn var(&mut self, shape: Shape, dtype: DType, storage: Storage) -> Var {
        self.vars.push(VarInfo { shape, dtype, storage });
        Var(self.vars.len() as u32 - 1)
    }

    /// A program of one of this one's records alone, and its operands: inputs of that program. Not for ops that update what
    /// they find.
    pub fn alone(&self, record: &Record) -> Result<(Tape, Vec<Var>)> {
        let mut tape = Tape::new(self.dtype);
        tape.set_label(&record.label);
        let operands = record.inputs.iter().map(|v| tape.input(self.shape(*v), self.info(*v).dtype));
        let operands: Vec<Var> = operands.collect::<Result<_>>()?;
        let shapes: Vec<Shape> = record.outputs.iter().map(|v| self.shape(*v)).collect();
        for (v, of) in tape.record(record.op.clone(), operands.clone(), &shapes)?.into_iter().zip(&record.outputs) {
            tape.vars[v.0 as usize].dtype = self.info(*of).dtype;
            tape.output(v);
        }
        Ok((tape, operands))
    }

    /// Appends a record with outputs of the given shapes; returns them.
    pub(crate) fn record(&mut self, op: impl Into<Op>, inputs: Vec<Var>, outputs: &[Shape]) -> Result<Vec<Var>> {
        let op = op.into();
        let shapes: Result<Vec<Shape>> = outputs.iter().map(|s| s.check()).collect();
        let shapes = shapes.map_err(|e| e.within(format!("{} {}", op.name(), self.label)))?;
        let outputs: Vec<Var> = shapes.into_iter().map(|s| self.fresh(s, self.dtype)).collect();
        self.record_into(op, inputs, outputs.clone());
        Ok(outputs)
    }

    /// A variable for a result that is still to be recorded.
    pub(crate) fn fresh(&mut self, shape: Shape, dtype: DType) -> Var {
        self.var(shape, dtype, Storage::Temp)
    }

    /// As [`Tape::record`] with outputs that are there already: whole networks and states.
    pub(crate) fn record_into(&mut self, op: impl Into<Op>, inputs: Vec<Var>, outputs: Vec<Var>) {
        self.records.push(Record { op: op.into(), inputs, outputs, label: self.label.clone() });
    }

    /// As [`Tape::record`] for ops with exactly one output.
    pub(crate) fn record1(&mut self, op: impl Into<Op>, inputs: Vec<Var>, output: Shape) -> Result<Var> {
        Ok(self.record(op, inputs, &[output])?[0])
    }

    /// Keeps `v`, a fresh result, in f32 where the program keeps its tensors in 16 bits: sums, losses, scores, maps and
    /// gradients of parameters need the digits, and are small.
    pub(crate) fn exact(&mut self, v: Var) -> Var {
        self.vars[v.0 as usize].dtype = self.dtype.exact();
        v
    }

    /// Keeps `v`, a fresh result, in a type of its own.
    pub(crate) fn kept_in(&mut self, v: Var, dtype: DType) -> Var {
        self.vars[v.0 as usize].dtype = dtype;
        v
    }

    /// Keeps `v`, a fresh result, in the type of `of`.
    pub(crate) fn as_kept(&mut self, v: Var, of: Var) -> Var {
        self.vars[v.0 as usize].dtype = self.info(of).dtype;
        v
    }

    /// An error about the op being recorded, naming the layer.
    pub(crate) fn shape_error(&self, op: &str, message: String) -> Error {
        let at = if self.label.is_empty() { String::new() } else { format!(" in {}", self.label) };
        Error::Invalid(format!("{op}{at}: {message}"))
    }

    /// Appends the gradient of the scalar `loss` for every parameter of `net`, all in one piece ([`Whole::Grads`]). The
    /// network can have no more parameters from then on.
    ///
    /// Other networks on the way (a discriminator inside the auto-encoder's loss) only pass gradients through.
    pub fn backward(&mut self, loss: Var, net: NetId) -> Result<()> {
        if self.shape(loss) != Shape::SCALAR {
            invalid!("backward needs a scalar loss, found shape {}", self.shape(loss));
        }
        self.nets[net.0].seal();
        let seed = self.record1(fill::Fill { value: 1.0 }, vec![], Shape::SCALAR)?;
        self.exact(seed);
        let wrt: Vec<Var> =
            (0..self.nets[net.0].entries().len()).filter_map(|i| self.params.get(&(net.0, i)).copied()).collect();
        let grads = self.gradients(&[(loss, seed)], &wrt)?;
        for (param, grad) in wrt.into_iter().zip(grads) {
            let Some(mut grad) = grad else { continue };
            let Storage::Param { net, index } = self.info(param).storage else { unreachable!("wrt holds parameters") };
            let (found, kept) = (self.info(grad).dtype, self.dtype.exact());
            if found != kept {
                let (parameters, entry) = (&self.nets[net.0], &self.nets[net.0].entries()[index]);
                invalid!(
                    "the gradient of {}.{} comes in {found}; the optimizer takes {kept}",
                    parameters.network,
                    entry.name
                );
            }
            if self.info(grad).storage != Storage::Temp {
                // A view, or another parameter's gradient already (as both terms of a sum have): this one needs its own.
                grad = self.activate(grad, Activation::None)?;
            }
            self.vars[grad.0 as usize].storage = Storage::Grad { net, index };
            self.whole(net, Whole::Grads)?;
        }
        Ok(())
    }

    /// Appends records that propagate the given output gradients back; returns the gradient of each `wrt` variable,
    /// `None` where the outputs do not depend on it.
    pub fn gradients(&mut self, seeds: &[(Var, Var)], wrt: &[Var]) -> Result<Vec<Option<Var>>> {
        self.set_label("");
        // Which variables lie on a way from `wrt` to somewhere: only those need a gradient.
        let mut needs: HashSet<Var> = wrt.iter().copied().collect();
        let end = self.records.len();
        for r in &self.records {
            if r.inputs.iter().any(|v| needs.contains(v) || needs.contains(&self.root(*v))) {
                needs.extend(r.outputs.iter());
            }
        }
        // Gradients are kept per root: a view has the gradient of what it views.
        let mut grads: HashMap<Var, Var> = HashMap::new();
        for &(out, seed) in seeds {
            self.accumulate(&mut grads, out, seed)?;
        }
        for i in (0..end).rev() {
            let record = self.records[i].clone();
            let given: Vec<Option<Var>> = record.outputs.iter().map(|v| grads.get(v).copied()).collect();
            let wanted: Vec<bool> =
                record.inputs.iter().map(|v| needs.contains(v) || needs.contains(&self.root(*v))).collect();
            if given.iter().all(Option::is_none) || !wanted.contains(&true) {
                continue;
            }
            self.set_label(&record.label);
            let back = dispatch!(&record.op, o => o.gradient(Backward::new(self, (i, &record), &given, &wanted)))?;
            for ((input, grad), wanted) in record.inputs.iter().zip(back).zip(wanted) {
                if let (Some(g), true) = (grad, wanted) {
                    self.accumulate(&mut grads, *input, g)?;
                }
            }
        }
        self.set_label("");
        Ok(wrt.iter().map(|v| grads.get(&self.root(*v)).copied()).collect())
    }

    fn accumulate(&mut self, grads: &mut HashMap<Var, Var>, of: Var, grad: Var) -> Result<()> {
        let root = self.root(of);
        let shape = self.shape(root);
        let grad = if self.shape(grad) == shape { grad } else { self.view(grad, shape)? };
        let sum = match grads.get(&root) {
            Some(&before) => self.add(before, grad)?,
            None => grad,
        };
        grads.insert(root, sum);
        Ok(())
    }
}

/// One line a record: `%12 = conv2d(%3, ae.encoder...weight) : 2x16x16x128 f32  [layer]`.
impl fmt::Display for Tape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = |v: &Var| match self.info(*v).storage {
            Storage::Param { net, index } => {
                let l = &self.nets[net.0];
                format!("{}.{}", l.network, l.entries()[index].name)
            }
            Storage::Grad { net, index } => {
                let l = &self.nets[net.0];
                format!("grad({}.{})", l.network, l.entries()[index].name)
            }
            Storage::Whole { net, what } => {
                let what = match what {
                    Whole::Params => "params",
                    Whole::Rounded => "rounded",
                    Whole::Grads => "grads",
                };
                format!("{what}({})", self.nets[net.0].network)
            }
            Storage::State { index } => {
                let State { net, name, .. } = &self.states[index];
                format!("state({}.{name})", self.nets[net.0].network)
            }
            Storage::View(of) => format!("%{}:%{}", v.0, of.0),
            Storage::Input => format!("in%{}", v.0),
            Storage::Temp => format!("%{}", v.0),
        };
        let list = |vs: &[Var]| vs.iter().map(name).collect::<Vec<_>>().join(", ");
        for r in &self.records {
            let result =
                r.outputs.first().map(|v| format!(" : {} {}", self.shape(*v), self.info(*v).dtype)).unwrap_or_default();
            let label = if r.label.is_empty() { String::new() } else { format!("  [{}]", r.label) };
            let arrow = if r.outputs.is_empty() { "" } else { " = " };
            writeln!(f, "{}{arrow}{}({}){result}{label}", list(&r.outputs), r.op.name(), list(&r.inputs))?;
        }
        Ok(())
    }
}
