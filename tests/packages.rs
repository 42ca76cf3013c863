//! Who may depend on whom, and what library packages may not say. The rules of docs/architecture.md, held to Cargo's
//! own answers and to the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use swa_testing::root;

/// What Cargo prints, without a network. None where it would need one: packages that nothing built so far needs have
/// not been fetched. With SWA_TESTS_MUST_RUN that is an error.
fn cargo(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root()).args(arguments).args(["--offline", "--locked"]);
    let output = command.output().unwrap();
    if output.status.success() {
        return Some(String::from_utf8(output.stdout).unwrap());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("--offline was specified"), "{error}");
    let line = format!("skipped: `cargo {}` needs packages that are not here", arguments.join(" "));
    assert!(std::env::var_os("SWA_TESTS_MUST_RUN").is_none(), "{line}");
    eprintln!("{line}");
    None
}

/// The packages that a package is made of on this platform, its build scripts' included.
fn tree(package: &str, features: &[&str]) -> Option<BTreeSet<String>> {
    let form = ["--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
    let text = cargo(&[&["tree", "--package", package], &form[..], features].concat())?;
    let names = text.lines().filter_map(|line| line.split(' ').next());
    Some(names.filter(|name| !name.is_empty()).map(String::from).collect())
}

fn library(package: &str) -> Option<BTreeSet<String>> {
    tree(package, &["--no-default-features"])
}

/// Those of the workspace.
fn ours(packages: &BTreeSet<String>) -> Vec<&str> {
    packages.iter().map(String::as_str).filter(|name| name.starts_with("swa-")).collect()
}

const TERMINAL: &[&str] = &["clap", "indicatif", "console"];
const LIBTORCH: &[&str] = &["tch", "torch-sys", "libloading"];
const C_COMPILER: &[&str] = &["cc", "cmake", "bindgen", "cxx", "pkg-config"];
const PYTHON: &[&str] = &["pyo3", "cpython"];
const IMAGES: &[&str] =
    &["image", "png", "image-webp", "libjpeg-turbo-rs", "jpeg-decoder", "parquet", "swa-data"];

#[track_caller]
fn has_none(packages: &BTreeSet<String>, forbidden: &[&[&str]]) {
    let found: Vec<&&str> =
        forbidden.iter().copied().flatten().filter(|name| packages.contains(**name)).collect();
    assert!(found.is_empty(), "{found:?} must not be among {packages:?}");
}

#[test]
fn the_base_depends_on_nothing() {
    let Some(library) = library("swa-base") else { return };
    assert_eq!(library.into_iter().collect::<Vec<_>>(), ["swa-base"]);
}

#[test]
fn the_averaging_is_rust_alone_and_its_library_knows_no_terminal() {
    let Some(library) = library("swa-tools") else { return };
    assert_eq!(ours(&library), ["swa-base", "swa-tools"]);
    has_none(&library, &[TERMINAL, LIBTORCH, C_COMPILER, PYTHON, IMAGES]);
    let Some(command) = tree("swa-tools", &[]) else { return };
    assert_eq!(ours(&command), ["swa-base", "swa-cli", "swa-tools"]);
    has_none(&command, &[LIBTORCH, C_COMPILER, PYTHON, IMAGES]);
    // The lists are not of packages that nobody has.
    assert!(command.contains("clap") && command.contains("indicatif"));
}

#[test]
fn images_need_neither_libtorch_nor_a_terminal() {
    let Some(library) = library("swa-data") else { return };
    assert_eq!(ours(&library), ["swa-base", "swa-data", "swa-tools"]);
    has_none(&library, &[TERMINAL, LIBTORCH, C_COMPILER, PYTHON]);
    assert!(library.contains("png") && library.contains("parquet"));
}

#[test]
fn networks_need_no_terminal() {
    let Some(library) = library("swa-torch") else { return };
    assert_eq!(ours(&library), ["swa-base", "swa-data", "swa-tools", "swa-torch"]);
    has_none(&library, &[TERMINAL, PYTHON]);
    assert!(library.contains("tch"));
}

#[test]
fn the_commands_share_a_package_that_knows_no_job() {
    let Some(packages) = tree("swa-cli", &[]) else { return };
    assert_eq!(ours(&packages), ["swa-base", "swa-cli"]);
}

/// What a package must say of itself, and that the lints of the workspace hold in it.
#[test]
fn every_package_is_described_and_linted() {
    let arguments = ["metadata", "--no-deps", "--format-version", "1"];
    let metadata = cargo(&arguments).expect("it needs no other packages");
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() >= 6);
    for package in packages {
        let name = &package["name"];
        for field in ["description", "license", "rust_version"] {
            assert!(
                package[field].as_str().is_some_and(|text| !text.is_empty()),
                "{name}: {field}"
            );
        }
        let manifest = fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name}: no lints");
        // Fixtures and tests do not belong in a package.
        let unpublished = package["publish"] == Value::Array(vec![]);
        assert!(unpublished || manifest.contains("\ninclude = ["), "{name}: no list of files");
    }
}

