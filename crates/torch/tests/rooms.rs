//! Who imports whom in this package: rooms only from rooms below them, and files never in a circle. Read from the text
//! of the sources, without their comments and their unit tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex::Regex;
use swa_testing::root;

/// Each room with the rooms that it may import, lowest first; docs/architecture.md has the same order.
const ROOMS: [(&str, &[&str]); 10] = [
    ("plot", &[]),
    ("nn", &[]),
    ("parts", &[]),
    ("bn_update", &["nn", "parts"]),
    ("evaluate", &["nn", "parts"]),
    ("landscape", &["nn", "parts", "bn_update", "evaluate"]),
    ("session", &["nn"]),
    ("train", &["nn", "bn_update", "evaluate"]),
    ("jobs", &["nn", "parts", "bn_update", "evaluate", "landscape", "session", "train"]),
    ("report", &["plot", "bn_update", "evaluate", "landscape", "session", "train", "jobs"]),
];

/// By module (`nn::models::vgg`), the modules that it imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// The sources of the library by module; the crate's root is "".
fn sources() -> BTreeMap<String, String> {
    fn add(folder: &Path, module: &str, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_string();
            let inner = [module, &name].into_iter().filter(|part| !part.is_empty());
            let inner = inner.collect::<Vec<_>>().join("::");
            if path.is_dir() {
                if inner != "bin" {
                    add(&path, &inner, found);
                }
            } else if name != "tests" {
                let own = ["mod", "lib"].contains(&name.as_str());
                let module = if own { module.to_string() } else { inner };
                found.insert(module, code(&fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = BTreeMap::new();
    add(&root().join("crates/torch/src"), "", &mut found);
    found
}

/// A source without comments and unit tests.
fn code(text: &str) -> String {
    let tests = Regex::new(r"(?m)^#\[cfg\(test\)\]\nmod tests").unwrap();
    let end = tests.find(text).map_or(text.len(), |found| found.start());
    Regex::new(r"//[^\n]*").unwrap().replace_all(&text[..end], "").into_owned()
}

/// The paths that an import names, `a::{b, c::d}` in full.
fn paths(tree: &str) -> Vec<String> {
    let Some((before, inside)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap();
        return vec![path.split_whitespace().collect()];
    };
    let inside = &inside[..inside.rfind('}').unwrap()];
    let (mut depth, mut start, mut found) = (0, 0, vec![]);
    for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let item = inside[start..at].trim();
                if !item.is_empty() {
                    found.extend(paths(&format!("{}{item}", before.trim())));
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// The module that a path within the crate leads to; None if it leads out of it.
fn resolve(path: &str, from: &str, modules: &BTreeSet<&str>) -> Option<String> {
    let mut at: Vec<&str> = from.split("::").filter(|part| !part.is_empty()).collect();
    let own =
        |at: &[&str], name: &str| modules.contains([at, &[name]].concat().join("::").as_str());
    let mut names = path.split("::").peekable();
    match *names.peek()? {
        "crate" => {
            at.clear();
            names.next();
        }
        "super" | "self" => {}
        first if own(&at, first) => {}
        _ => return None,
    }
    for name in names {
        match name {
            "self" => {}
            "super" => drop(at.pop()),
            _ if own(&at, name) => at.push(name),
            _ => break,
        }
    }
    Some(at.join("::"))
}

fn imports(sources: &BTreeMap<String, String>) -> Imports {
    let modules: BTreeSet<&str> = sources.keys().map(String::as_str).collect();
    let import = Regex::new(r"(?m)^\s*(?:pub(?:\([a-z]+\))? )?use ([^;]+);").unwrap();
    let inline = Regex::new(r"\b[a-z]\w*(?:::\w+)+").unwrap();
    let of = |(module, text): (&String, &String)| {
        let mut found: Vec<String> =
            import.captures_iter(text).flat_map(|c| paths(&c[1])).collect();
        let rest = import.replace_all(text, "");
        found.extend(inline.find_iter(&rest).map(|path| path.as_str().to_string()));
        let mut found: BTreeSet<String> =
            found.iter().filter_map(|path| resolve(path, module, &modules)).collect();
        found.remove(module);
        (module.clone(), found)
    };
    sources.iter().map(of).collect()
}

/// A circle of imports, if there is one.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    fn visit<'a>(
        module: &'a str,
        imports: &'a Imports,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(start) = path.iter().position(|other| *other == module) {
            return Some(path[start..].iter().map(|part| part.to_string()).collect());
        }
        if !done.insert(module) {
            return None;
        }
        path.push(module);
        let found = imports[module].iter().find_map(|next| visit(next, imports, path, done));
        path.pop();
        found
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|module| visit(module, imports, &mut vec![], &mut done))
}

fn room(module: &str) -> &str {
    module.split("::").next().unwrap()
}

#[test]
fn rooms_import_only_rooms_below_them() {
    let mut below: Vec<&str> = vec![];
    for (name, allowed) in ROOMS {
        assert!(allowed.iter().all(|other| below.contains(other)), "{name}");
        below.push(name);
    }
    let sources = sources();
    let mut seen = BTreeSet::new();
    for (module, imported) in imports(&sources).iter().filter(|(module, _)| !module.is_empty()) {
        let (name, allowed) = *ROOMS.iter().find(|(name, _)| *name == room(module)).unwrap();
        for other in imported.iter().filter(|other| room(other) != name) {
            assert!(allowed.contains(&room(other)), "{module} imports {other}");
            seen.insert((name, room(other).to_string()));
        }
    }
    // The scan finds what there is: every arrow of the table is used.
    assert_eq!(
        seen.len(),
        ROOMS.iter().map(|(_, allowed)| allowed.len()).sum::<usize>(),
        "{seen:?}"
    );
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let imports = imports(&sources());
    assert_eq!(circle(&imports), None);
    // The scan finds what there is.
    let has = |from: &str, to: &str| assert!(imports[from].contains(to), "{from} imports {to}");
    has("nn::layers", "nn::batch_norm");
    has("nn::models::resnet", "nn::models::residual");
    has("nn::models", "nn::models::resnet");
    has("jobs::update_bn", "nn");
}

#[test]
fn circles_and_upward_imports_are_found() {
    let of = |files: &[(&str, &str)]| {
        let files = files.iter().map(|(module, text)| (module.to_string(), code(text)));
        imports(&files.collect())
    };
    let found = of(&[
        ("", "pub mod a;"),
        ("a", "mod b;\nmod c;\npub use b::{B, deep::{self, D}};\nconst C: u8 = c::C;\n"),
        ("a::b", "use super::c::C;\nuse std::{fs, io};\n// use super::B;\n"),
        ("a::c", "fn f() { crate::a::b::g() }\n#[cfg(test)]\nmod tests { use crate::d; }"),
        ("d", "use tch::Tensor;"),
    ]);
    assert_eq!(found["a"], BTreeSet::from(["a::b", "a::c"].map(String::from)));
    assert_eq!(found["d"], BTreeSet::new());
    assert_eq!(circle(&found), Some(vec!["a::b".to_string(), "a::c".to_string()]));
}
