//! Files by names in folders of their own, and what is selected of them.

use super::*;
use std::num::NonZeroU64;

/// Files in a folder of their own, each holding its name.
pub struct Runs(tempfile::TempDir);

impl Runs {
    pub fn new(files: &[&str]) -> Self {
        let runs = Runs(tempfile::tempdir().unwrap());
        for file in files {
            std::fs::create_dir_all(runs.path(file).parent().unwrap()).unwrap();
            std::fs::write(runs.path(file), file).unwrap();
        }
        runs
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn with(&self, arguments: &[&str], criteria: &Criteria) -> Result<Selection> {
        let paths: Vec<_> = arguments.iter().map(|name| self.path(name)).collect();
        select(&paths, criteria)
    }

    fn names(&self, selection: &Selection) -> Vec<String> {
        let name = |path: &PathBuf| path.strip_prefix(self.0.path()).unwrap().to_owned();
        let name = |path| name(path).into_os_string().into_string().unwrap();
        selection.paths.iter().map(name).collect()
    }

    /// What is selected, relative to the folder.
    pub fn select(&self, arguments: &[&str]) -> Vec<String> {
        self.names(&self.with(arguments, &Criteria::default()).unwrap())
    }

    pub fn fails(&self, arguments: &[&str]) -> String {
        let error = self.with(arguments, &Criteria::default()).unwrap_err();
        assert!([2, 3].contains(&error.kind().exit_code()), "{error}");
        error.to_string()
    }
}

pub fn fails(paths: &[&str], criteria: &Criteria) -> String {
    let paths: Vec<_> = paths.iter().map(PathBuf::from).collect();
    let error = select(&paths, criteria).unwrap_err();
    assert_eq!(error.kind().exit_code(), 2);
    error.to_string()
}

/// Which of the paths, counted from 1, are selected, and the notes.
pub fn positions(paths: &[&str], criteria: &Criteria) -> (Vec<usize>, Vec<String>) {
    let all: Vec<_> = paths.iter().map(PathBuf::from).collect();
    let found = select(&all, criteria).unwrap();
    let position = |path| 1 + all.iter().position(|p| p == path).unwrap();
    (found.paths.iter().map(position).collect(), found.notes)
}

#[test]
fn files_under_several_names_count_once() {
    let runs = Runs::new(&["c_10", "c_9", "other"]);
    std::fs::hard_link(runs.path("c_9"), runs.path("last")).unwrap();
    let found = runs.with(&["c_*", "last"], &Criteria::default()).unwrap();
    assert_eq!(runs.names(&found), ["c_9", "c_10"]);
    assert_eq!(found.repeated.len(), 1);
    assert!(found.repeated[0].0.ends_with("last") && found.repeated[0].1.ends_with("c_9"));
    // A link that sorts first does not take the place of the file it leads to.
    std::os::unix::fs::symlink(runs.path("c_10"), runs.path("best")).unwrap();
    let found = runs.with(&["best", "c_*", "c_9"], &Criteria::default()).unwrap();
    assert_eq!(runs.names(&found), ["c_9", "c_10"]);
    assert!(found.repeated[0].0.ends_with("best") && found.repeated[0].1.ends_with("c_10"));
    // Named twice: said as well.
    assert!(found.repeated[1].0.ends_with("c_9") && found.repeated[1].1.ends_with("c_9"));
}

#[test]
fn folders_under_several_names_count_once() {
    let runs = Runs::new(&["r/c-1/model.safetensors", "r/c-2/model.safetensors.index.json"]);
    std::os::unix::fs::symlink("c-2", runs.path("r/best")).unwrap();
    let file = "r/c-1/model.safetensors";
    let found = runs.with(&["r", file, "r/best/"], &Criteria::default()).unwrap();
    assert_eq!(runs.names(&found), ["r/c-1", "r/c-2"]);
    let repeated: Vec<_> = found.repeated.iter().map(|(_, kept)| base_name(kept)).collect();
    assert_eq!(repeated, ["c-2", "c-2", "c-1"]);
    // One index does not make one model of two.
    let runs = Runs::new(&["a/model.safetensors.index.json", "b/x"]);
    let index = |folder: &str| runs.path(folder).join("model.safetensors.index.json");
    std::fs::hard_link(index("a"), index("b")).unwrap();
    assert_eq!(runs.select(&["a", "b"]), ["a", "b"]);
}

#[test]
fn repetitions_are_gone_before_anything_is_counted() {
    let runs = Runs::new(&["r/e_1.safetensors", "r/e_2.safetensors", "r/e_3.safetensors"]);
    std::fs::hard_link(runs.path("r/e_2.safetensors"), runs.path("r/best.safetensors")).unwrap();
    let every = NonZeroU64::new(2);
    let criteria = Criteria { every, by_position: true, ..Criteria::default() };
    let found = runs.with(&["r"], &criteria).unwrap();
    assert_eq!(runs.names(&found), ["r/e_1.safetensors", "r/e_3.safetensors"]);
    assert_eq!((found.left_out, found.repeated.len(), found.notes.len()), (1, 1, 0));
}

#[test]
fn who_looks_at_what_is_there_sees_averages_too() {
    let runs = Runs::new(&["r/e_1.pt", "r/e_2.pt", "r/swa.pt"]);
    let of = |select: fn(&[PathBuf], &Criteria) -> Result<Selection>, criteria: &Criteria| {
        runs.names(&select(&[runs.path("r")], criteria).unwrap())
    };
    let all = Criteria::default();
    assert_eq!(of(select_any, &all), ["r/e_1.pt", "r/e_2.pt", "r/swa.pt"]);
    assert_eq!(of(select, &all), ["r/e_1.pt", "r/e_2.pt"]);
    // As of what is narrowed down, to see what would be averaged.
    let last = Criteria { last: std::num::NonZeroUsize::new(1), ..all };
    assert_eq!(of(select_any, &last), ["r/e_2.pt"]);
}

#[test]
fn model_folders_are_numbered_by_their_names() {
    let runs = Runs::new(&["r7/c-500/model.safetensors", "r7/c-1000/model.safetensors"]);
    let criteria = Criteria { start: Some(600), ..Criteria::default() };
    for arguments in [&["r7"][..], &["r7/*"], &["r7/*/model.safetensors"]] {
        let found = runs.with(arguments, &criteria).unwrap();
        assert!(runs.names(&found)[0].starts_with("r7/c-1000"));
        assert_eq!((found.paths.len(), found.left_out), (1, 1));
    }
}

#[test]
fn names_without_numbers_are_counted_by_position() {
    let criteria = Criteria { start: Some(2), ..Criteria::default() };
    let (kept, notes) = positions(&["/r7/b.pt", "/r7/a.pt", "/r7/c.h5"], &criteria);
    assert_eq!(kept, [1, 3]);
    assert_eq!(notes, ["no name has a number: counted by position in natural order"]);
}

#[test]
fn natural_order_stays_whatever_the_numbers_are() {
    let number = Some(regex::Regex::new(r"s(\d+)").unwrap());
    let criteria = Criteria { number, start: Some(2), ..Criteria::default() };
    let (kept, _) = positions(&["/r/e3_s2", "/r/e2_s3", "/r/e1_s1"], &criteria);
    assert_eq!(kept, [2, 1]);
}

#[test]
fn names_that_are_no_unicode_are_inputs_too() {
    use std::os::unix::ffi::OsStrExt;
    let runs = Runs::new(&[]);
    let name = |bytes| runs.0.path().join(std::ffi::OsStr::from_bytes(bytes));
    let paths = [name(b"e_\xfe1.safetensors"), name(b"e_\xff1.safetensors")];
    for path in &paths {
        std::fs::write(path, "").unwrap();
    }
    let found = runs.with(&[""], &Criteria::default()).unwrap();
    assert_eq!(found.paths, paths);
}
