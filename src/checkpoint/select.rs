//! Which files the arguments name, and in which order they count.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Inputs in natural order, and what was left out as the same file under a second name.
#[derive(Debug, Default)]
pub struct Selection {
    pub paths: Vec<PathBuf>,
    /// (left out, the name it was counted under).
    pub repeated: Vec<(PathBuf, PathBuf)>,
}

/// Expands the arguments: a path is itself, a pattern (quoted, so that the shell left it alone) is
/// every file it matches.
pub fn select(arguments: &[PathBuf]) -> Result<Selection> {
    let mut paths = Vec::new();
    for argument in arguments {
        let pattern = argument.to_string_lossy();
        if argument.exists() || !pattern.contains(['*', '?', '[']) {
            paths.push(argument.clone());
            continue;
        }
        let matches = glob::glob(&pattern)
            .map_err(|e| Error::usage(format!("bad pattern `{pattern}`: {}", e.msg)))?;
        let before = paths.len();
        for found in matches {
            paths.push(found.map_err(|e| {
                let path = e.path().to_path_buf();
                Error::io(&path, "read", std::io::Error::from(e))
            })?);
        }
        if paths.len() == before {
            return Err(Error::usage(format!("no file matches `{pattern}`"))
                .remedy("check the folder and the file names"));
        }
    }
    paths.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
    // None for what cannot be opened: that is reported when it is opened.
    let id = |path: &PathBuf| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    // `best` and `last` are other names of `epoch_2`, which says where it stands.
    let standing =
        |path: &Path| (path.is_symlink(), !base_name(path).contains(|c: char| c.is_ascii_digit()));
    let mut names: HashMap<(u64, u64), &PathBuf> = HashMap::new();
    for path in &paths {
        if let Some(id) = id(path) {
            let kept = names.entry(id).or_insert(path);
            if standing(path) < standing(kept) {
                *kept = path;
            }
        }
    }
    let mut selection = Selection::default();
    let mut taken = HashSet::new();
    for path in &paths {
        let (paths, repeated) = (&mut selection.paths, &mut selection.repeated);
        match id(path).and_then(|id| Some((id, *names.get(&id)?))) {
            Some((id, kept)) if path != kept || !taken.insert(id) => {
                repeated.push((path.clone(), kept.clone()));
            }
            _ => paths.push(path.clone()),
        }
    }
    Ok(selection)
}

/// Numbers in names sort as numbers: `epoch_9` before `epoch_010`.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a, b);
    loop {
        let (p, q) = (digits(x), digits(y));
        let order = if !p.is_empty() && !q.is_empty() {
            let (m, n) = (p.trim_start_matches('0'), q.trim_start_matches('0'));
            (x, y) = (&x[p.len()..], &y[q.len()..]);
            m.len().cmp(&n.len()).then_with(|| m.cmp(n))
        } else {
            match (x.chars().next(), y.chars().next()) {
                (Some(c), Some(d)) => {
                    (x, y) = (&x[c.len_utf8()..], &y[d.len_utf8()..]);
                    c.cmp(&d)
                }
                (None, None) => return a.cmp(b),
                (c, d) => return c.cmp(&d),
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn digits(text: &str) -> &str {
    &text[..text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len()]
}

/// The last component of a path, as metadata and tables name a file.
pub fn base_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sort_as_numbers() {
        let mut names =
            ["epoch_010", "epoch_9", "step_100", "step_10", "a", "epoch_9b", "epoch_09"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(
            names,
            ["a", "epoch_09", "epoch_9", "epoch_9b", "epoch_010", "step_10", "step_100"]
        );
    }

    #[test]
    fn numbers_longer_than_any_integer_sort_too() {
        assert_eq!(
            natural("x99999999999999999999999", "x100000000000000000000000"),
            Ordering::Less
        );
    }

    #[test]
    fn patterns_expand_and_links_count_once() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["c_10", "c_9", "other"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        std::fs::hard_link(dir.path().join("c_9"), dir.path().join("last")).unwrap();
        let found = select(&[dir.path().join("c_*"), dir.path().join("last")]).unwrap();
        let names: Vec<_> = found.paths.iter().map(|p| base_name(p)).collect();
        assert_eq!(names, ["c_9", "c_10"]);
        assert_eq!(found.repeated.len(), 1);
        assert!(found.repeated[0].0.ends_with("last") && found.repeated[0].1.ends_with("c_9"));
        // A link that sorts first does not take the place of the file it leads to.
        std::os::unix::fs::symlink(dir.path().join("c_10"), dir.path().join("best")).unwrap();
        let found =
            select(&[dir.path().join("best"), dir.path().join("c_*"), dir.path().join("c_9")]);
        let found = found.unwrap();
        let names: Vec<_> = found.paths.iter().map(|p| base_name(p)).collect();
        assert_eq!(names, ["c_9", "c_10"]);
        assert!(found.repeated[0].0.ends_with("best") && found.repeated[0].1.ends_with("c_10"));
        // Named twice: said as well.
        assert!(found.repeated[1].0.ends_with("c_9") && found.repeated[1].1.ends_with("c_9"));
        let error = select(&[dir.path().join("no_*")]).unwrap_err();
        assert_eq!(error.kind().exit_code(), 2);
    }
}
