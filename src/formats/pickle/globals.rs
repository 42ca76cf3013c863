//! Which names a pickle may hold. None is ever imported or called: names other than those of the plain containers
//! stay names. But a file that names code with side effects was made to do harm, and is refused.

use crate::{Error, Kind, Result};

/// Modules with side effects, sorted; everything below them is refused. Protocol 2 renames modules:
/// `subprocess.Popen` is stored as `commands.Popen`, `os.system` as `posix.system`, `eval` as `__builtin__.eval`.
const ACTING: [&str; 34] = [
    "_ctypes",
    "_pickle",
    "_posixsubprocess",
    "_socket",
    "code",
    "codeop",
    "commands",
    "ctypes",
    "ftplib",
    "http",
    "imp",
    "importlib",
    "marshal",
    "nt",
    "operator",
    "os",
    "pdb",
    "pickle",
    "pip",
    "popen2",
    "posix",
    "pty",
    "runpy",
    "shutil",
    "smtplib",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "telnetlib",
    "timeit",
    "urllib",
    "webbrowser",
    "zipimport",
];

/// The same within packages that are otherwise harmless.
const ACTING_BELOW: [&str; 4] =
    ["torch.hub", "torch.utils.cpp_extension", "torch.package", "numpy.f2py"];

/// Names of `builtins` that are plain types.
const PLAIN: [&str; 18] = [
    "getattr", // see `check_call`
    "Ellipsis",
    "NoneType",
    "NotImplemented",
    "bool",
    "bytearray",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "object",
    "range",
    "set",
    "slice",
    "str",
];

/// Python 2's names of plain types.
const PLAIN_2: [&str; 4] = ["long", "tuple", "unicode", "xrange"];

/// Fails if the name is one of code with side effects.
pub fn check(module: &str, name: &str) -> Result<()> {
    let top = module.split('.').next().unwrap_or(module);
    // A dotted name reaches what its module imports: `pathlib` has an `os`.
    let acting = |part: &str| ACTING.binary_search(&part).is_ok();
    let through = name.contains('.') && name.split('.').any(acting);
    let acts = match top {
        "builtins" | "__builtin__" => {
            name != "tuple" && !PLAIN.contains(&name) && !PLAIN_2.contains(&name)
        }
        "types" => matches!(name, "CodeType" | "FunctionType" | "LambdaType" | "MethodType"),
        _ => {
            acting(top)
                || ACTING_BELOW
                    .iter()
                    .any(|below| module == *below || module.starts_with(&format!("{below}.")))
        }
    };
    if !acts && !through {
        return Ok(());
    }
    Err(refused(&format!("{module}.{name}")))
}

/// Fails if `getattr` is called with anything but a harmless class and a name without a leading underscore. That is
/// how methods are stored; MMEngine stores one.
pub fn check_call(callable: &str, of: Option<&str>, attribute: Option<&str>) -> Result<()> {
    if !matches!(callable, "builtins.getattr" | "__builtin__.getattr") {
        return Ok(());
    }
    let plain = |name: &str| !name.starts_with("builtins.") && !name.starts_with("__builtin__.");
    match (of, attribute) {
        (Some(class), Some(name)) if plain(class) && !name.starts_with('_') => Ok(()),
        _ => Err(refused(callable)),
    }
}

fn refused(name: &str) -> Error {
    Error::new(
        Kind::Hostile,
        format!("its pickle names `{name}`, code that acts when a program loads the file"),
    )
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
