//! What a call would do, judged by what it calls and with what: the file is refused where that is not known to make a
//! value. `globals` judges names, `calls` has what may be called.

mod functions;
mod given;
mod states;
mod whole;

use super::calls::{self, Finds, Use};
use super::globals::{self, Name};
use super::machine::Machine;
use super::{Id, MAX_NAME, Value, nested};
use crate::Result;

/// Values of arguments that are looked at, beyond those of a pickle: a small one may share some.
const LOOKED: usize = 1 << 18;

/// How something is called.
#[derive(Clone, Copy)]
pub(super) enum How {
    /// Called.
    Called,
    /// Only its `__new__`, perhaps with keywords.
    New(Option<Id>),
}

/// What became of a call.
pub(super) enum Judged {
    /// It makes a value; bytes of the pickles within it.
    Value(usize),
    /// It makes a container that may call a function which the file brings.
    Loose,
    /// It finds a name; and the length of its module's.
    Name(String, usize),
}

impl Judged {
    pub fn bytes(&self) -> usize {
        match self {
            Judged::Value(bytes) => *bytes,
            Judged::Loose | Judged::Name(..) => 0,
        }
    }
}

impl Machine<'_> {
    pub(super) fn value(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    fn text_of(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The name that a value is.
    pub(super) fn name(&self, id: Id) -> Option<Name<'_>> {
        let Value::Global(path) = self.value(id) else { return None };
        // The only attribute is the last part.
        let module = || path.rfind('.').unwrap_or(0);
        Some(Name { path, module: self.modules.get(&id.0).copied().unwrap_or_else(module) })
    }

    /// The name that a value's call would call.
    fn called(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Object(object) => Some(self.name(object.callable)?.path),
            _ => None,
        }
    }

    /// The name of an object's class, or of what made it.
    fn class(&self, id: Id) -> Option<Name<'_>> {
        let Value::Object(object) = self.value(id) else { return None };
        let callable = match self.value(object.callable) {
            // How protocol 2 calls `__new__` with keywords.
            Value::Object(partial)
                if self.called(object.callable).is_some_and(calls::is_partial) =>
            {
                // Its state holds the function again.
                let first = |part: Id| self.tuple(part).first().copied();
                let function = first(partial.arguments)?;
                let again = partial.state.map_or(Some(function), first)?;
                (self.name(function)?.path == self.name(again)?.path).then_some(function)?
            }
            _ => self.outside(object.callable),
        };
        let name = self.name(callable)?;
        match calls::makes_again(name.path) {
            true => self.tuple(object.arguments).first().and_then(|&of| self.name(of)),
            false => Some(name),
        }
    }

    fn tuple(&self, id: Id) -> &[Id] {
        match self.value(id) {
            Value::Tuple(elements) => elements,
            _ => &[],
        }
    }

    /// A value in a few words.
    fn describe(&self, id: Id) -> String {
        match self.name(id).map(|name| name.path).or_else(|| self.called(id)) {
            Some(path) => format!("`{path}`"),
            None => "a value".into(),
        }
    }

    /// Fails if a call acts, or if what it would do is not known.
    pub(super) fn judge(&self, callable: Id, given: &[Id], how: How) -> Result<Judged> {
        self.look_at(given.len())?;
        let is_new = matches!(how, How::New(_));
        let keywords = match how {
            How::New(Some(keywords)) => match self.value(keywords) {
                Value::Dict(items) => &items[..],
                _ => return Err(globals::called("with keywords that it computes")),
            },
            _ => &[],
        };
        self.check_function(callable, Use::of(is_new), 0)?;
        let callable = self.outside(callable);
        let Some(name) = self.name(callable) else {
            // A partial function, whose own arguments were looked at, or a type of Python's.
            return match self.called(callable) {
                Some(path) if calls::makes_types(path) => Ok(Judged::Value(0)),
                Some(path) if calls::makes_undefined(path) && self.holds_text(given, keywords) => {
                    Err(globals::called("a function of sympy with a text that it evaluates"))
                }
                _ => self.check_known(given, keywords, "a partial function"),
            };
        };
        let path = name.path;
        let of_class = || given.first().and_then(|&of| self.name(of));
        if !keywords.is_empty() && !calls::is_somebodys_class(name) && calls::is_judged(path) {
            return Err(globals::called(&format!("`{path}` with keywords")));
        }
        if calls::evaluates_text(name) && self.holds_text(given, keywords) {
            return Err(globals::called(&format!("`{path}` with a text that it evaluates")));
        }
        if calls::finds_attributes(path) {
            return self.find_attribute(given);
        } else if calls::is_type(path) && given.len() != 1 {
            return Err(globals::called(&format!("`{path}` to make a class")));
        } else if let Some(what) = calls::finds(path) {
            return self.find(what, path, given);
        } else if path == nested::LOADER {
            return self.check_nested(given).map(Judged::Value);
        } else if path == "types.GenericAlias" {
            if !given.first().is_some_and(|&of| self.is_type(of)) {
                return Err(globals::called(&format!("`{path}` of what is no type")));
            }
        } else if path == "cloudpickle.cloudpickle._make_skeleton_enum" {
            self.check_enumeration(given)?;
        } else if calls::SETTERS.contains(&path)
            && !given.first().and_then(|&id| self.called(id)).is_some_and(calls::may_be_set)
        {
            return Err(globals::asked("sets attributes of what it does not make"));
        }
        if let Some(at) = calls::takes_state(path)
            && let Some(&state) = given.get(at)
        {
            self.check_names(state)?;
        }
        let mut judged = Judged::Value(0);
        for (at, is_new) in calls::called_arguments(path) {
            // With one argument it calls nothing.
            if path.ends_with(".iter") && given.len() == 1 {
                continue;
            }
            let Some(&function) = given.get(at) else { continue };
            match calls::makes_defaults(path) {
                true if self.check_factory(function, 1)? => judged = Judged::Loose,
                true => {}
                false => self.check_function(function, Use::of(is_new), 1)?,
            }
        }
        let is_container = globals::container(path).is_some();
        let is_open = is_container
            || calls::only_keeps(name)
            || calls::is_partial(path)
            || calls::makes_functions(path)
            || calls::is_somebodys_class(name)
            || is_new && !calls::is_judged(path)
            || calls::makes_again(path) && of_class().is_some_and(calls::is_somebodys_class);
        let functions: Vec<usize> = calls::called_arguments(path).map(|(at, _)| at).collect();
        let others = given.iter().enumerate().filter(|(at, _)| !functions.contains(at));
        let mut others: Vec<Id> = others.map(|(_, &id)| id).collect();
        if calls::takes_types(path) {
            others = self.without_types(path, &others)?;
        } else if self.joins_types(path, given)? {
            others.clear();
        }
        let to = format!("`{path}`");
        if !is_open && !calls::is_known(name) {
            self.check_given(&others, keywords, &to)?;
        } else if !is_open {
            self.check_known(&others, keywords, &to)?;
        } else if is_container || calls::makes_again(path) || is_new && calls::is_known(name) {
            // Of what they take, they call methods that an object has by their names.
            others.extend(keywords.iter().map(|(_, value)| value));
            let is_partial = |id| self.called(id).is_some_and(calls::is_partial);
            others.retain(|&id| self.has_attributes(id) && !is_partial(id));
            self.check_known(&others, &[], &to)?;
        }
        Ok(judged)
    }

    /// An attribute that a call asks for: a name, where it is one of a name.
    fn find_attribute(&self, given: &[Id]) -> Result<Judged> {
        // Of three, the last may be what it gives.
        let &[of, attribute] = given else {
            return Err(globals::called("`builtins.getattr` with other than two arguments"));
        };
        let Some(attribute) = self.text_of(attribute) else {
            let of = self.describe(of);
            let what = format!("`builtins.getattr` for a name that it computes of {of}");
            return Err(globals::called(&what));
        };
        let of = self.outside(of);
        if let Some(name) = self.name(of) {
            // Cut just above the limit, so that little is copied.
            let attribute: String = attribute.chars().take(MAX_NAME + 1).collect();
            return Ok(Judged::Name(format!("{}.{attribute}", name.path), name.module));
        }
        globals::check_attribute(attribute, &self.describe(of)).map(|()| Judged::Value(0))
    }

    /// What a function finds by names that the file spells out.
    fn find(&self, what: Finds, path: &str, given: &[Id]) -> Result<Judged> {
        let computes = || globals::called(&format!("`{path}` for a name that it computes"));
        let texts = |ids: &[Id]| -> Result<Vec<&str>> {
            ids.iter().map(|&id| self.text_of(id).ok_or_else(computes)).collect()
        };
        match what {
            Finds::Attributes => {
                texts(given)?.into_iter().try_for_each(|text| globals::check_text(text, path))?;
            }
            Finds::Method => {
                let (method, others) = given.split_at(given.len().min(1));
                texts(method)?.into_iter().try_for_each(|text| globals::check_text(text, path))?;
                self.check_given(others, &[], &format!("`{path}`"))?;
            }
            Finds::Global => {
                let texts = texts(given)?;
                let &[module, name] = &texts[..] else { return Err(computes()) };
                let cut = |text: &str| text.chars().take(MAX_NAME + 1).collect::<String>();
                let module = cut(module);
                return Ok(Judged::Name(format!("{module}.{}", cut(name)), module.len()));
            }
            Finds::Made => {
                let module = texts(given.get(2..3).unwrap_or_default())?;
                module.into_iter().try_for_each(|module| globals::check_module(module, path))?;
            }
            Finds::Module => texts(given)?
                .into_iter()
                .try_for_each(|module| globals::check_module(module, path))?,
            Finds::Item => {
                if !given.first().is_some_and(|&of| self.is_type(of)) {
                    return Err(globals::called(&format!("`{path}` of what is no type")));
                }
                self.check_given(&given[1..], &[], &format!("`{path}`"))?;
            }
        }
        Ok(Judged::Value(0))
    }
}
