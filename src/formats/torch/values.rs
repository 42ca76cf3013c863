//! From a pickle's values to a tree with tensors: what the functions would make that PyTorch's pickles name. None is
//! called.
//!
//! Source: `torch/_utils.py`, `torch/_tensor.py`, `torch/storage.py` of PyTorch 2.11.

use std::collections::HashMap;
use std::rc::Rc;

use super::super::pickle::{Id, MAX_DEPTH, Pickle, Value};
use crate::tensors::Dtype;
use crate::tensors::dtype::dtype_named;
use crate::tensors::view::View;
use crate::weights::tree::Node;
use crate::{Error, Result};

/// The tree of a pickle. Shared values stay shared, but count once for each occurrence.
pub(super) fn tree(pickle: &Pickle) -> Result<Rc<Node<View>>> {
    let (done, keys) = (HashMap::new(), HashMap::new());
    let mut reader = Reader { pickle, done, keys, depth: 0, count: 0 };
    reader.node(pickle.root())
}

struct Reader<'p> {
    pickle: &'p Pickle,
    depth: u32,
    /// Values below the one that is being read, counting each occurrence.
    count: u64,
    /// Nodes with their counts. None while a value is being read, which tells if it contains itself.
    done: HashMap<u32, Option<Counted>>,
    /// Keys as strings: one may belong to thousands of items.
    keys: HashMap<u32, Rc<str>>,
}

/// A node, and how many values it expands to.
type Counted = (Rc<Node<View>>, u64);

/// Fewest values that describe a tensor.
const TENSOR: u64 = 8;

/// How deep descriptions of a tensor may nest: a parameter of a subclass takes three levels.
const NESTED: u32 = 8;

/// Longest key of a storage, in bytes.
const MAX_KEY: usize = 200;

/// A tensor, or why it cannot be read.
type Readable<T> = std::result::Result<T, String>;

impl Reader<'_> {
    fn node(&mut self, id: Id) -> Result<Rc<Node<View>>> {
        let above = self.count;
        let node = match self.done.get(&id.number()) {
            Some(Some((node, count))) => {
                self.count = count.saturating_add(above);
                node.clone()
            }
            Some(None) => return Ok(Rc::new(Node::Plain("a value within itself".into()))),
            None if self.depth > MAX_DEPTH => {
                return Err(Error::limit(format!("its pickle nests deeper than {MAX_DEPTH}")));
            }
            None => {
                self.done.insert(id.number(), None);
                (self.count, self.depth) = (1, self.depth + 1);
                let node = Rc::new(self.read(id)?);
                self.depth -= 1;
                self.done.insert(id.number(), Some((node.clone(), self.count)));
                self.count = self.count.saturating_add(above);
                node
            }
        };
        if self.count > self.pickle.most_values() {
            return Err(Error::limit("its pickle expands to far more values than it holds"));
        }
        Ok(node)
    }

    fn read(&mut self, id: Id) -> Result<Node<View>> {
        let pickle = self.pickle;
        if let Some(found) = tensor(pickle, id) {
            // The values that describe it count, too.
            self.count += TENSOR;
            return Ok(found.map_or_else(Node::Unreadable, Node::Tensor));
        }
        let mut list = |ids: &[Id]| -> Result<Node<View>> {
            Ok(Node::List(ids.iter().map(|&id| self.node(id)).collect::<Result<_>>()?))
        };
        Ok(match pickle.value(id) {
            Value::Dict(items) => {
                let items = items.iter().map(|&(key, value)| {
                    let name = self.keys.entry(key.number()).or_insert_with(|| {
                        let text = pickle.text(key).map(Rc::from);
                        text.unwrap_or_else(|| pickle.describe(key).into())
                    });
                    Ok((name.clone(), self.node(value)?))
                });
                Node::Dict(items.collect::<Result<_>>()?)
            }
            Value::List(ids) => list(ids)?,
            Value::Tuple(ids) => list(ids)?,
            Value::Object(_) if pickle.elements(id).is_some() => Node::Plain(pickle.describe(id)),
            Value::Object(_) => Node::Foreign(pickle.class_name(id).unwrap_or("?").into()),
            _ => Node::Plain(pickle.describe(id)),
        })
    }
}

/// The tensor that a value describes; None if it describes none.
pub(super) fn tensor(pickle: &Pickle, id: Id) -> Option<Readable<View>> {
    nested(pickle, id, 0)
}

