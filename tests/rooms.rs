//! The rooms of the library have an order, and each uses what is below it alone: so no two of them need each other,
//! and what is below can be read, tested and replaced without what is above. Plain text is enough to hold it.

use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up; `sync` is a file of locks that any of them may use, `json` one of what people write.
const ROOMS: &[&str] = &[
    "sync",
    "json",
    "process",
    "store",
    "weights",
    "tensors",
    "formats",
    "select",
    "checkpoint",
    "programs",
    "output",
    "average",
    "posterior",
    "schemes",
    "running",
    "jobs",
    "report",
];

/// What reads inputs asks the store for them: one that is not the file system can be a second one.
const READERS: [&str; 6] = ["weights", "tensors", "formats", "select", "checkpoint", "programs"];

/// What would ask the file system itself.
const FILE_SYSTEM: [&str; 14] = [
    "std::fs",
    "File::open",
    "read_dir(",
    "metadata().",
    "symlink_metadata",
    ".is_dir()",
    ".is_file()",
    ".is_symlink()",
    ".exists()",
    "canonicalize(",
    "read_link(",
    "glob::glob",
    "rustix::fs",
    "memmap2",
];

fn files(within: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(within).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The code of each file of a room, without comments and tests.
fn code(room: &str) -> Vec<(PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = vec![];
    if src.join(room).is_dir() {
        files(&src.join(room), &mut found);
    }
    found.extend(Some(src.join(format!("{room}.rs"))).filter(|file| file.is_file()));
    found.retain(|path| path.file_name().is_some_and(|name| name != "tests.rs"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("\n#[cfg(test)]\n").next().unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        (path, lines.collect::<Vec<_>>().join("\n"))
    };
    found.into_iter().map(read).collect()
}

/// The names right below `crate::`, alone or in a group.
fn used(code: &str) -> Vec<&str> {
    let mut names = vec![];
    for (at, path) in code.match_indices("crate::") {
        let rest = &code[at + path.len()..];
        let name = |text: &str| {
            text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
        };
        let Some(group) = rest.strip_prefix('{') else {
            names.push(&rest[..name(rest)]);
            continue;
        };
        let (mut depth, mut starts) = (0, true);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => starts = true,
                c if starts && depth == 0 && !c.is_whitespace() => {
                    names.push(&group[i..i + name(&group[i..])]);
                    starts = false;
                }
                _ => {}
            }
        }
    }
    names
}

#[test]
fn uses_are_found_alone_and_in_groups() {
    let code = "use crate::a::b;\nuse crate::{c::{d, e}, f,\n    g};\nlet x = crate::h(1);";
    assert_eq!(used(code), ["a", "c", "f", "g", "h"]);
}

#[test]
fn every_room_has_its_place_in_the_order() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(src).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.trim_end_matches(".rs");
        assert!(ROOMS.contains(&name) || ["lib", "bin"].contains(&name), "`{name}` has no place");
    }
    for room in ROOMS.iter().filter(|room| **room != "sync") {
        assert!(!code(room).is_empty(), "`{room}` is no room");
    }
}

#[test]
fn a_room_uses_only_rooms_below_it() {
    let height = |room: &str| ROOMS.iter().position(|other| *other == room);
    let mut against = vec![];
    for (own, room) in ROOMS.iter().enumerate() {
        for (path, code) in code(room) {
            let above =
                used(&code).into_iter().filter(|name| height(name).is_some_and(|h| h > own));
            against.extend(above.map(|name| format!("{}: `{room}` uses `{name}`", path.display())));
        }
    }
    assert!(against.is_empty(), "against the order {ROOMS:?}:\n{}", against.join("\n"));
}

#[test]
fn only_the_store_asks_the_file_system_for_inputs() {
    for room in READERS {
        for (path, code) in code(room) {
            for line in code.lines() {
                let asks = FILE_SYSTEM.iter().find(|call| line.contains(**call));
                assert!(asks.is_none(), "{}: {}", path.display(), line.trim());
            }
        }
    }
}
