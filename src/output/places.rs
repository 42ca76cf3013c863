//! Where outputs may go: checked before any work is done.

use std::io;
use std::path::{Path, PathBuf};

use crate::formats::distributed;
use crate::formats::shards::model;
use crate::{Error, Kind, Result, look, setting};

/// Fails if `path` cannot become an output file. To be called before any work is done.
///
/// # Errors
/// `OutputExists` if it exists and `force` is not given; `Usage` if it is not a regular file, its folder is
/// missing, or it is one of `inputs`.
pub fn check_target(path: &Path, force: bool, inputs: &[PathBuf]) -> Result<()> {
    let (target, _, exists) = resolve_file(path, force)?;
    refuse_inputs(path, &target, exists, inputs)
}

/// [`check_target`] of several output files, each with the setting that names it; no two may be one file.
///
/// # Errors
/// As of [`check_target`], and `Usage` if two are one file.
pub fn check_targets(targets: &[(&str, &Path)], force: bool, inputs: &[PathBuf]) -> Result<()> {
    let mut seen: Vec<(&str, PathBuf)> = vec![];
    for &(setting, path) in targets {
        let place = check_place(path, false, force, inputs)?;
        if let Some((other, _)) = seen.iter().find(|(_, seen)| *seen == place) {
            return Err(Error::usage(format!("{other} and {setting} name the same file"))
                .at(path)
                .remedy("give each a file of its own"));
        }
        seen.push((setting, place));
    }
    Ok(())
}

/// Fails if `path` cannot become an output folder. To be called before any work is done.
///
/// # Errors
/// `OutputExists` if it exists and `force` is not given; `Usage` if it holds anything but a model, its
/// parent is missing, or it is one of `inputs`.
pub fn check_folder(path: &Path, force: bool, inputs: &[PathBuf]) -> Result<()> {
    let (target, _, exists) = resolve_folder(path, force)?;
    refuse_inputs(path, &target, exists, inputs)
}

/// The same of several outputs, files and folders (where `true`), of which none may be or hold another.
pub(crate) fn check_outputs(
    outputs: &[(&Path, bool)],
    force: bool,
    inputs: &[PathBuf],
) -> Result<()> {
    let mut seen: Vec<PathBuf> = vec![];
    for &(path, is_folder) in outputs {
        let place = check_place(path, is_folder, force, inputs)?;
        if seen.iter().any(|other| place.starts_with(other) || other.starts_with(&place)) {
            return Err(Error::usage("is the place of two outputs")
                .at(path)
                .remedy("give each a name of its own"));
        }
        seen.push(place);
    }
    Ok(())
}

/// Checks an output; returns its path without links.
fn check_place(path: &Path, is_folder: bool, force: bool, inputs: &[PathBuf]) -> Result<PathBuf> {
    let (target, folder, exists) = match is_folder {
        true => resolve_folder(path, force)?,
        false => resolve_file(path, force)?,
    };
    refuse_inputs(path, &target, exists, inputs)?;
    // What is not there yet has no canonical path, its folder has.
    let folder = folder.canonicalize().unwrap_or(folder);
    Ok(folder.join(target.file_name().unwrap_or_default()))
}

fn refuse_inputs(path: &Path, target: &Path, exists: bool, inputs: &[PathBuf]) -> Result<()> {
    let same = |input: &PathBuf| std::fs::canonicalize(input).is_ok_and(|input| input == target);
    match exists && inputs.iter().any(same) {
        true => Err(Error::usage("is an input as well as the output")
            .at(path)
            .remedy("leave it out, or write to another name")),
        false => Ok(()),
    }
}

/// The file behind the links, its folder, and whether it exists.
pub(super) fn resolve_file(path: &Path, force: bool) -> Result<(PathBuf, PathBuf, bool)> {
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Error::usage("is a folder's name, and a file is written")
            .at(path)
            .remedy("name a file, such as swa.safetensors in it"));
    }
    let (target, folder, exists) = behind_links(path)?;
    if exists {
        let meta = std::fs::metadata(&target).map_err(|e| Error::io(path, "stat", e))?;
        if !meta.is_file() {
            let what = if meta.is_dir() { "is a folder" } else { "is not a regular file" };
            return Err(Error::usage(what).at(path).remedy("name a file to write"));
        }
        if !force {
            return Err(exists_already(path));
        }
    }
    Ok((target, folder, exists))
}

