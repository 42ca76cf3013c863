//! What a pickle may ask for. Nothing in it is ever imported, called or built, so a name is a name, whatever it
//! belongs to. But a file that asks for an act was made to do harm to whoever loads it, and is refused by that name.
//!
//! The rule (docs/formats.md): it looks at names, and at what calls would call, however that is written. An attribute
//! that is asked for (`getattr(a.B, 'c')`, protocols 0 to 3) and a dotted name (protocol 4) are the same name.

use super::acting::{
    ALIASES, BUILTINS, CALLERS, INSIDES, MAKERS, METHODS, MODULES, NAMES, PLAIN, SECOND, SHADOWED,
    VALUES,
};
use crate::{Error, Kind, Result};

/// A name: a module, and the attributes that lead on from it, joined by dots.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    pub path: &'a str,
    /// Length of the module's name.
    pub module: usize,
}

impl<'a> Name<'a> {
    fn module(&self) -> &'a str {
        &self.path[..self.module]
    }

    /// One at least; the first leads on from the module.
    fn attributes(&self) -> impl Iterator<Item = &'a str> {
        self.path.get(self.module + 1..).unwrap_or_default().split('.')
    }

    fn top(&self) -> &'a str {
        self.module().split('.').next().unwrap_or_default()
    }

    /// The class, function or module that the attributes begin with.
    fn first(&self) -> &'a str {
        self.attributes().next().unwrap_or_default()
    }
}

