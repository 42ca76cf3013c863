//! Calls, and containers that they and other instructions fill.

use super::Machine;
use crate::formats::pickle::globals::{self, Container};
use crate::formats::pickle::judge::{How, Judged};
use crate::formats::pickle::{Id, Object, Value, calls};
use crate::{Error, Result};

impl Machine<'_> {
    /// The result of a call: a plain container, or an [`Object`]. The arguments are a tuple.
    pub(super) fn call(&mut self, callable: Id, arguments: Id, how: How) -> Result<()> {
        let Value::Tuple(given) = &self.values[arguments.0 as usize] else {
            return Err(self.bad("arguments that are no tuple"));
        };
        let judged = self.judge(callable, given, how)?;
        if let Judged::Name(found, module) = judged {
            let id = self.named_value(found, module)?;
            self.stack.push(id);
            return Ok(());
        }
        // `defaultdict(list, items)`.
        let path = self.name(callable).map(|name| name.path);
        let from = given.get(usize::from(path.is_some_and(calls::makes_defaults)));
        let from = from.map(|&id| self.value(id));
        let container = path.and_then(globals::container);
        // What an object holds is not known.
        let container = container.filter(|_| !matches!(from, Some(Value::Object(_))));
        let Some(container) = container else {
            let (state, items) = (None, vec![]);
            self.push(Value::Object(Box::new(Object { callable, arguments, state, items })));
            self.copied += judged.bytes();
            return self.check_copied();
        };
        let elements = match from {
            Some(Value::List(elements) | Value::Set(elements)) => elements.clone(),
            Some(Value::Tuple(elements)) => elements.to_vec(),
            _ => vec![],
        };
        let value = match container {
            Container::Dict => Value::Dict(match from {
                Some(Value::Dict(items)) => items.clone(),
                // Protocols 0 and 1 pass pairs.
                _ => elements.iter().filter_map(|id| self.pair(*id)).collect(),
            }),
            Container::List => Value::List(elements),
            Container::Tuple => Value::Tuple(elements.into()),
            Container::Set => Value::Set(elements),
        };
        self.copied += match &value {
            Value::Dict(items) => 2 * items.len(),
            Value::List(elements) | Value::Set(elements) => elements.len(),
            Value::Tuple(elements) => elements.len(),
            _ => 0,
        };
        self.check_copied()?;
        let is_plain = self.name(callable).is_some_and(|name| name.path.contains("builtin"));
        self.push(value);
        let id = self.values.len() as u32 - 1;
        if !is_plain {
            self.made.insert(id, callable);
        }
        if matches!(judged, Judged::Loose) {
            self.loose.insert(id);
        }
        Ok(())
    }

    pub(super) fn check_copied(&self) -> Result<()> {
        match self.copied > self.bytes.len() {
            true => Err(Error::limit("its pickle copies its own values over and over")),
            false => Ok(()),
        }
    }

    pub(super) fn pair(&self, id: Id) -> Option<(Id, Id)> {
        let elements = match &self.values[id.0 as usize] {
            Value::List(elements) => &elements[..],
            Value::Tuple(elements) => elements,
            _ => return None,
        };
        let [key, value] = elements else { return None };
        Some((*key, *value))
    }

    pub(super) fn append(&mut self, to: Id, mut values: Vec<Id>) -> Result<()> {
        self.check_own(to)?;
        self.check_added(to, &values)?;
        match &mut self.values[to.0 as usize] {
            Value::List(elements) | Value::Set(elements) => elements.append(&mut values),
            // A subclass of list, where no trainer keeps weights.
            Value::Object(_) => {}
            _ => return Err(self.bad("an element added to what is not a list")),
        }
        Ok(())
    }

    pub(super) fn set_items(&mut self, of: Id, pairs: &[Id]) -> Result<()> {
        let (pairs, []) = pairs.as_chunks::<2>() else {
            return Err(self.bad("a key without a value"));
        };
        self.check_own(of)?;
        self.check_added(of, pairs.as_flattened())?;
        let items = match &mut self.values[of.0 as usize] {
            Value::Dict(items) => items,
            Value::Object(object) => &mut object.items,
            _ => return Err(self.bad("an item set in what is not a dict")),
        };
        items.extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }
}