/// The Rust registry takes packages of at most 10 MB, packed. The fixtures alone are more.
#[test]
fn packages_hold_their_sources_alone() {
    for (package, folder) in
        [("swa-base", "crates/base"), ("swa-cli", "crates/cli"), ("swa-tools", ".")]
    {
        let list = cargo(&["package", "--list", "--allow-dirty", "--package", package]).unwrap();
        let files: Vec<&str> = list.lines().collect();
        assert!(files.contains(&"src/lib.rs"), "{package}: {files:?}");
        let foreign =
            files.iter().find(|file| file.starts_with("fixtures") || file.ends_with(".py"));
        assert_eq!(foreign, None, "{package}");
        // What Cargo itself adds is not there.
        let sizes = files.iter().filter_map(|file| root().join(folder).join(file).metadata().ok());
        let size: u64 = sizes.map(|file| file.len()).sum();
        assert!((1_000..4_000_000).contains(&size), "{package}: {size} bytes");
    }
}

/// Where library code is, and the commands in it, which may name flags.
const LIBRARIES: &[&str] = &["crates/base/src", "src", "crates/data/src", "crates/torch/src"];
const COMMANDS: &[&str] = &["src/bin", "crates/torch/src/bin"];

/// The library names settings, which a command spells as flags: somebody who calls it from Rust has typed none.
#[test]
fn libraries_name_no_flags() {
    let mut files = vec![];
    LIBRARIES.iter().for_each(|folder| sources(&root().join(folder), &mut files));
    assert!(files.len() > 50, "{}", files.len());
    let mut found = vec![];
    for file in files {
        let name = file.strip_prefix(root()).unwrap();
        let is_below = |folders: &[&str]| folders.iter().any(|folder| name.starts_with(folder));
        let is_test =
            file.ends_with("tests.rs") || file.components().any(|c| c.as_os_str() == "tests");
        if is_test || is_below(COMMANDS) {
            continue;
        }
        for (line, flag) in flags(&fs::read_to_string(&file).unwrap()) {
            found.push(format!("{}:{line}: {flag}", name.display()));
        }
    }
    assert!(found.is_empty(), "write `setting!(…)` instead:\n{}", found.join("\n"));
}

/// Output belongs to commands: a library prints nothing, whoever calls it.
#[test]
fn libraries_print_nothing() {
    let mut files = vec![];
    LIBRARIES.iter().for_each(|folder| sources(&root().join(folder), &mut files));
    // What commands call by name, and the handler that ends a process.
    let allowed = ["crates/base/src/panics.rs", "src/process/sigbus.rs"];
    for file in files {
        let name = file.strip_prefix(root()).unwrap();
        if COMMANDS.iter().any(|f| name.starts_with(f)) || allowed.iter().any(|f| name.ends_with(f))
        {
            continue;
        }
        let source = fs::read_to_string(&file).unwrap();
        let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for print in ["print!(", "println!(", "stdout()", "stderr()", "stderr_line", "dbg!("] {
            let mut lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            assert!(!lines.any(|line| line.contains(print)), "{}: {print}", name.display());
        }
    }
}