/// Whether a path is one of these, or lies below one.
fn is_below(path: &str, list: &[&str]) -> bool {
    let is = |one: &&str| {
        path.strip_prefix(*one).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    list.iter().any(is)
}

/// Classes are written so, and modules and functions are not.
fn is_class(name: &str) -> bool {
    name.trim_start_matches('_').starts_with(|c: char| c.is_uppercase())
}

fn is_exception(name: &str) -> bool {
    const ENDINGS: [&str; 5] = ["Error", "Exception", "Warning", "Exit", "Interrupt"];
    is_class(name) && ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Whether an attribute is a module that acts, under its name or one like `_os`.
fn is_alias(attribute: &str) -> bool {
    ALIASES.contains(&attribute.trim_matches('_'))
}

fn is_builtins(module: &str) -> bool {
    matches!(module, "builtins" | "__builtin__")
}

/// Fails if a name is one of code that acts, or leads through it.
pub fn check(name: Name) -> Result<()> {
    let leads_through = |attribute: &str| is_alias(attribute) || INSIDES.contains(&attribute);
    if acts(name) || name.attributes().any(leads_through) {
        return Err(refused(&format!("its pickle names `{}`", name.path)));
    }
    Ok(())
}

fn acts(name: Name) -> bool {
    let (module, first) = (name.module(), name.first());
    match name.top() {
        "builtins" | "__builtin__" => !BUILTINS.contains(&first) && !is_exception(first),
        "types" => {
            matches!(first, "CodeType" | "FunctionType" | "LambdaType" | "MethodType" | "new_class")
        }
        top if MODULES.binary_search(&top).is_ok() => {
            if is_exception(first) || is_below(name.path, &PLAIN) {
                return false;
            }
            let shadowed = SHADOWED.iter().find(|(module, _)| *module == top);
            let is_own = shadowed.is_some_and(|(top, classes)| {
                module != *top || is_class(first) && !classes.contains(&first)
            });
            // Constants: `signal.SIGTERM`, `socket.AF_INET`.
            let is_constant = matches!(top, "signal" | "socket" | "ssl")
                && first.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            !is_own && !is_constant
        }
        _ => is_below(name.path, &NAMES),
    }
}

/// Fails if a call of a name acts, though the name alone does not: it is a method, or leads through a module.
pub fn check_called(name: Name) -> Result<()> {
    let mut attributes: Vec<&str> = name.attributes().collect();
    let last = attributes.pop().unwrap_or_default();
    if attributes.is_empty() {
        return Ok(());
    }
    let top = name.top();
    let is_made = MAKERS.contains(&last);
    let is_standard =
        is_builtins(top) || MODULES.binary_search(&top).is_ok() || METHODS.contains(&top);
    let is_value = is_builtins(top) && matches!(attributes[..], [of] if VALUES.contains(&of));
    let through_classes = attributes.iter().all(|attribute| is_class(attribute));
    if is_value
        || is_made && (through_classes || attributes.len() == 1)
        || through_classes && (is_class(last) || !is_standard)
    {
        return Ok(());
    }
    Err(refused(&format!("its pickle calls `{}`", name.path)))
}

/// Which argument of a function it calls, if it calls one, so that the same is asked of that; `arguments` are given.
pub fn calls_argument(path: &str, arguments: usize) -> Option<usize> {
    let calls = CALLERS.contains(&path) && (!path.ends_with(".iter") || arguments > 1);
    calls.then(|| SECOND.contains(&path).into())
}

/// Whether a function finds attributes or calls others: nothing is known of its own calls by what they are.
pub fn looks_further(path: &str) -> bool {
    // With a function to compare by.
    const ORDERED: [&str; 3] = ["sorted", "max", "min"];
    let name = path.strip_prefix("builtins.").or(path.strip_prefix("__builtin__."));
    finds_attributes(path)
        || CALLERS.contains(&path)
        || name.is_some_and(|name| ORDERED.contains(&name))
}

/// Whether a name is that of the function that finds attributes.
pub fn finds_attributes(path: &str) -> bool {
    matches!(path, "builtins.getattr" | "__builtin__.getattr")
}

/// Whether a name is that of `type`, which with more than one argument makes classes.
pub fn makes_types(path: &str) -> bool {
    matches!(path, "builtins.type" | "__builtin__.type")
}

/// Whether the arguments are names of attributes to look for, or of a module to import.
pub fn takes_names(path: &str) -> bool {
    const LOOKERS: [&str; 4] = [
        "operator.attrgetter",
        "_operator.attrgetter",
        "operator.methodcaller",
        "_operator.methodcaller",
    ];
    LOOKERS.contains(&path) || imports(path)
}

fn imports(path: &str) -> bool {
    path == "cloudpickle.cloudpickle.subimport"
}

/// Fails if one of these names leads to a module that acts, or to a program's insides.
pub fn check_text(text: &str, of: &str) -> Result<()> {
    let leads = |part: &str| is_alias(part) || INSIDES.contains(&part);
    let top = text.split('.').next().unwrap_or_default();
    match text.split('.').any(leads) || imports(of) && MODULES.binary_search(&top).is_ok() {
        true => Err(refused(&format!("its pickle calls `{of}` for `{}`", short(text)))),
        false => Ok(()),
    }
}

/// An attribute of a value that has no name.
pub fn check_attribute(of: &str, attribute: Option<&str>) -> Result<()> {
    let text = attribute.map(|name| format!("`{}`", short(name)));
    match attribute {
        Some(name) if !INSIDES.contains(&name) && !is_alias(name) => Ok(()),
        _ => {
            let text = text.unwrap_or_else(|| "a name that it computes".into());
            Err(called(&format!("`builtins.getattr` for {text} of {of}")))
        }
    }
}

/// Whether what a call of this name makes may be called: functions that are put together from their parts.
pub fn makes_functions(path: &str) -> bool {
    matches!(path, "cloudpickle.cloudpickle._builtin_type" | "dill._dill._load_type")
}

/// A call of what cannot be told to be harmless.
pub fn called(what: &str) -> Error {
    refused(&format!("its pickle calls {what}"))
}

/// Something else that no saved value asks for.
pub fn asked(what: &str) -> Error {
    refused(&format!("its pickle {what}"))
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

fn refused(what: &str) -> Error {
    Error::new(Kind::Hostile, format!("{what}, code that acts when a program loads the file"))
        .remedy("nothing of it was run; do not load this file, and ask where it came from")
}

/// The plain containers: calls of other names stay objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    Dict,
    List,
    Tuple,
    Set,
}

pub fn container(name: &str) -> Option<Container> {
    Some(match name {
        "collections.OrderedDict"
        | "collections.defaultdict"
        | "collections.Counter"
        | "builtins.dict"
        | "__builtin__.dict" => Container::Dict,
        "builtins.list" | "__builtin__.list" | "collections.deque" => Container::List,
        "builtins.tuple" | "__builtin__.tuple" => Container::Tuple,
        "builtins.set" | "__builtin__.set" | "builtins.frozenset" | "__builtin__.frozenset" => {
            Container::Set
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_can_be_searched() {
        assert!(MODULES.is_sorted() && INSIDES.len() > 30);
        for path in PLAIN {
            let top = path.split('.').next().unwrap();
            assert!(MODULES.binary_search(&top).is_ok(), "{path} is plain anyway");
        }
        for (module, _) in SHADOWED {
            assert!(MODULES.binary_search(&module).is_ok(), "{module}");
        }
    }
}
