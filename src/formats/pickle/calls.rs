//! What a pickle may call. Names are refused by lists of what acts; calls are allowed by their form, because any
//! function may act on what it is given, and what rebuilds a value looks alike everywhere. docs/formats.md has the rule.

mod roles;
mod tables;

pub use roles::*;
use tables::{
    ACTING, ACTIONS, AGAIN, CALLED_BUILTINS, CODE, COMPILED, FINDING, IMMUTABLE, MAKERS, OPERATORS,
    REBUILDERS, VALUES, VERBS, WHOLE, WORDS,
};

use super::acting::MODULES;
use super::globals::{Name, is_class, is_exception, is_own};
use super::known;
use super::standard::{is_standard, renamed};

/// What becomes of a function or class.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Use {
    /// It is called.
    Called,
    /// Only its `__new__` is.
    New,
    /// It is kept in what calls it later, if at all: a partial function, or the factory of a dict.
    Held,
}

impl Use {
    pub fn of(is_new: bool) -> Self {
        if is_new { Use::New } else { Use::Called }
    }
}

/// Whether a call of a name makes a value.
pub fn makes_a_value(name: Name, how: Use) -> bool {
    let is_new = how == Use::New;
    let path = name.attributes().collect::<Vec<_>>();
    let (&last, before) = path.split_last().unwrap_or((&"", &[]));
    let in_classes = before.iter().all(|part| is_class(part));
    let top = known_as(name);
    if is_own(name) {
        return in_classes && !acts(last, how);
    }
    if is_standard(top) {
        return match before {
            // It makes classes.
            _ if last.ends_with("Meta") || top == "enum" && makes_enumerations(last) => false,
            [] if is_exception(last) => true,
            [] if top == "builtins" => CALLED_BUILTINS.contains(&last),
            [of] if top == "builtins" => {
                IMMUTABLE.contains(of) && !last.starts_with("format") && !last.starts_with('_')
                    || MAKERS.contains(&last)
            }
            // A class of a module that acts is one of the plain ones, or its name were refused.
            _ if in_classes && is_class(last) => {
                is_new
                    || is_rebuilder(name.path)
                    || !is_no_value(last)
                        && (VALUES.contains(&top) || MODULES.binary_search(&top).is_ok())
            }
            [] if top == "operator" || top == "_operator" => {
                OPERATORS.contains(&last) || finds(name.path).is_some()
            }
            [] => is_new || WHOLE.contains(&top) || is_rebuilder(name.path),
            [_] if MAKERS.contains(&last) => VALUES.contains(&top) || WHOLE.contains(&top),
            _ => false,
        };
    }
    if known::is_library(top) {
        return known::may_be_called(name, last, is_new)
            && match before {
                _ if known::makes_arrays(name) => true,
                [] if is_rebuilder(name.path) => true,
                _ if is_new && is_class(last) => in_classes,
                _ if acts(last, how) => false,
                [] if is_new => true,
                // A class method: only one by which values are made again.
                [_] if MAKERS.contains(&last) => true,
                _ if !in_classes || !is_class(last) => false,
                _ => how == Use::Held || known::is_made_by_calls(name, last),
            };
    }
    match before {
        _ if COMPILED.contains(&name.path) => true,
        _ if acts(last, how) || how == Use::Called && runs_programs(name) => false,
        [] => true,
        [_] if MAKERS.contains(&last) => true,
        _ => in_classes,
    }
}

/// Whether a name is written like that of a class of a known library.
pub fn is_librarys_class(name: Name) -> bool {
    name.attributes().last().is_some_and(is_class) && known::is_library(known_as(name))
}

/// Whether a function takes classes as types, and calls none of them but for their `__new__`.
pub fn takes_types(path: &str) -> bool {
    known::rebuilds(path) && !path.starts_with("numpy.random.")
        || matches!(path, "operator.or_" | "_operator.or_")
        || path.ends_with(".__new__")
        || makes_again(path)
        || called_arguments(path).any(|(_, is_new)| is_new)
}