/// A disk that fails is not an empty one: what is at a path, libraries ask `swa_base::look`, which can say that it does not
/// know. Where a no does no harm, that is said here.
#[test]
fn libraries_take_no_failure_for_an_absence() {
    let harmless = [
        // libtorch's own libraries, which fail by name when they are loaded.
        "crates/torch/src/nn/libtorch.rs",
        // What a file is for a message.
        "crates/data/src/listing.rs",
        // The store itself, which looks.
        "src/store/local.rs",
        "crates/base/src/look.rs",
    ];
    let mut files = vec![];
    LIBRARIES.iter().for_each(|folder| sources(&root().join(folder), &mut files));
    let mut found = vec![];
    for file in files {
        let name = file.strip_prefix(root()).unwrap();
        let is_test =
            file.ends_with("tests.rs") || file.components().any(|c| c.as_os_str() == "tests");
        if is_test || harmless.iter().any(|other| name.ends_with(other)) {
            continue;
        }
        let source = fs::read_to_string(&file).unwrap();
        let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let is_comment = line.trim_start().starts_with("//");
            // Of what was looked at already, and of entries of archives, these are sure.
            let is_sure =
                ["meta.is_", "kind.is_", "type().is_"].iter().any(|sure| line.contains(sure));
            let asks = [".exists()", ".is_file()", ".is_dir()", "read_dir("]
                .iter()
                .any(|ask| line.contains(ask));
            if asks && !is_comment && !is_sure {
                found.push(format!("{}:{}: {}", name.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "ask swa_base::look instead:\n{}", found.join("\n"));
}

/// Rust files below a folder.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, files),
            false if path.extension().is_some_and(|ending| ending == "rs") => files.push(path),
            false => {}
        }
    }
}

/// The flags in the string literals of a source, with their lines; comments and the module of tests, which comes
/// last, do not count.
fn flags(source: &str) -> Vec<(usize, String)> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut found = vec![];
    for (start, text) in strings(code) {
        for (at, _) in text.match_indices("--") {
            let before = text[..at].chars().next_back();
            let name: String = text[at + 2..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
                .collect();
            let is_start = before.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '-');
            if is_start && name.starts_with(|c: char| c.is_ascii_lowercase()) {
                let line =
                    code[..start].matches('\n').count() + text[..at].matches('\n').count() + 1;
                found.push((line, format!("--{name}")));
            }
        }
    }
    found
}

/// The string literals of a source, as they are written, and where each begins.
fn strings(source: &str) -> Vec<(usize, &str)> {
    let mut found = vec![];
    let mut at = 0;
    while at < source.len() {
        let rest = &source[at..];
        let end_of = |mark: &str| rest.find(mark).map_or(rest.len(), |end| end + mark.len());
        at += if rest.starts_with("//") {
            end_of("\n")
        } else if rest.starts_with("/*") {
            end_of("*/")
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            // A quotation mark as a character.
            rest[1..].find("'").map_or(1, |end| end + 2)
        } else if let Some(hashes) = raw(rest) {
            let begin = hashes + 2;
            let mark = format!("\"{}", "#".repeat(hashes));
            let length = rest[begin..].find(&mark).unwrap_or(rest.len() - begin);
            found.push((at + begin, &rest[begin..begin + length]));
            (begin + length + mark.len()).min(rest.len())
        } else if let Some(text) = rest.strip_prefix('"') {
            let length = closing(text);
            found.push((at + 1, &text[..length]));
            (length + 2).min(rest.len())
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
    }
    found
}

/// How many `#` a raw string begins with, if one begins here.
fn raw(source: &str) -> Option<usize> {
    let after = source.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// Where the text of a string ends: at a quotation mark without a backslash.
fn closing(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !escaped => return at,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

#[test]
fn flags_are_found_in_strings_alone() {
    let source = r####"
        /// Not `--comment`.
        let a = "give --batch-size"; // nor "--this"
        let b = r#"also "--raw" ones"#;
        let c = ("an \" escaped --quote", '"', "a -- dash, x--y, ---", b"--bytes");
        /* "--block" */
        let d = concat!("two
            lines --of");
#[cfg(test)]
mod tests {
    const E: &str = "--test";
}
"####;
    let found: Vec<String> =
        flags(source).into_iter().map(|(n, flag)| format!("{n} {flag}")).collect();
    assert_eq!(found, ["3 --batch-size", "4 --raw", "5 --quote", "5 --bytes", "8 --of"]);
}
