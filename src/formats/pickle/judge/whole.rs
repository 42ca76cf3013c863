//! What is judged when all values of a pickle are there.

use std::collections::HashSet;

use crate::Result;
use crate::formats::pickle::machine::Machine;
use crate::formats::pickle::{Id, Value, calls, globals};

impl Machine<'_> {
    /// Fails if all that a module has is more than what dill's functions find their names in.
    pub(in super::super) fn check_module_names(&self, root: Id) -> Result<()> {
        let is_one = |id: Id| self.module_names.contains(&id.0);
        if self.module_names.is_empty() {
            return Ok(());
        }
        // The arguments of such functions; no other value holds these either.
        let (mut arguments, mut seen) = (HashSet::new(), HashSet::new());
        for value in &self.values {
            if let Value::Object(object) = value
                && self
                    .name(object.callable)
                    .is_some_and(|name| calls::takes_module_names(name.path))
                && seen.insert(object.arguments.0)
                && let [_, _, others @ ..] = self.tuple(object.arguments)
                && !others.iter().any(|&id| is_one(id))
            {
                arguments.insert(object.arguments.0);
            }
        }
        let is_held = |id: Id| is_one(id) || arguments.contains(&id.0);
        for (at, value) in self.values.iter().enumerate() {
            let holds = match value {
                Value::List(ids) | Value::Set(ids) => ids.iter().any(|&id| is_held(id)),
                Value::Tuple(ids) if arguments.contains(&(at as u32)) => {
                    ids.iter().any(|&id| is_held(id) && !is_one(id))
                        || ids.first().is_some_and(|&id| is_one(id))
                }
                Value::Tuple(ids) => ids.iter().any(|&id| is_held(id)),
                Value::Dict(items) => {
                    items.iter().any(|&(key, value)| is_held(key) || is_held(value))
                }
                Value::Persistent(id) => is_held(*id),
                Value::Object(object) => {
                    let takes = self.name(object.callable);
                    let takes = takes.is_some_and(|name| calls::takes_module_names(name.path));
                    is_held(object.callable)
                        || is_held(object.arguments) && !takes
                        || object.state.is_some_and(is_held)
                        || object.items.iter().any(|&(key, value)| is_held(key) || is_held(value))
                }
                _ => false,
            };
            if holds {
                return Err(globals::asked("takes all that a module has"));
            }
        }
        match is_held(root) || self.attributes.values().any(|&id| is_held(id)) {
            true => Err(globals::asked("takes all that a module has")),
            false => Ok(()),
        }
    }

    /// Fails if a state sets the method that takes states: the next one would be its argument. Or if it brings the code
    /// that distributions of SciPy run, unless it is what they write.
    pub(in super::super) fn check_states(&self) -> Result<()> {
        let items = self.values.iter().filter_map(|value| match value {
            Value::Dict(items) => Some(items),
            Value::Object(object) => Some(&object.items),
            _ => None,
        });
        let mut judged = HashSet::new();
        for &(key, value) in items.flatten() {
            match self.text_of(key) {
                Some("__setstate__") => {
                    return Err(globals::asked("sets `__setstate__` of an object"));
                }
                Some("_parse_arg_template")
                    if judged.insert(value.0) && !self.text_of(value).is_some_and(is_template) =>
                {
                    return Err(globals::asked("sets `_parse_arg_template`, which is run"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a text is what SciPy makes of the names of a distribution's shapes.
fn is_template(text: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let shapes = text.strip_prefix("\ndef _parse_args(self, ").and_then(|rest| {
        let end = rest.find(" loc=0")?;
        Some(&rest[..end])
    });
    let Some(shapes) = shapes else { return false };
    let names = shapes.strip_suffix(", ").unwrap_or(shapes);
    if !(shapes.is_empty() || shapes.ends_with(", ") && names.split(", ").all(is_name)) {
        return false;
    }
    [("loc=0, scale=1", "loc, scale"), ("loc=0", "loc, 1")].into_iter().any(|(given, kept)| {
        let lines = [
            format!("def _parse_args(self, {shapes} {given}):\n    return ({shapes}), {kept}\n"),
            format!(
                "def _parse_args_rvs(self, {shapes} {given}, size=None):\n    return self._argcheck_rvs({shapes} {kept}, size=size)\n"
            ),
            format!(
                "def _parse_args_stats(self, {shapes} {given}, moments='mv'):\n    return ({shapes}), {kept}, moments\n"
            ),
        ];
        text == format!("\n{}", lines.join("\n"))
    })
}
