//! Values of nodes: from what the file says to what an operator is given, names looked up among what is defined.

use std::collections::HashMap;

use super::graph::{Argument, Int};
use super::json::Number;
use super::schema::{self, OptionalTensor, Sym, aten_type};
use crate::weights::tree::short;

/// The schema's number of a layout with strides, the only one taken.
pub const STRIDED: i64 = 7;

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    Tensor,
    Int,
    Float,
    Bool,
}

impl Holds {
    fn name(self) -> &'static str {
        match self {
            Holds::Tensor => "a tensor",
            Holds::Int => "an integer",
            Holds::Float => "a float",
            Holds::Bool => "a truth value",
        }
    }
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Slot(usize),
    /// A plain value that a block was given.
    Plain(Argument),
    /// A result that no node may use, and what it is.
    Withheld(&'static str),
}

/// The names of one graph. Those of a block are its own.
#[derive(Debug, Default)]
pub struct Scope<'a>(HashMap<&'a str, Value>);

/// Why a node cannot be taken.
pub type Reason<T> = std::result::Result<T, String>;

impl<'a> Scope<'a> {
    pub fn define(&mut self, name: &'a str, value: Value) -> Reason<()> {
        match self.0.insert(name, value) {
            None => Ok(()),
            Some(_) => Err(format!("`{}` is defined twice", short(name))),
        }
    }

    /// What a name stands for, which must be of a kind.
    fn find(&self, name: &str, kind: Holds, slots: &[Holds]) -> Reason<Argument> {
        let wrong = |what: &str| format!("`{}` is {what}, not {}", short(name), kind.name());
        match self.0.get(name) {
            None => Err(format!("`{}` is not defined before it", short(name))),
            Some(Value::Withheld(what)) => Err(format!("it uses `{}`, {what}", short(name))),
            Some(Value::Slot(slot)) if slots[*slot] == kind => Ok(Argument::Slot(*slot)),
            Some(Value::Slot(slot)) => Err(wrong(slots[*slot].name())),
            Some(Value::Plain(plain)) => match (plain, kind) {
                (Argument::Int(_), Holds::Int)
                | (Argument::Float(_), Holds::Float)
                | (Argument::Bool(_), Holds::Bool) => Ok(plain.clone()),
                _ => Err(wrong("a plain value")),
            },
        }
    }

    fn tensor(&self, name: &str, slots: &[Holds]) -> Reason<usize> {
        match self.find(name, Holds::Tensor, slots)? {
            Argument::Slot(slot) => Ok(slot),
            _ => Err(format!("`{}` is not a tensor", short(name))),
        }
    }

    /// What an operator is given.
    pub fn argument(&self, from: &schema::Argument, slots: &[Holds]) -> Reason<Argument> {
        use schema::Argument as From;
        let enumerated = |what: &str, n: i64| format!("{what} {n} is not known");
        Ok(match from {
            From::None => Argument::None,
            From::Tensor(name) => Argument::Slot(self.tensor(name, slots)?),
            From::Tensors(names) => Argument::Slots(
                names.iter().map(|name| self.tensor(&name.name, slots)).collect::<Reason<_>>()?,
            ),
            From::OptionalTensors(names) => {
                let one = |name: &OptionalTensor| match name {
                    OptionalTensor::Tensor(name) => self.tensor(&name.name, slots).map(Some),
                    OptionalTensor::None(_) => Ok(None),
                };
                Argument::OptionalSlots(names.iter().map(one).collect::<Reason<_>>()?)
            }
            From::Int(n) | From::SymInt(Sym::Known(n)) => Argument::Int(*n),
            From::SymInt(Sym::Name(name)) => self.find(name, Holds::Int, slots)?,
            From::Ints(ints) => Argument::Ints(ints.iter().map(|&n| Int::Const(n)).collect()),
            From::SymInts(ints) => {
                let one = |int: &Sym<i64>| match int {
                    Sym::Known(n) => Ok(Int::Const(*n)),
                    Sym::Name(name) => match self.find(name, Holds::Int, slots)? {
                        Argument::Slot(slot) => Ok(Int::Slot(slot)),
                        Argument::Int(n) => Ok(Int::Const(n)),
                        _ => Err(format!("`{}` is not an integer", short(name))),
                    },
                };
                Argument::Ints(ints.iter().map(one).collect::<Reason<_>>()?)
            }
            From::Float(x) => Argument::Float(*x),
            From::SymFloat(Sym::Known(x)) => Argument::Float(x.0),
            From::SymFloat(Sym::Name(name)) => self.find(name, Holds::Float, slots)?,
            From::Floats(floats) => Argument::Floats(floats.iter().map(|x| x.0).collect()),
            From::SymFloats(floats) => {
                let one = |x: &Sym<Number>| match x {
                    Sym::Known(x) => Ok(x.0),
                    Sym::Name(_) => Err("a list of computed floats is not supported".to_string()),
                };
                Argument::Floats(floats.iter().map(one).collect::<Reason<_>>()?)
            }
            From::Bool(b) | From::SymBool(Sym::Known(b)) => Argument::Bool(*b),
            From::SymBool(Sym::Name(name)) => self.find(name, Holds::Bool, slots)?,
            From::Bools(bools) => Argument::Bools(bools.clone()),
            From::SymBools(bools) => {
                let one = |b: &Sym<bool>| match b {
                    Sym::Known(b) => Ok(*b),
                    Sym::Name(_) => {
                        Err("a list of computed truth values is not supported".to_string())
                    }
                };
                Argument::Bools(bools.iter().map(one).collect::<Reason<_>>()?)
            }
            From::String(text) => Argument::Str(text.clone()),
            From::Dtype(n) => Argument::Dtype(aten_type(*n).ok_or_else(|| enumerated("type", *n))?),
            From::Layout(STRIDED) => Argument::Layout(0),
            From::Layout(n) => return Err(enumerated("layout", *n)),
            From::MemoryFormat(n) => Argument::MemoryFormat(match n {
                1 => 0,
                2 => 2,
                3 => 3,
                4 => 1,
                _ => return Err(enumerated("memory format", *n)),
            }),
            From::Device => Argument::Device,
            From::Graph(_) => return Err("it takes a graph, which only blocks do".into()),
            From::Other(kind) => {
                return Err(format!("an argument of the kind `{kind}` is not supported"));
            }
        })
    }
}
