//! What is done to values after they are made, and storages within a pickle.

use std::borrow::Cow;

use crate::Result;
use crate::formats::pickle::machine::Machine;
use crate::formats::pickle::{Id, Value, calls, globals, nested};

impl Machine<'_> {
    /// Fails if a state is not that of a value that the file makes, or not its first.
    pub(in super::super) fn check_state(&self, of: Id, state: Id) -> Result<()> {
        if let Some(name) = self.name(of) {
            return Err(globals::asked(&format!("sets attributes of `{}`", name.path)));
        }
        self.check_own(of)?;
        if let Value::Persistent(_) = self.value(of) {
            return Err(globals::asked("sets attributes of what is outside"));
        }
        if !self.settled.borrow_mut().insert(of.0) {
            return Err(globals::asked("sets the state of a value twice"));
        }
        let is_partial = self.called(of).is_some_and(calls::is_partial);
        if is_partial && self.tuple(state).len() != 4 {
            return Err(globals::asked("sets a partial function to what it computes"));
        }
        self.check_added(of, &[state])?;
        // Its class's `__setstate__` asks it for items: only a plain dict says what they are.
        let is_odd = self.has_attributes(state) || self.loose.contains(&state.0);
        let class = match self.value(of) {
            Value::Object(object) => self.name(object.callable),
            _ => None,
        };
        if is_odd && class.is_none_or(calls::is_known) {
            self.check_known(&[state], &[], "what takes a state")?;
        }
        // An optimizer's asks its groups for what they have.
        if class.is_some_and(|class| class.path.starts_with("torch.optim."))
            && let Value::Dict(items) = self.value(state)
        {
            self.look_at(items.len())?;
            let asked = |key| matches!(self.text_of(key), Some("defaults" | "param_groups"));
            let mut groups: Vec<Id> = vec![];
            for &(_, value) in items.iter().filter(|(key, _)| asked(*key)) {
                let elements = match self.value(value) {
                    Value::List(elements) => &elements[..],
                    _ => self.tuple(value),
                };
                self.look_at(elements.len())?;
                groups.push(value);
                groups.extend(elements);
            }
            groups.retain(|&id| self.has_attributes(id));
            self.check_known(&groups, &[], "what takes a state")?;
        }
        // The second part is set by its names.
        if let Value::Tuple(parts) = self.value(state)
            && let [_, slots] = parts[..]
            && let Value::Dict(items) = self.value(slots)
        {
            self.look_at(items.len())?;
            let mut names = items.iter().filter_map(|(key, _)| self.text_of(*key));
            if let Some(name) = names.find(|name| globals::is_inside(name)) {
                return Err(globals::asked(&format!("sets `{name}` of an object")));
            }
        }
        Ok(())
    }

    /// Fails if a value may have been there before: what a call found.
    pub(in super::super) fn check_own(&self, id: Id) -> Result<()> {
        match self.called(id) {
            Some(path) if calls::finds_what_is_there(path) => {
                Err(globals::asked(&format!("changes what `{path}` finds")))
            }
            _ => Ok(()),
        }
    }

    /// Looks into the storages that one is made of which plain pickle saved; how many bytes that took.
    pub(super) fn check_nested(&self, given: &[Id]) -> Result<usize> {
        let bytes = match given.first().map(|&id| self.value(id)) {
            Some(Value::Bytes(range)) => Some(Cow::Borrowed(&self.bytes[range.clone()])),
            Some(Value::Object(object)) => {
                match self.tuple(object.arguments).first().and_then(|&id| self.text_of(id)) {
                    Some(text) => {
                        let bytes = text.chars().map(|c| u8::try_from(c).ok());
                        bytes.collect::<Option<Vec<u8>>>().map(Cow::Owned)
                    }
                    None => None,
                }
            }
            _ => None,
        };
        match bytes {
            Some(bytes) => nested::check(&bytes, self.depth + 1).map(|()| bytes.len()),
            None => Err(globals::called(&format!("`{}` of no bytes", nested::LOADER))),
        }
    }

    /// Fails if a state sets the method that takes states: the next one would be its argument.
    pub(in super::super) fn check_states(&self) -> Result<()> {
        let is_method = |id: Id| self.text_of(id) == Some("__setstate__");
        let items = self.values.iter().filter_map(|value| match value {
            Value::Dict(items) => Some(items),
            Value::Object(object) => Some(&object.items),
            _ => None,
        });
        match items.flatten().any(|(key, _)| is_method(*key)) {
            true => Err(globals::asked("sets `__setstate__` of an object")),
            false => Ok(()),
        }
    }
}