/// The same `depth` levels down: a hostile description may contain itself.
fn nested(pickle: &Pickle, id: Id, depth: u32) -> Option<Readable<View>> {
    if depth > NESTED {
        return Some(Err(BROKEN.into()));
    }
    let name = pickle.called(id)?;
    let arguments = pickle.arguments(id)?;
    let module = |tail: &str| name.strip_prefix("torch.").is_some_and(|rest| rest == tail);
    if module("_utils._rebuild_parameter")
        || module("_utils._rebuild_parameter_with_state")
        || name.starts_with("torch.nn.parameter.")
    {
        let inner = arguments.first().and_then(|&data| nested(pickle, data, depth + 1));
        return Some(inner.unwrap_or_else(|| Err("a parameter without data".into())));
    }
    // A subclass with attributes: the function that makes the plain tensor, its type, its arguments.
    if module("_tensor._rebuild_from_type_v2") {
        let [function, class, inner, ..] = arguments else { return Some(Err(BROKEN.into())) };
        let class = pickle.global(*class).unwrap_or("?");
        let function = pickle.global(*function).unwrap_or("?");
        return Some(match (pickle.elements(*inner), function) {
            (
                Some(inner),
                "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor_v3",
            ) => rebuilt(pickle, function, inner),
            (Some([data, ..]), "torch._utils._rebuild_parameter") => {
                nested(pickle, *data, depth + 1).unwrap_or_else(|| Err(BROKEN.into()))
            }
            _ => Err(format!("a `{class}`, which is no plain tensor")),
        });
    }
    let kind = match name.strip_prefix("torch._utils._rebuild_")? {
        "tensor" | "tensor_v2" | "tensor_v3" => return Some(rebuilt(pickle, name, arguments)),
        "sparse_tensor" => "a sparse tensor",
        "sparse_csr_tensor" => "a sparse tensor (CSR)",
        "qtensor" => "a quantized tensor",
        "nested_tensor" => "a nested tensor",
        "meta_tensor_no_storage" => "a tensor without values (meta)",
        "wrapper_subclass" => match arguments.first().and_then(|&class| pickle.global(class)) {
            Some(class) => return Some(Err(format!("a `{class}`, which is no plain tensor"))),
            None => "a tensor of a subclass",
        },
        _ => "a tensor that needs a device of its own",
    };
    Some(Err(kind.into()))
}

/// Most items of the dicts in a tensor's description.
const MARKS: usize = 16;

const BROKEN: &str = "a tensor whose description is broken";

/// `_rebuild_tensor(storage, offset, size, stride)` and its successors; v3 has the type as well.
fn rebuilt(pickle: &Pickle, name: &str, arguments: &[Id]) -> Readable<View> {
    let broken = || BROKEN.to_string();
    let [storage, offset, shape, strides, rest @ ..] = arguments else { return Err(broken()) };
    let (key, stored) = storage_of(pickle, *storage).ok_or_else(broken)?;
    let dtype = match name.ends_with("_v3") {
        true => {
            let dtype = rest.get(2).and_then(|&id| pickle.global(id)).ok_or_else(broken)?;
            dtype_named(dtype).ok_or_else(|| format!("of type `{dtype}`"))?
        }
        false => stored?.ok_or_else(broken)?,
    };
    // A lazily conjugated or negated view: the storage does not hold its values.
    let marks: Vec<_> = rest.iter().take(4).filter_map(|&id| pickle.items(id)).collect();
    if marks.iter().any(|items| items.len() > MARKS) {
        return Err(broken());
    }
    for (mark, value) in marks.into_iter().flatten() {
        if let (Some(mark @ ("conj" | "neg")), Value::Bool(true)) =
            (pickle.text(*mark), pickle.value(*value))
        {
            return Err(format!("a view marked `{mark}`: save it after .resolve_{mark}()"));
        }
    }
    let offset = pickle.size(*offset).ok_or_else(broken)?;
    let shape = pickle.sizes(*shape).ok_or_else(broken)?;
    let strides = pickle.sizes(*strides).ok_or_else(broken)?;
    if shape.len() != strides.len() || key.len() > MAX_KEY {
        return Err(broken());
    }
    Ok(View { storage: key.into(), dtype, shape, strides, offset })
}

/// A storage's key and the type of its values, if it has one, from
/// `('storage', class, key, location, count)`; legacy files add None or `(key, offset, count)`, a view that
/// is a storage of its own.
fn storage_of(pickle: &Pickle, id: Id) -> Option<(&str, Readable<Option<Dtype>>)> {
    let Value::Persistent(id) = pickle.value(id) else { return None };
    let [kind, class, key, rest @ ..] = pickle.elements(*id)? else { return None };
    if pickle.text(*kind) != Some("storage") {
        return None;
    }
    let view = rest.get(2).and_then(|&view| pickle.elements(view));
    let key = view.and_then(|view| view.first()).unwrap_or(key);
    let class = pickle.global(*class)?;
    let name = class.rsplit('.').next().unwrap_or(class);
    Some((pickle.text(*key)?, stored_type(name).map_err(|()| format!("of a `{class}`"))))
}

/// The type of a storage's values by its class, `torch.FloatStorage`; none for an untyped one.
pub(super) fn stored_type(class: &str) -> std::result::Result<Option<Dtype>, ()> {
    Ok(Some(match class {
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        "ComplexFloatStorage" => Dtype::C64,
        "UntypedStorage" => return Ok(None),
        _ => return Err(()),
    }))
}
