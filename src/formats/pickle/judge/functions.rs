//! What is called: a name, or what stands for one.

use crate::Result;
use crate::formats::pickle::calls::{self, Use};
use crate::formats::pickle::globals::{self, Name};
use crate::formats::pickle::machine::Machine;
use crate::formats::pickle::{Id, Value};

/// How many partial functions may be within each other.
const PARTIAL: u32 = 8;

impl Machine<'_> {
    /// Before PyTorch 1.6 a module's class was a persistent id: ('module', class, file, source).
    pub(super) fn outside(&self, id: Id) -> Id {
        match self.value(id) {
            Value::Persistent(outside) => self.class_outside(*outside).unwrap_or(id),
            _ => id,
        }
    }

    /// The class that a persistent id is for, if it is that of a module. PyTorch takes bytes for text.
    pub(super) fn class_outside(&self, outside: Id) -> Option<Id> {
        let &[kind, class, ..] = self.tuple(outside) else { return None };
        let is_module = match self.value(kind) {
            Value::Bytes(range) => &self.bytes[range.clone()] == b"module",
            Value::Text(text) => &**text == "module",
            _ => false,
        };
        is_module.then_some(class)
    }

    /// Fails if a persistent id does not say what it is for, or is for a class that the file makes: PyTorch compares the
    /// class's source with that in the file, and writes where the class says.
    pub(in super::super) fn check_outside(&self, outside: Id) -> Result<()> {
        let kind = self.tuple(outside).first().map(|&kind| self.value(kind));
        let is_computed = matches!(kind, Some(Value::Object(_)));
        match is_computed || self.class_outside(outside).is_some_and(|id| self.name(id).is_none()) {
            true => Err(globals::asked("computes what stands outside of it")),
            false => Ok(()),
        }
    }

    /// Fails if a call of a value acts, whatever it is called with. What is called is a name, or, `within` other
    /// functions, one that these hold or call.
    pub(super) fn check_function(&self, function: Id, how: Use, within: u32) -> Result<()> {
        let function = self.outside(function);
        if let Some(name) = self.name(function) {
            if within > 0 && (calls::is_judged(name.path) || calls::evaluates_text(name)) {
                let what = format!("`{}` with what is not known", name.path);
                return Err(globals::called(&what));
            }
            return match self.verdict(function, how, |name| calls::makes_a_value(name, how)) {
                true => Ok(()),
                false => Err(globals::called(&format!("`{}`", name.path))),
            };
        }
        let object = match self.value(function) {
            Value::Object(object) => object,
            Value::Persistent(_) => return Err(globals::called("what is outside")),
            _ => return Ok(()),
        };
        match self.called(function) {
            Some(path) if calls::makes_types(path) => Ok(()),
            Some(path) if calls::makes_undefined(path) && within == 0 => {
                let keywords = self.tuple(object.arguments).get(1);
                match keywords.is_none_or(|&keywords| self.is_known_plain(keywords)) {
                    true => Ok(()),
                    false => Err(globals::called(&format!("what `{path}` makes"))),
                }
            }
            Some(path) if calls::is_partial(path) && within < PARTIAL => {
                self.settled.borrow_mut().insert(function.0);
                // Its state holds the function again.
                let parts = [Some(object.arguments), object.state];
                parts
                    .into_iter()
                    .flatten()
                    .try_for_each(|part| self.check_partial(part, how, within))
            }
            Some(path) if calls::finds_attributes(path) => {
                let given = self.tuple(object.arguments);
                let attribute = given.get(1).and_then(|&id| self.text_of(id)).unwrap_or("?");
                let of = given.first().map_or("a value".into(), |&id| self.describe(id));
                Err(globals::called(&format!("the method `{attribute}` of {of}")))
            }
            Some(path) => Err(globals::called(&format!("what `{path}` makes"))),
            None => Err(globals::called("what another call makes")),
        }
    }

    /// The arguments of a partial function, or its state: the function, and what it is given.
    pub(super) fn check_partial(&self, part: Id, how: Use, within: u32) -> Result<()> {
        let Some((&function, given)) = self.tuple(part).split_first() else {
            return Err(globals::called("a partial function that it computes"));
        };
        let first = self.name(function).filter(|name| calls::makes_defaults(name.path));
        if first.is_some()
            && let Some(&factory) = given.iter().flat_map(|&id| self.tuple(id)).next()
        {
            self.check_factory(factory, within + 1)?;
        }
        self.check_function(function, how, within + 1)?;
        let to = "a partial function";
        let path = self.name(function).map_or("", |name| name.path);
        let keeps = how == Use::Held || calls::takes_types(path);
        let is_kept = |id: &Id| keeps && self.is_held_class(*id);
        // Its state has the arguments in a tuple.
        let parts = given.iter().map(|id| match self.tuple(*id) {
            [] => std::slice::from_ref(id),
            parts if keeps => parts,
            _ => std::slice::from_ref(id),
        });
        let parts: Vec<Id> = parts.flatten().copied().collect();
        self.look_at(parts.len())?;
        let given: Vec<Id> = parts.into_iter().filter(|id| !is_kept(id)).collect();
        match self.name(function) {
            Some(name) if calls::is_somebodys_class(name) => Ok(()),
            Some(name) if !calls::is_known(name) => self.check_given(&given, &[], to).map(drop),
            _ => self.check_known(&given, &[], to).map(drop),
        }
    }

    pub(super) fn is_held_class(&self, id: Id) -> bool {
        self.verdict(id, Use::Held, |name| calls::makes_a_value(name, Use::Held))
            && self.name(id).is_some_and(calls::is_librarys_class)
    }

    /// What was found out of a name, once: a small file may repeat a long one.
    fn verdict(&self, id: Id, how: Use, judge: impl Fn(Name) -> bool) -> bool {
        let Some(name) = self.name(id) else { return false };
        *self.verdicts.borrow_mut().entry((id.0, how)).or_insert_with(|| judge(name))
    }

    /// Whether a call is how Python makes a union of types again.
    pub(super) fn joins_types(&self, path: &str, given: &[Id]) -> Result<bool> {
        let &[by, types] = given else { return Ok(false) };
        let joins = |by: Name| by.path.ends_with("operator.or_");
        if !path.ends_with(".reduce") || !self.name(by).is_some_and(joins) {
            return Ok(false);
        }
        let types = self.tuple(types);
        self.look_at(types.len())?;
        Ok(types.iter().all(|&id| self.is_held_class(id) || self.is_type(id)))
    }

    /// Whether a value is the name of a type, which may have parameters.
    pub(super) fn is_type(&self, of: Id) -> bool {
        let is_builtin = |name: Name| {
            matches!(name.module(), "builtins" | "__builtin__") && !calls::is_judged(name.path)
        };
        let is_class = |name: Name| name.attributes().last().is_some_and(globals::is_class);
        self.name(of).is_some_and(|name| {
            is_builtin(name)
                || is_class(name)
                || calls::is_plain_type(name.path)
                || calls::is_value(name)
        })
    }
}
