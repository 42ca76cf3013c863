//! What calls are given: functions of which the file does not show what they do, texts that are evaluated.

use std::collections::HashSet;

use super::{Judged, LOOKED};
use crate::formats::pickle::calls::{self, Finds, Use};
use crate::formats::pickle::globals;
use crate::formats::pickle::machine::Machine;
use crate::formats::pickle::{Id, Value};
use crate::{Error, Result};

impl Machine<'_> {
    /// Fails if arguments hold a function of which it is not known what it does: only a class of somebody's own may be
    /// given one.
    pub(super) fn check_given(
        &self,
        given: &[Id],
        keywords: &[(Id, Id)],
        to: &str,
    ) -> Result<Judged> {
        let passed = |id| self.is_known_plain(id);
        let mut seen = HashSet::new();
        let is_one = |id| self.is_loose(id);
        let found = self.find_within(given, keywords, is_one, passed, false, &mut seen)?;
        self.given.borrow_mut().extend(seen);
        self.refuse_found(found, to)
    }

    /// The same for what Python's standard library and known libraries are given. They may call what an object has by
    /// the name of a method, so it must not hold such a function either; nor a name that the file may not call.
    pub(super) fn check_known(
        &self,
        given: &[Id],
        keywords: &[(Id, Id)],
        to: &str,
    ) -> Result<Judged> {
        // What was looked at once is looked at again only where something is added to it.
        let passed = |id: Id| self.vetted.borrow().contains(&id.0) || self.is_known_plain(id);
        let mut seen = HashSet::new();
        let is_one = |id| {
            let is_unfit = |name| !calls::may_be_given(name);
            self.is_loose(id) || self.name(id).is_some_and(is_unfit)
        };
        let found = self.find_within(given, keywords, is_one, passed, true, &mut seen)?;
        self.vetted.borrow_mut().extend(seen);
        self.refuse_found(found, to)
    }

    /// Fails if the factory of a dict's values acts. It is called without arguments, when a value is looked up that is
    /// not there, which no saved file does: any name will do. Whether the dict may not be given to what might look.
    pub(super) fn check_factory(&self, factory: Id, within: u32) -> Result<bool> {
        if let Some(name) = self.name(factory)
            && !calls::is_judged(name.path)
        {
            return Ok(!calls::may_be_given(name));
        }
        if let Value::Object(object) = self.value(factory) {
            let called = self.called(factory);
            let of = self.tuple(object.arguments).first().and_then(|&of| self.called(of));
            if called.is_some_and(calls::finds_attributes) && of.is_some_and(calls::is_random) {
                return Ok(false);
            }
            if called.is_some_and(calls::makes_functions) {
                return Ok(true);
            }
        }
        self.check_function(factory, Use::Held, within).map(|()| false)
    }

    fn refuse_found(&self, found: Option<Id>, to: &str) -> Result<Judged> {
        let Some(id) = found else { return Ok(Judged::Value(0)) };
        let what = self.describe(id);
        Err(globals::called(&match self.name(id) {
            Some(_) => format!("{to} with a function, {what}"),
            None => format!("{to} with a function that {what} makes"),
        }))
    }

    /// Whether what is asked of a value may be what the file says: an object, or a container with attributes.
    pub(super) fn has_attributes(&self, id: Id) -> bool {
        matches!(self.value(id), Value::Object(_)) || self.attributes.contains_key(&id.0)
    }

    pub(super) fn holds_text(&self, given: &[Id], keywords: &[(Id, Id)]) -> bool {
        let is_text = |id| match self.value(id) {
            Value::Text(_) | Value::Bytes(_) | Value::Escaped(_) => true,
            Value::Object(_) => !self.class(id).is_some_and(calls::is_expression),
            _ => false,
        };
        // What is too much to look at is taken for one.
        let seen = &mut HashSet::new();
        let found = self.find_within(given, keywords, is_text, |_| false, false, seen);
        found.map_or(true, |found| found.is_some())
    }

    /// Fails if what a call was given gets a function like those that calls may not be given. `map` and its like look
    /// at their arguments later.
    pub(in super::super) fn check_added(&self, to: Id, values: &[Id]) -> Result<()> {
        let what = "what it gave a container";
        if self.vetted.borrow().contains(&to.0) {
            return self.check_known(values, &[], what).map(drop);
        }
        let is_given = self.given.borrow().contains(&to.0);
        match is_given {
            true => self.check_given(values, &[], what).map(drop),
            false => Ok(()),
        }
    }

    /// A value among arguments, or in what they hold. `seen`: the containers that were met, which are not looked into
    /// again. `objects`: their arguments and states are looked into as well.
    pub(super) fn find_within(
        &self,
        given: &[Id],
        keywords: &[(Id, Id)],
        is_one: impl Fn(Id) -> bool,
        passed: impl Fn(Id) -> bool,
        objects: bool,
        seen: &mut HashSet<u32>,
    ) -> Result<Option<Id>> {
        let mut open: Vec<Id> = given.to_vec();
        open.extend(keywords.iter().map(|(_, value)| *value));
        while let Some(id) = open.pop() {
            self.look_at(1)?;
            if passed(id) {
                seen.insert(id.0);
                continue;
            }
            if is_one(id) {
                return Ok(Some(id));
            }
            let inner: &mut dyn Iterator<Item = Id> = match self.value(id) {
                Value::List(ids) | Value::Set(ids) => &mut ids.iter().copied(),
                Value::Tuple(ids) => &mut ids.iter().copied(),
                Value::Dict(items) => &mut items.iter().flat_map(|&(key, value)| [key, value]),
                Value::Object(object) if objects => {
                    let items = object.items.iter().flat_map(|&(key, value)| [key, value]);
                    let arguments = match self.called(id).filter(|path| calls::takes_types(path)) {
                        Some(path) => self.without_types(path, self.tuple(object.arguments))?,
                        None => vec![object.arguments],
                    };
                    &mut items.chain(object.state).chain(arguments)
                }
                // Names, so that each is judged once.
                Value::Global(_) if objects => &mut std::iter::empty(),
                _ => continue,
            };
            if seen.insert(id.0) {
                open.extend(inner);
                open.extend(self.attributes.get(&id.0).filter(|_| objects));
            }
        }
        Ok(None)
    }

    /// The arguments of a function that takes types without these; of one that calls another such function also those of
    /// that, in a tuple.
    pub(super) fn without_types(&self, path: &str, given: &[Id]) -> Result<Vec<Id>> {
        let calls_another = path.starts_with("torch._tensor._rebuild_from_type");
        let mut others = vec![];
        for id in given {
            let elements = match self.tuple(*id) {
                elements @ [_, ..] if calls_another => elements,
                _ => std::slice::from_ref(id),
            };
            self.look_at(elements.len())?;
            others.extend(elements.iter().filter(|id| !self.is_held_class(**id)));
        }
        Ok(others)
    }

    /// Counts values that are looked at, and fails when they are too many for the pickle.
    pub(super) fn look_at(&self, values: usize) -> Result<()> {
        self.looked.set(self.looked.get() + values);
        match self.looked.get() > LOOKED + 4 * self.bytes.len() {
            true => Err(Error::limit("its pickle gives the same values over and over")),
            false => Ok(()),
        }
    }

    /// Whether a container holds numbers and texts alone, which is found out once for each of its lengths.
    pub(super) fn is_known_plain(&self, id: Id) -> bool {
        let is_plain = |id: &Id| {
            use Value::{BigInt, Bool, Bytes, Escaped, Float, Int, None, Text};
            let value = self.value(*id);
            matches!(
                value,
                None | Bool(_) | Int(_) | BigInt | Float(_) | Text(_) | Bytes(_) | Escaped(_)
            )
        };
        let length = match self.value(id) {
            Value::List(ids) | Value::Set(ids) => ids.len(),
            Value::Tuple(ids) => ids.len(),
            Value::Dict(items) => items.len(),
            _ => return false,
        };
        if self.loose.contains(&id.0) || self.attributes.contains_key(&id.0) {
            return false;
        }
        let mut plain = self.plain.borrow_mut();
        if plain.get(&id.0) == Some(&length) {
            return true;
        }
        self.looked.set(self.looked.get() + length);
        let all = match self.value(id) {
            Value::List(ids) | Value::Set(ids) => ids.iter().all(is_plain),
            Value::Tuple(ids) => ids.iter().all(is_plain),
            Value::Dict(items) => items.iter().all(|(key, value)| is_plain(key) && is_plain(value)),
            _ => false,
        };
        if all {
            plain.insert(id.0, length);
        }
        all
    }

    /// Whether a value is a function that does what its arguments say.
    pub(super) fn is_loose(&self, id: Id) -> bool {
        let id = self.outside(id);
        if let Some(name) = self.name(id) {
            return calls::is_judged(name.path) && !calls::is_plain_type(name.path);
        }
        match self.called(id) {
            Some(path) if calls::is_partial(path) => self.check_function(id, Use::Held, 1).is_err(),
            Some(path) if calls::makes_types(path) => false,
            Some(path) if calls::are_functions(path) => true,
            Some(path) => {
                let attribute = calls::finds_attributes(path);
                let finder = matches!(calls::finds(path), Some(Finds::Attributes | Finds::Method));
                attribute || finder || calls::brings_functions(path)
            }
            None => match self.value(id) {
                // What is made by a type of Python's may be a function: its types are among them.
                Value::Object(object) => {
                    self.called(object.callable).is_some_and(calls::makes_types)
                }
                _ => self.loose.contains(&id.0),
            },
        }
    }
}
