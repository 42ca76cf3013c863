//! What calls are given: functions of which the file does not show what they do, texts that are evaluated.

use std::collections::HashSet;

use super::{Judged, LOOKED};
use crate::formats::pickle::calls::{self, Finds};
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
        let found = self.find_within(given, keywords, |id| self.is_loose(id), passed, &mut seen)?;
        self.given.borrow_mut().extend(seen);
        match found {
            Some(id) => {
                let what = self.describe(id);
                Err(globals::called(&format!("{to} with a function that {what} makes")))
            }
            None => Ok(Judged::Value(0)),
        }
    }

    pub(super) fn holds_text(&self, given: &[Id], keywords: &[(Id, Id)]) -> bool {
        let is_text = |id| matches!(self.value(id), Value::Text(_));
        // What is too much to look at is taken for one.
        let found = self.find_within(given, keywords, is_text, |_| false, &mut HashSet::new());
        found.map_or(true, |found| found.is_some())
    }

    /// Fails if what a call was given gets a function like those that calls may not be given. `map` and its like look
    /// at their arguments later.
    pub(in super::super) fn check_added(&self, to: Id, values: &[Id]) -> Result<()> {
        let is_given = self.given.borrow().contains(&to.0);
        match is_given {
            true => self.check_given(values, &[], "what it gave a container").map(drop),
            false => Ok(()),
        }
    }

    /// A value among arguments, or in what they hold. `seen`: the containers that were met, which are not looked into
    /// again.
    pub(super) fn find_within(
        &self,
        given: &[Id],
        keywords: &[(Id, Id)],
        is_one: impl Fn(Id) -> bool,
        passed: impl Fn(Id) -> bool,
        seen: &mut HashSet<u32>,
    ) -> Result<Option<Id>> {
        let mut open: Vec<Id> = given.to_vec();
        open.extend(keywords.iter().map(|(_, value)| *value));
        while let Some(id) = open.pop() {
            self.looked.set(self.looked.get() + 1);
            if self.looked.get() > LOOKED + 4 * self.bytes.len() {
                return Err(Error::limit("its pickle gives the same values over and over"));
            }
            if is_one(id) {
                return Ok(Some(id));
            }
            if passed(id) {
                seen.insert(id.0);
                continue;
            }
            let inner: &mut dyn Iterator<Item = Id> = match self.value(id) {
                Value::List(ids) | Value::Set(ids) => &mut ids.iter().copied(),
                Value::Tuple(ids) => &mut ids.iter().copied(),
                Value::Dict(items) => &mut items.iter().flat_map(|&(key, value)| [key, value]),
                _ => continue,
            };
            if seen.insert(id.0) {
                open.extend(inner);
            }
        }
        Ok(None)
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
        if self.loose.contains(&id.0) {
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
            Some(path) if calls::is_partial(path) => self.check_function(id, false, 1).is_err(),
            Some(path) if calls::makes_types(path) => false,
            Some(path) => {
                let attribute = calls::finds_attributes(path);
                let finder = matches!(calls::finds(path), Some(Finds::Attributes | Finds::Method));
                attribute || finder || calls::brings_functions(path)
            }
            None => self.loose.contains(&id.0),
        }
    }
}
