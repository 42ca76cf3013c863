//! What trainers leave on disk, and what of it is averaged: the tables in `tests/trainer_folders`.

use std::fs;
use std::path::Path;

use swa_testing::*;

/// A folder as a trainer leaves it, and what is asked of it.
struct Case {
    title: String,
    files: Vec<String>,
    runs: Vec<Run>,
}

struct Run {
    command: String,
    /// What is averaged, in this order; none: it is refused.
    taken: Vec<String>,
    /// What the messages say.
    said: Vec<String>,
}

/// Reads a table; `README.md` beside it says what its lines are.
fn cases(table: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = vec![];
    for line in table.lines().filter(|line| !line.is_empty()) {
        if let Some(title) = line.strip_prefix("# ") {
            cases.push(Case { title: title.into(), files: vec![], runs: vec![] });
            continue;
        }
        let case = cases.last_mut().expect("a title comes first");
        match (line.split_once(' '), case.runs.last_mut()) {
            (Some(("$", command)), _) => {
                case.runs.push(Run { command: command.into(), taken: vec![], said: vec![] });
            }
            (Some(("~", said)), Some(run)) => run.said.push(said.into()),
            (_, Some(run)) => run.taken.extend(expand(line)),
            (_, None) => case.files.extend(expand(line)),
        }
    }
    cases
}

/// `a_{1,2}.pt` is `a_1.pt` and `a_2.pt`.
fn expand(text: &str) -> Vec<String> {
    let Some((before, (inner, after))) =
        text.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    else {
        return vec![text.into()];
    };
    let each = inner.split(',').flat_map(|part| expand(&format!("{before}{part}{after}")));
    each.collect()
}

/// Writes a file of a case: weights that no other file has, unless the line says what it holds.
fn write(root: &Path, line: &str, value: f32) {
    let parts: Vec<&str> = line.split(' ').collect();
    let path = root.join(parts[0]);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match parts[1..] {
        [] => weights(&path, value),
        ["=", other] => drop(fs::copy(root.join(other), path).unwrap()),
        ["->", target] => std::os::unix::fs::symlink(target, path).unwrap(),
        [":", text] => fs::write(path, text).unwrap(),
        ["<", fixture] => copy(&fixtures().join("formats").join(fixture), &path),
        _ => panic!("{line}"),
    }
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

fn weights(path: &Path, value: f32) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let folder = path.parent().unwrap();
    // Shards come before their index.
    if let Some(stem) = name.strip_suffix(".index.json") {
        let ending = stem.rsplit_once('.').unwrap().1;
        let shards = listing(folder)
            .into_iter()
            .filter(|shard| shard.contains("-of-") && shard.ends_with(ending));
        let map: Vec<String> =
            shards.enumerate().map(|(i, shard)| format!("\"l.w{i}\": \"{shard}\"")).collect();
        let index = format!("{{\"weight_map\": {{{}}}}}", map.join(", "));
        return fs::write(path, index).unwrap();
    }
    const TENSORS: [&str; 3] = ["l.w0", "l.w1", "l.w2"];
    let number = name.split_once("-of-").map(|(first, _)| first[first.len() - 1..].parse());
    match (name.rsplit_once('.').unwrap_or_default().1, number) {
        ("safetensors", Some(Ok::<usize, _>(number))) => {
            save(path, &[f32s(TENSORS[number - 1], &[value, 0.0])]);
        }
        ("safetensors", _) => save(path, &[f32s("l.w", &[value, 0.0])]),
        ("npz", _) => {
            let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
            let mut npy = b"\x93NUMPY\x01\0\x76\0".to_vec();
            npy.extend(format!("{header:<117}\n").bytes());
            npy.extend([value, 0.0].iter().flat_map(|v| v.to_le_bytes()));
            fs::write(path, zip(&[("l.w.npy", &npy)])).unwrap();
        }
        ("json", _) => fs::write(path, "{}").unwrap(),
        ("yaml" | "yml" | "txt" | "log" | "py" | "csv", _) => fs::write(path, "x").unwrap(),
        (_, Some(Ok(number))) => torch_file(path, TENSORS[number - 1], value),
        _ => torch_file(path, "l.w", value),
    }
}

/// What is wrong with the answer to a command, if anything.
fn check(root: &Path, run: &Run) -> Option<String> {
    let mut command = swa_avg();
    command.current_dir(root).args(run.command.split(' '));
    command.args(["-o", "averaged.safetensors", "--dry-run", "--json"]);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect(&said);
    let taken: Vec<&str> =
        json["inputs"].as_array().into_iter().flatten().filter_map(|path| path.as_str()).collect();
    let missing: Vec<&String> = run.said.iter().filter(|part| !said.contains(*part)).collect();
    let remarks = ["passed over", "have different words", "have the same number"];
    let is_told = remarks
        .iter()
        .all(|remark| !said.contains(remark) || run.said.iter().any(|part| part.contains(remark)));
    let is_right = taken == run.taken && missing.is_empty() && is_told;
    let is_refused = [2, 3].contains(&output.status.code().unwrap()) && said.contains("; ");
    let is_ended = if run.taken.is_empty() { is_refused } else { output.status.success() };
    (!is_right || !is_ended).then(|| {
        format!(
            "$ swa-avg {}\nexpected {:?}\n     got {taken:?}\nnot said {missing:?}\n{said}",
            run.command, run.taken
        )
    })
}

#[test]
fn what_trainers_leave_is_understood() {
    let mut tables: Vec<_> = fs::read_dir(root().join("tests/trainer_folders"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    tables.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    tables.sort();
    let (mut wrong, mut number) = (vec![], 0);
    for table in tables {
        for case in cases(&fs::read_to_string(table).unwrap()) {
            let root = tempfile::tempdir().unwrap();
            for (i, line) in case.files.iter().enumerate() {
                write(root.path(), line, 1.0 + i as f32);
            }
            assert!(!case.runs.is_empty(), "{}: nothing is asked", case.title);
            number += case.runs.len();
            let bad = case.runs.iter().filter_map(|run| check(root.path(), run));
            wrong.extend(bad.map(|bad| format!("# {}\n{bad}", case.title)));
        }
    }
    assert!(number > 200, "{number} commands alone");
    assert!(wrong.is_empty(), "{} of {number}:\n\n{}", wrong.len(), wrong.join("\n"));
}