/// Whether a module has a program's functions, or code that is loaded from elsewhere.
fn runs_programs(name: Name) -> bool {
    let last = name.module().rsplit('.').next().unwrap_or_default();
    let is_function = !name.attributes().last().is_some_and(is_class);
    is_function && matches!(last, "cli" | "dynamic_module_utils")
}

/// Whether a function or class acts by its name, in whatever package. What rebuilds a value has other names.
fn acts(name: &str, how: Use) -> bool {
    let is_new = how == Use::New;
    ACTIONS.contains(&name)
        || ACTIONS.contains(&name.trim_start_matches('_')) && !is_new
        || !is_new && VERBS.iter().any(|verb| name.starts_with(verb))
        || how == Use::Called && !is_class(name) && acts_by_words(name)
}

/// Whether the name of a function has a word for an act, or says that it finds code.
fn acts_by_words(name: &str) -> bool {
    // A word begins after a line, or with a capital letter.
    let parts = || {
        let begins = |c: char| c.is_ascii_uppercase();
        name.split('_').flat_map(move |part| {
            let starts = part.char_indices().filter(move |&(at, c)| at > 0 && begins(c));
            let ends = starts.clone().map(|(at, _)| at).chain([part.len()]);
            [0].into_iter()
                .chain(starts.map(|(at, _)| at))
                .zip(ends)
                .map(|(from, to)| &part[from..to])
        })
    };
    let has = |words: &[&str]| {
        parts().any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
    };
    let is_within = |word: &&str| word.len() >= 7 && name.contains(*word);
    // `rebuild_output` makes an output again.
    if has(&AGAIN) && !has(&ACTING) {
        return false;
    }
    has(&WORDS) || WORDS.iter().any(is_within) || has(&FINDING) && has(&CODE)
}

/// Whether a name of the module `enum` is that of a class which makes classes when it is called.
fn makes_enumerations(name: &str) -> bool {
    ["Enum", "Flag", "EnumType"].iter().any(|ending| name.ends_with(ending))
}

/// Whether a name of the standard library is written like that of a class, and is a constant, a function, or a class
/// that acts: of another module, or as a function when it is made.
fn is_no_value(name: &str) -> bool {
    let is_upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    let is_constant = name.len() > 1 && name.bytes().all(is_upper);
    is_constant && !["ABC", "AST", "UUID"].contains(&name)
        || ["FileType", "FrameSummary", "JSONArray", "JSONObject"].contains(&name)
        || known::is_elsewhere(name)
}

/// The first part of a module's name, as Python 3 has it.
fn known_as<'a>(name: Name<'a>) -> &'a str {
    renamed(name.module()).split('.').next().unwrap_or_default()
}

/// Whether a name is sympy's, or of what its numbers are made of.
pub fn is_expression(name: Name) -> bool {
    matches!(known_as(name), "mpmath" | "sympy")
}

/// Whether a function makes a class of sympy's functions, which are called with expressions.
pub fn makes_undefined(path: &str) -> bool {
    path == "sympy.core.function._rebuild_undef"
}

/// Whether a class takes texts for code: sympy evaluates what stands for an expression. Names and digits are none.
pub fn evaluates_text(name: Name) -> bool {
    const PLAIN: [&str; 5] = ["Dummy", "Float", "Str", "Symbol", "Wild"];
    let named = name.attributes().find(|attribute| is_class(attribute));
    known_as(name) == "sympy"
        && !known::rebuilds(name.path)
        && !named.is_some_and(|class| PLAIN.contains(&class))
}

/// Whether somebody made the class: its constructor does with a function what its own program does.
pub fn is_somebodys_class(name: Name) -> bool {
    !is_known(name) && name.attributes().last().is_some_and(is_class)
}

/// Whether a name is of Python's standard library, or of one that is known.
pub fn is_known(name: Name) -> bool {
    let top = known_as(name);
    (is_standard(top) || known::is_library(top)) && !is_own(name)
}

