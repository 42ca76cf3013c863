//! What is done to values after they are made, and storages within a pickle.

use std::borrow::Cow;

use crate::Result;
use crate::formats::pickle::globals::Name;
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
        let class = self.class(of);
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
        self.check_names(state)?;
        if let Value::Object(object) = self.value(of) {
            // Some set their items as attributes.
            self.look_at(object.items.len())?;
            let is_computed = |key| self.called(key).is_some_and(calls::computes_texts);
            if object.items.iter().any(|&(key, _)| is_computed(key)) {
                return Err(globals::asked("sets attributes by names that it computes"));
            }
        }
        if let Some(class) = class.filter(|class| calls::takes_acting_state(*class)) {
            self.check_acting(class, state)?;
        }
        // The second part is set by its names; a tuple may be one of a class.
        match self.value(state) {
            Value::Tuple(parts) => match parts[..] {
                [_, slots] => self.check_slots(slots),
                _ => Ok(()),
            },
            Value::Object(_) if self.called(state).and_then(globals::container).is_some() => {
                Err(globals::asked("sets a state that it computes"))
            }
            Value::Object(object) => match *self.tuple(object.arguments) {
                [_, slots] => self.check_names(slots).and_then(|()| self.check_slots(slots)),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Fails if items that are set as attributes are a program's insides.
    fn check_slots(&self, slots: Id) -> Result<()> {
        let Value::Dict(items) = self.value(slots) else { return Ok(()) };
        self.look_at(items.len())?;
        let mut names = items.iter().filter_map(|(key, _)| self.text_of(*key));
        match names.find(|name| globals::is_inside(name)) {
            Some(name) => Err(globals::asked(&format!("sets `{name}` of an object"))),
            None => Ok(()),
        }
    }

    /// Fails if a state has names that the file computes: what they are is not known.
    pub(super) fn check_names(&self, state: Id) -> Result<()> {
        let parts = match self.value(state) {
            Value::Tuple(parts) if parts.len() == 2 => &parts[..],
            _ => &[state],
        };
        for &part in parts {
            let Value::Dict(items) = self.value(part) else { continue };
            self.look_at(items.len())?;
            let is_computed =
                |key| matches!(self.value(key), Value::Object(_) | Value::Persistent(_));
            if items.iter().any(|&(key, _)| is_computed(key)) {
                return Err(globals::asked("sets attributes by names that it computes"));
            }
            let has = |name: &str| items.iter().any(|&(key, _)| self.text_of(key) == Some(name));
            // Of such a class the one calls the other.
            if has("_abc_impl") && has("register") {
                return Err(globals::asked("sets `register` of a class"));
            }
        }
        Ok(())
    }

    /// Fails if a state makes an object of this class act. A font that is kept in memory opens nothing.
    fn check_acting(&self, class: Name, state: Id) -> Result<()> {
        let first = match self.value(state) {
            Value::List(parts) => parts.first().copied(),
            _ => None,
        };
        let is_kept =
            first.and_then(|id| self.called(id)).is_some_and(|path| path.ends_with(".BytesIO"));
        match is_kept && class.path.ends_with("FreeTypeFont") {
            true => Ok(()),
            false => Err(globals::asked(&format!("sets the state of `{}`", class.path))),
        }
    }

    /// Fails if an enumeration that is made has what is called while it is: members are values.
    pub(super) fn check_enumeration(&self, given: &[Id]) -> Result<()> {
        let other =
            || globals::called("`cloudpickle.cloudpickle._make_skeleton_enum` with functions");
        let (Some(&bases), Some(&members)) = (given.first(), given.get(3)) else {
            return Err(other());
        };
        let is_base = |&id: &Id| {
            let is_enum = |name: Name| name.module() == "enum" || !calls::is_known(name);
            self.name(id).is_some_and(|name| is_enum(name) || name.path.starts_with("builtins."))
        };
        let Value::Dict(members) = self.value(members) else { return Err(other()) };
        let is_member = |&(key, _): &(Id, Id)| {
            self.text_of(key).is_some_and(|name| !(name.starts_with('_') && name.ends_with('_')))
        };
        self.look_at(members.len() + self.tuple(bases).len())?;
        match self.tuple(bases).iter().all(is_base) && members.iter().all(is_member) {
            true => Ok(()),
            false => Err(other()),
        }
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
}
