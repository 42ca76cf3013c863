//! What a pickle may ask for. Nothing in it is ever imported, called or built, so a name is a name, whatever it
//! belongs to. But a file that asks for an act was made to do harm to whoever loads it, and is refused by that name.
//!
//! The rule (docs/formats.md): it looks at names, and at what calls would call, however that is written. An attribute
//! that is asked for (`getattr(a.B, 'c')`, protocols 0 to 3) and a dotted name (protocol 4) are the same name.

use super::acting::{ALIASES, BUILTINS, INSIDES, MODULES, NAMES, PLAIN, SHADOWED};
use super::standard::renamed;
use crate::{Error, Kind, Result};

/// A name: a module, and the attributes that lead on from it, joined by dots.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    pub path: &'a str,
    /// Length of the module's name.
    pub module: usize,
}

impl<'a> Name<'a> {
    pub fn module(&self) -> &'a str {
        &self.path[..self.module]
    }

    /// One at least; the first leads on from the module.
    pub fn attributes(&self) -> impl Iterator<Item = &'a str> {
        self.path.get(self.module + 1..).unwrap_or_default().split('.')
    }

    pub fn top(&self) -> &'a str {
        self.module().split('.').next().unwrap_or_default()
    }

    /// Whether it is all that a module has: dill gives it to the functions of that module, and to nothing else.
    pub fn is_module_names(&self) -> bool {
        self.attributes().eq(["__dict__"])
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
pub fn is_class(name: &str) -> bool {
    name.trim_start_matches('_').starts_with(|c: char| c.is_uppercase())
}

pub fn is_exception(name: &str) -> bool {
    const ENDINGS: [&str; 7] =
        ["Error", "Exception", "Warning", "Exit", "Interrupt", "Iteration", "ExceptionGroup"];
    is_class(name) && ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Whether an attribute is a module that acts, under its name or one like `_os`.
fn is_alias(attribute: &str) -> bool {
    ALIASES.contains(&attribute.trim_matches('_'))
}

/// Whether an attribute is one of a program's insides.
pub fn is_inside(attribute: &str) -> bool {
    INSIDES.contains(&attribute)
}

fn is_builtins(module: &str) -> bool {
    matches!(module, "builtins" | "__builtin__")
}

/// Whether attributes lead through a module that acts, or to a program's insides. The last may have the name of such a
/// module: only its own attributes would act.
fn leads_to_acts<'a>(attributes: impl Iterator<Item = &'a str>) -> bool {
    let mut attributes = attributes.peekable();
    while let Some(attribute) = attributes.next() {
        let has_more = attributes.peek().is_some();
        let is_module = || MODULES.binary_search(&attribute).is_ok() || is_builtins(attribute);
        if is_alias(attribute) || INSIDES.contains(&attribute) || has_more && is_module() {
            return true;
        }
    }
    false
}

/// Fails if a name is one of code that acts, or leads through it. A name of Python 2 is also what Python 3 takes it for.
pub fn check(name: Name) -> Result<()> {
    let now = renamed(name.module());
    let is_renamed = || {
        let path = format!("{now}{}", &name.path[name.module..]);
        now != name.module() && acts(Name { path: &path, module: now.len() })
    };
    let leads = || !name.is_module_names() && leads_to_acts(name.attributes());
    if is_program(name.module()) || acts(name) || is_renamed() || leads() {
        return Err(refused(&format!("its pickle names `{}`", name.path)));
    }
    Ok(())
}

/// Whether somebody's own module has the name of one that acts: it has modules below it, or a class that the other
/// has not.
pub fn is_own(name: Name) -> bool {
    let (top, first) = (name.top(), name.first());
    let shadowed = SHADOWED.iter().find(|(module, _)| *module == top);
    shadowed.is_some_and(|(top, classes)| match *top {
        // Python's own tests have modules below it.
        "test" => is_class(first) && !is_tests(name.module()),
        _ => name.module() != *top || is_class(first) && !classes.contains(&first),
    })
}

/// Whether a module below `test` is one of Python's own tests, by the name that these have.
fn is_tests(module: &str) -> bool {
    let below = module.split('.').nth(1).unwrap_or_default();
    below.starts_with("test_")
        || ["autotest", "libregrtest", "regrtest", "support"].contains(&below)
}

/// Whether a module is what runs a package as a program: importing it starts that.
fn is_program(module: &str) -> bool {
    module.ends_with(".__main__")
}

fn acts(name: Name) -> bool {
    let first = name.first();
    match name.top() {
        "builtins" | "__builtin__" => !BUILTINS.contains(&first) && !is_exception(first),
        "types" => {
            matches!(first, "CodeType" | "FunctionType" | "LambdaType" | "MethodType" | "new_class")
        }
        top if MODULES.binary_search(&top).is_ok() => {
            if is_exception(first) || is_below(name.path, &PLAIN) {
                return false;
            }
            // Constants: `signal.SIGTERM`, `socket.AF_INET`.
            let is_constant = matches!(top, "signal" | "socket" | "ssl")
                && first.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            !is_own(name) && !is_constant
        }
        _ => is_below(name.path, &NAMES),
    }
}

/// Fails if the path of an attribute, as a text has it, leads through a module that acts or to a program's insides.
pub fn check_text(text: &str, of: &str) -> Result<()> {
    match leads_to_acts(text.split('.')) {
        true => Err(called(&format!("`{of}` for `{}`", short(text)))),
        false => Ok(()),
    }
}

/// The same for an attribute of a value that has no name.
pub fn check_attribute(attribute: &str, of: &str) -> Result<()> {
    match leads_to_acts(std::iter::once(attribute)) {
        true => Err(called(&format!("`builtins.getattr` for `{}` of {of}", short(attribute)))),
        false => Ok(()),
    }
}

/// Fails if a module acts, by its name alone.
pub fn check_module(module: &str, of: &str) -> Result<()> {
    let top = renamed(module).split('.').next().unwrap_or_default();
    match MODULES.binary_search(&top).is_ok() || is_builtins(top) || is_program(module) {
        true => Err(called(&format!("`{of}` for `{}`", short(module)))),
        false => Ok(()),
    }
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
        | "_collections.OrderedDict"
        | "_collections.defaultdict"
        | "builtins.dict"
        | "__builtin__.dict" => Container::Dict,
        "builtins.list" | "__builtin__.list" | "collections.deque" | "_collections.deque" => {
            Container::List
        }
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
