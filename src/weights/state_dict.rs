//! From the nested dicts of a checkpoint to one flat list of named tensors.

use super::archive::{Index, Stored};
use super::pickle::{Pickle, Tensor, Value, shown};
use crate::{Result, invalid};

/// Names under which checkpoints keep the weights themselves.
const WRAPPERS: [&str; 6] = ["state_dict", "model_state_dict", "model", "net", "network", "module"];
/// Bounds on hostile data: a dict may contain itself, or one dict many times.
const MAX_DEPTH: usize = 32;
const MAX_VISITS: usize = 200_000;
const MAX_NAME: usize = 1024;

/// What a pickle holds by name.
pub(super) struct Named {
    /// Tensor indices in file order.
    pub tensors: Vec<(String, usize)>,
    /// What is no tensor, because something would have had to be called for it: index into `Pickle::opaque`.
    pub opaque: Vec<(String, usize)>,
}

impl Named {
    /// The tensors as `locate` finds them. Those of types that are not supported, and expanded ones (of more elements
    /// than their storage), which nobody may need, are put aside with what is no tensor at all.
    pub fn index(self, pickle: &Pickle, locate: impl Fn(String, &Tensor) -> Result<Stored>) -> Result<Index> {
        let mut index = Index::default();
        for (name, o) in self.opaque {
            let (module, class) = pickle.opaque[o];
            let why = format!("it is made by {}.{}, which was not called", shown(module), shown(class));
            index.refused.insert(name, why);
        }
        for (name, t) in self.tensors {
            let tensor = &pickle.tensors[t];
            let storage = pickle.storages[tensor.storage];
            let repeated = tensor.shape.iter().zip(&tensor.strides).any(|(&d, &s)| d > 1 && s == 0);
            let elements = tensor.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            let expanded = repeated && elements.is_some_and(|n| n > storage.count);
            if storage.elem.is_none() {
                index.refused.insert(name, "its elements are of a type that is not supported".into());
            } else if expanded {
                index.refused.insert(name, "it is an expanded view; save it with .contiguous()".into());
            } else {
                index.entries.push(locate(name, tensor)?);
            }
        }
        Ok(index)
    }
}

/// Names (joined with dots) and tensor indices in file order. When exactly one wrapper such as `state_dict` holds
/// tensors its name is dropped, and so is a leading `module.`, which DataParallel adds, unless names would collide.
/// The names are distinct. Errors: nothing but data without tensors, nesting beyond reason, a name used twice.
pub(super) fn flatten(pickle: &Pickle, root: Value) -> Result<Named> {
    let mut walk = Walk { pickle, visits: 0, name: String::new(), found: Vec::new(), opaque: Vec::new() };
    walk.visit(root, 0)?;
    let mut found = walk.found;
    if found.is_empty() {
        let &[(module, name), ..] = &pickle.opaque[..] else {
            invalid!("holds no named tensors; expected what torch.save(model.state_dict(), ...) writes");
        };
        invalid!(
            "refused: the pickle calls {}.{}, and without that holds no named tensors; nothing was executed (save with \
             torch.save(model.state_dict(), ...))",
            shown(module),
            shown(name)
        );
    }
    if !distinct(&found) {
        invalid!("two tensors have the same name once nested dicts are joined with dots");
    }
    let wrappers: Vec<&str> = WRAPPERS.into_iter().filter(|w| holds_tensors(pickle, root, w, &found)).collect();
    let mut opaque = walk.opaque;
    let mut strip = |found: Vec<(String, usize)>, prefix: &str| {
        for (name, _) in &mut opaque {
            if let Some(rest) = name.strip_prefix(prefix) {
                *name = rest.to_string();
            }
        }
        stripped(found, prefix)
    };
    if let [wrapper] = wrappers[..] {
        found = strip(found, &format!("{wrapper}."));
    }
    let tensors = strip(found, "module.");
    Ok(Named { tensors, opaque })
}

/// Whether `wrapper` is a key of the root whose value is a dict with tensors in it.
fn holds_tensors(pickle: &Pickle, root: Value, wrapper: &str, found: &[(String, usize)]) -> bool {
    let Value::Dict(root) = root else { return false };
    let is_dict = pickle.dicts[root].iter().any(|&(k, v)| k == Value::Str(wrapper) && matches!(v, Value::Dict(_)));
    is_dict && found.iter().any(|(name, _)| name.strip_prefix(wrapper).is_some_and(|rest| rest.starts_with('.')))
}

fn stripped(names: Vec<(String, usize)>, prefix: &str) -> Vec<(String, usize)> {
    let short: Vec<_> =
        names.iter().map(|(name, t)| (name.strip_prefix(prefix).unwrap_or(name).to_string(), *t)).collect();
    if distinct(&short) { short } else { names }
}

fn distinct(names: &[(String, usize)]) -> bool {
    let mut seen = std::collections::HashSet::with_capacity(names.len());
    names.iter().all(|(name, _)| seen.insert(name.as_str()))
}

struct Walk<'p, 'a> {
    pickle: &'p Pickle<'a>,
    visits: usize,
    name: String,
    found: Vec<(String, usize)>,
    opaque: Vec<(String, usize)>,
}

impl Walk<'_, '_> {
    fn visit(&mut self, value: Value, depth: usize) -> Result<()> {
        self.visits += 1;
        if depth > MAX_DEPTH || self.visits > MAX_VISITS {
            invalid!("its dicts are nested deeper than {MAX_DEPTH} or hold more than {MAX_VISITS} values");
        }
        let pickle = self.pickle;
        match value {
            // A tensor that is the root itself has no name to be found by.
            Value::Tensor(t) if depth > 0 => self.found.push((self.name.clone(), t)),
            Value::Opaque(o) if depth > 0 => self.opaque.push((self.name.clone(), o)),
            Value::Dict(d) => {
                for &(key, item) in &pickle.dicts[d] {
                    match key {
                        Value::Str(key) => self.child(key, item, depth)?,
                        Value::Int(key) => self.child(&key.to_string(), item, depth)?,
                        // No model names a tensor by anything else.
                        _ => {}
                    }
                }
            }
            Value::List(s) | Value::Tuple(s) => {
                for (i, &item) in pickle.sequences[s].iter().enumerate() {
                    self.child(&i.to_string(), item, depth)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn child(&mut self, key: &str, item: Value, depth: usize) -> Result<()> {
        let length = self.name.len();
        if length + key.len() > MAX_NAME {
            invalid!("a tensor's name is longer than {MAX_NAME} bytes");
        }
        if depth > 0 {
            self.name.push('.');
        }
        self.name.push_str(key);
        self.visit(item, depth + 1)?;
        self.name.truncate(length);
        Ok(())
    }
}
