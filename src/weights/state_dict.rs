//! From the nested dicts of a checkpoint to one flat list of named tensors.

use super::pickle::{Pickle, Value};
use crate::{Result, invalid};

/// Names under which checkpoints keep the weights themselves.
const WRAPPERS: [&str; 6] = ["state_dict", "model_state_dict", "model", "net", "network", "module"];
/// Bounds on hostile data: a dict may contain itself, or one dict many times.
const MAX_DEPTH: usize = 32;
const MAX_VISITS: usize = 200_000;
const MAX_NAME: usize = 1024;

/// Names (joined with dots) and tensor indices in file order. When exactly one wrapper such as `state_dict` holds
/// tensors its name is dropped, and so is a leading `module.`, which DataParallel adds, unless names would collide.
/// The names are distinct. Errors: nothing but data without tensors, nesting beyond reason, a name used twice.
pub(super) fn flatten(pickle: &Pickle, root: Value) -> Result<Vec<(String, usize)>> {
    let mut walk = Walk { pickle, visits: 0, name: String::new(), found: Vec::new() };
    walk.visit(root, 0)?;
    let mut found = walk.found;
    if found.is_empty() {
        invalid!("holds no named tensors; expected what torch.save(model.state_dict(), ...) writes");
    }
    if !distinct(&found) {
        invalid!("two tensors have the same name once nested dicts are joined with dots");
    }
    let wrappers: Vec<&str> = WRAPPERS.into_iter().filter(|w| holds_tensors(pickle, root, w, &found)).collect();
    if let [wrapper] = wrappers[..] {
        found = stripped(found, &format!("{wrapper}."));
    }
    Ok(stripped(found, "module."))
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
