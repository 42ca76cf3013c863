//! A pickle is a program for a stack machine. This one makes values and does nothing else.

mod bytes;
mod constants;
mod containers;
mod stack;
mod step;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use super::calls::Use;
use super::globals::{self, Name};
use super::{Id, MAX_NAME, MAX_PARTS, MAX_VALUES, Pickle, Value};
use crate::{Error, Kind, Result};

pub(super) struct Machine<'b> {
    pub(super) bytes: &'b [u8],
    /// Most bytes that are read.
    most: usize,
    at: usize,
    pub(super) values: Vec<Value>,
    stack: Vec<Id>,
    /// The stack's heights at the marks.
    marks: Vec<usize>,
    /// Entries with the numbers that most writers use, from 0 on; others are in `others`.
    memo: Vec<Id>,
    others: HashMap<u32, Id>,
    /// How many elements calls have copied from one container to another: the only values that instructions do not
    /// spell out.
    copied: usize,
    /// Bytes of names that instructions do not spell out.
    named: usize,
    /// Of names with more than one attribute, the length of the module's.
    pub(super) modules: HashMap<u32, usize>,
    /// How many pickles this one is in.
    pub(super) depth: u32,
    /// See [`Pickle`].
    made: HashMap<u32, Id>,
    /// Containers that may call a function which the file brings.
    pub(super) loose: HashSet<u32>,
    /// Values that have got their state, or were judged without one.
    pub(super) settled: RefCell<HashSet<u32>>,
    /// Containers, with their lengths, that hold nothing but numbers and texts: they grow, but do not change otherwise.
    pub(super) plain: RefCell<HashMap<u32, usize>>,
    /// Containers that calls were given, and those in them.
    pub(super) given: RefCell<HashSet<u32>>,
    /// The same for calls of what is known, which may not be given as much.
    pub(super) vetted: RefCell<HashSet<u32>>,
    /// Attributes that containers have got.
    pub(super) attributes: HashMap<u32, Id>,
    /// Names whose calls were judged, and whether they make a value.
    pub(super) verdicts: RefCell<HashMap<(u32, Use), bool>>,
    /// What modules have, by their names.
    pub(super) module_names: HashSet<u32>,
    /// How many values were looked at for what they hold.
    pub(super) looked: Cell<usize>,
}

/// Bytes of names beyond those of a pickle: a small one may name many classes of one module.
const NAMED: usize = 1 << 20;

/// Runs the program at the start of some bytes. An instruction makes at most two values, and copies are limited, so
/// memory is proportional to the bytes.
pub(super) fn run(bytes: &[u8], most: usize, depth: u32) -> Result<Pickle> {
    let bytes = &bytes[..bytes.len().min(most)];
    let mut machine = Machine {
        bytes,
        most,
        at: 0,
        values: vec![],
        stack: vec![],
        marks: vec![],
        memo: vec![],
        others: HashMap::new(),
        copied: 0,
        named: 0,
        modules: HashMap::new(),
        depth,
        made: HashMap::new(),
        loose: HashSet::new(),
        settled: RefCell::default(),
        plain: RefCell::default(),
        given: RefCell::default(),
        vetted: RefCell::default(),
        attributes: HashMap::new(),
        verdicts: RefCell::default(),
        module_names: HashSet::new(),
        looked: Cell::new(0),
    };
    while machine.step()? {
        let held = [machine.values.len(), machine.memoized(), machine.marks.len()];
        if held.into_iter().any(|n| n > MAX_VALUES) {
            return Err(Error::limit(format!("its pickle holds more than {MAX_VALUES} values")));
        }
    }
    let root = machine.pop()?;
    machine.check_states()?;
    machine.check_module_names(root)?;
    Ok(Pickle { values: machine.values, root, made: machine.made, length: machine.at })
}

impl Machine<'_> {
    fn bad(&self, what: &str) -> Error {
        Error::new(Kind::Damaged, format!("bad pickle: {what} at byte {}", self.at))
            .remedy("save or copy the file again")
    }

    fn add(&mut self, value: Value) -> Id {
        let id = Id(self.values.len() as u32);
        self.values.push(value);
        id
    }

    fn global(&mut self, module: &str, name: &str) -> Result<Id> {
        self.named_value(format!("{module}.{name}"), module.len())
    }

    /// A name, of which the module's is so long.
    fn named_value(&mut self, path: String, module: usize) -> Result<Id> {
        let parts = path.bytes().skip(module + 1).filter(|&b| b == b'.').count();
        if path.len() > MAX_NAME + 1 || parts > MAX_PARTS {
            let what = format!(
                "its pickle has a name of more than {MAX_NAME} bytes, or more than {MAX_PARTS} parts"
            );
            return Err(Error::limit(what));
        }
        globals::check(Name { path: &path, module })?;
        self.named += path.len();
        if self.named > self.bytes.len() + NAMED {
            return Err(Error::limit("its pickle repeats its own names over and over"));
        }
        let is_module_names = Name { path: &path, module }.is_module_names();
        let id = self.add(Value::Global(path.into()));
        if is_module_names {
            self.module_names.insert(id.0);
        }
        if parts > 0 {
            self.modules.insert(id.0, module);
        }
        Ok(id)
    }
}