/// The same of a folder, with its parent.
pub(super) fn resolve_folder(path: &Path, force: bool) -> Result<(PathBuf, PathBuf, bool)> {
    let (target, parent, exists) = behind_links(path)?;
    if exists {
        if !look::is_folder(&target)? {
            return Err(Error::usage("is not a folder").at(path).remedy("name a folder to write"));
        }
        if !force {
            return Err(exists_already(path));
        }
        // It goes as a whole, so nothing else may be in it.
        let entries = look::names(&target).map_err(|e| Error::io(path, "list", e))?;
        let mut replaceable =
            model(&target)?.is_some() || look::is_file(&target.join(distributed::METADATA))?;
        for name in &entries {
            let found = look::look_at_link(&target.join(name))?;
            replaceable &= found.is_some_and(|meta| meta.is_file());
        }
        if !entries.is_empty() && !replaceable {
            return Err(Error::usage("is a folder that holds more than one model's files")
                .at(path)
                .remedy(concat!(
                    "name another: ",
                    setting!("force"),
                    " replaces the whole folder"
                )));
        }
    }
    Ok((target, parent, exists))
}

fn exists_already(path: &Path) -> Error {
    Error::new(Kind::OutputExists, "exists already")
        .at(path)
        .remedy(concat!(setting!("force"), " overwrites it, or name another file"))
}

/// What the links lead to, its folder, and whether it exists.
fn behind_links(path: &Path) -> Result<(PathBuf, PathBuf, bool)> {
    let (target, exists) = match std::fs::canonicalize(path) {
        Ok(target) => (target, true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if path.is_symlink() {
                // It may be the system's: /dev/stdout.
                return Err(Error::usage("is a link that leads to no file")
                    .at(path)
                    .remedy("name another file"));
            }
            (path.to_path_buf(), false)
        }
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return Err(Error::usage("its folder is not a folder").at(path));
        }
        Err(e) => return Err(Error::io(path, "open", e)),
    };
    if target.file_name().is_none() {
        return Err(Error::usage("names no file").at(path).remedy("name a file to write"));
    }
    let folder = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    if !look::is_folder(&folder)? {
        return Err(Error::usage("its folder does not exist").at(path).remedy("create it first"));
    }
    Ok((target, folder, exists))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_outputs_are_two_files() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("./sub/../a"));
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let other = dir.path().join("b");
        assert!(check_targets(&[(setting!("x"), &a), (setting!("y"), &other)], false, &[]).is_ok());
        for exists in [false, true] {
            let error =
                check_targets(&[(setting!("x"), &a), (setting!("y"), &b)], true, &[]).unwrap_err();
            assert!(error.to_string().contains("`x` and `y` name the same file"), "{error}");
            if !exists {
                std::fs::write(&a, "x").unwrap();
            }
        }
        assert!(
            check_targets(&[(setting!("x"), &other), (setting!("y"), &a)], false, &[]).is_err()
        );
    }

    #[test]
    fn no_output_is_or_holds_another() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("sub")).unwrap();
        std::fs::write(at("sub/model.safetensors"), "old").unwrap();
        std::os::unix::fs::symlink("sub", at("link")).unwrap();
        let check = |outputs: &[(&str, bool)]| {
            let paths: Vec<_> = outputs.iter().map(|&(n, is_folder)| (at(n), is_folder)).collect();
            let outputs: Vec<_> =
                paths.iter().map(|(p, is_folder)| (p.as_path(), *is_folder)).collect();
            check_outputs(&outputs, true, &[])
        };
        assert!(check(&[("a", false), ("b", true), ("ab", false), ("sub", true)]).is_ok());
        for second in [("./a", false), ("sub/../a", true), ("link/../a", false)] {
            let error = check(&[("a", false), ("b", true), second]).unwrap_err();
            assert!(error.to_string().contains("two outputs"), "{error}");
        }
        assert!(check(&[("sub", true), ("link/x", false)]).is_err());
        assert!(check(&[("sub/x", false), ("link", true)]).is_err());
    }
}