/// Whether a name may be given to what might call it: one that the file may call itself, or nothing to be called.
pub fn may_be_given(name: Name) -> bool {
    let last = name.attributes().last().unwrap_or_default();
    is_judged(name.path) && is_plain_type(name.path)
        || known::is_value(name)
        || known_as(name) == "builtins" && ["Ellipsis", "NotImplemented"].contains(&last)
        || !is_judged(name.path) && !evaluates_text(name) && makes_a_value(name, Use::Called)
}

/// Whether a call does nothing but keep what it is given: exceptions of `builtins`, and descriptions of types.
pub fn only_keeps(name: Name) -> bool {
    let last = name.attributes().last().unwrap_or_default();
    known_as(name) == "builtins" && is_exception(last)
        || known::is_enumeration(known_as(name), last)
        || matches!(name.path, "types.GenericAlias" | "inspect.Signature")
}

fn is_rebuilder(path: &str) -> bool {
    REBUILDERS.contains(&path) || calls_arguments(path) || known::rebuilds(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_the_standard_library_are_called_only_where_they_rebuild() {
        let path = |path: &'static str, module: &str| Name { path, module: module.len() };
        for (name, module) in [
            ("heapq.nsmallest", "heapq"),
            ("copy._reconstruct", "copy"),
            ("statistics.mean", "statistics"),
            ("wave.Wave_write", "wave"),
            ("builtins.next", "builtins"),
            ("builtins.dict.update", "builtins"),
            ("builtins.str.format", "builtins"),
            ("pathlib.Path.touch", "pathlib"),
            ("abc.ABCMeta", "abc"),
            ("torch.compile", "torch"),
            ("torch.Tensor.apply_", "torch"),
            ("PIL.Image.Image.save", "PIL.Image"),
            ("mine.tools.check_output", "mine.tools"),
            ("yaml.load", "yaml"),
            ("yaml.unsafe_load", "yaml"),
            ("jsonpickle.decode", "jsonpickle"),
            ("hydra.utils.instantiate", "hydra.utils"),
            ("numexpr.evaluate", "numexpr"),
            ("timm.models.load_checkpoint", "timm.models"),
            ("mmengine.config.Config.fromfile", "mmengine.config"),
            ("omegaconf.OmegaConf.load", "omegaconf"),
            ("transformers.pipeline", "transformers"),
            ("IPython.get_ipython", "IPython"),
            ("mine._load", "mine"),
            ("hydra._internal.utils._locate", "hydra._internal.utils"),
            ("cv2.imwrite", "cv2"),
            ("polars.read_csv", "polars"),
        ] {
            assert!(!makes_a_value(path(name, module), Use::Called), "{name}");
        }
        for (name, module) in [
            ("collections.OrderedDict", "collections"),
            ("collections.OrderedDict.fromkeys", "collections"),
            ("numpy.random._pickle.__randomstate_ctor", "numpy.random._pickle"),
            ("pandas._libs.arrays.__pyx_unpickle_NDArrayBacked", "pandas._libs.arrays"),
            ("torch._utils._rebuild_tensor_v2", "torch._utils"),
            ("mine.make", "mine"),
            ("mine.Config.make", "mine"),
            // What rebuilds values in libraries that are not known.
            ("pytz._p", "pytz"),
            ("pyarrow.lib.type_for_alias", "pyarrow.lib"),
            ("pyrsistent._pmap.pmap", "pyrsistent._pmap"),
            ("regex._regex.compile", "regex._regex"),
            ("pyarrow.lib._reconstruct_table", "pyarrow.lib"),
            ("jax._src.array._reconstruct_array", "jax._src.array"),
            ("spacy.vocab.unpickle_vocab", "spacy.vocab"),
            ("faiss.deserialize_index", "faiss"),
            ("shapely.from_wkb", "shapely"),
            ("mine._load_tables", "mine"),
            ("mine.Loader", "mine"),
        ] {
            assert!(makes_a_value(path(name, module), Use::Called), "{name}");
        }
        assert!(makes_a_value(path("threading.Event", "threading"), Use::New));
    }
}
