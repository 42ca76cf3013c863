//! What the documents say is there.

use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents outside `docs`.
const OTHERS: [&str; 5] =
    ["CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md", "fixtures/README.md"];

fn documents() -> Vec<(String, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|e| e.unwrap().path());
    let documents = docs.filter(|p| p.extension().is_some_and(|e| e == "md"));
    let documents = documents.chain(OTHERS.map(|name| root().join(name)));
    documents.map(|p| (p.display().to_string(), fs::read_to_string(&p).unwrap())).collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn links_lead_somewhere() {
    for (name, text) in documents() {
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if !link.starts_with('#') && !link.contains("://") {
                let folder = Path::new(&name).parent().unwrap();
                // Without the heading.
                let file = link.split('#').next().unwrap();
                assert!(folder.join(file).exists(), "{name}: {link}");
            }
        }
    }
}

/// The table of formats has every checkpoint that was tried, and no other.
#[test]
fn the_table_of_formats_is_that_of_the_fixtures() {
    let text = fs::read_to_string(root().join("docs/formats.md")).unwrap();
    let named: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let folder = root().join("fixtures/formats");
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()) {
        if entry.path().is_dir() {
            let name = entry.file_name().into_string().unwrap();
            assert!(named.contains(&name.as_str()), "{name} is not in docs/formats.md");
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn the_documents_name_files_that_exist() {
    let rooms = ["src/", "crates/", "tests/", "docs/", "fixtures/", "fuzz/"];
    for name in ["CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md"] {
        let text = read(name);
        let is_room = |word: &&str| rooms.iter().any(|room| word.starts_with(room));
        // A name in capitals is to be chosen.
        let files = quoted(&text).filter(is_room).filter(|word| !word.contains("NAME"));
        let mut count = 0;
        for file in files {
            // Of a pattern, the folder.
            let file = match file.split_once('*') {
                Some((before, _)) => &before[..before.rfind('/').unwrap_or(0)],
                None => file,
            };
            assert!(root().join(file).exists(), "{name}: {file}");
            count += 1;
        }
        assert!(count > 3, "{name}");
    }
}

#[test]
fn every_document_is_in_the_index() {
    let index = read("docs/README.md");
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") && name != "README.md" {
            assert!(index.contains(&format!("]({name})")), "docs/README.md does not link {name}");
        }
    }
}

/// Each section of docs/integrations.md that has code is run, and each trainer of its table has a section.
#[test]
fn every_trainer_is_tested() {
    let page = read("docs/integrations.md");
    let tests: String = fs::read_dir(root().join("tests/integrations"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "py"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let headings =
        |part: &str| part.lines().next().unwrap().trim_start_matches('#').trim().to_string();
    let sections: Vec<&str> = page.split("\n#").skip(1).collect();
    let mut count = 0;
    for section in &sections {
        if section.contains("```python") {
            let heading = headings(section);
            let run = [format!("run(\"{heading}\""), format!("run(\n        \"{heading}\"")];
            assert!(run.iter().any(|call| tests.contains(call)), "{heading} is run by no test");
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
    let anchors: Vec<String> = sections.iter().map(|section| anchor(&headings(section))).collect();
    for row in page.lines().filter(|line| line.starts_with("| [")) {
        let link = row.split("](#").nth(1).unwrap().split(')').next().unwrap();
        assert!(anchors.iter().any(|anchor| anchor == link), "{row}");
    }
}

/// How a heading is linked to.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// What it holds, which script made it, with which versions.
#[test]
fn every_fixture_is_described() {
    let text = read("fixtures/README.md");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let mut count = 0;
    for entry in fs::read_dir(root().join("fixtures")).unwrap().map(|entry| entry.unwrap()) {
        if !entry.path().is_dir() {
            continue;
        }
        let name = entry.file_name().into_string().unwrap();
        let row = rows.iter().find(|row| row.starts_with(&format!("| `{name}/` |")));
        let row = row.unwrap_or_else(|| panic!("fixtures/README.md does not describe {name}"));
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert!(cells.len() == 4 && cells.iter().all(|cell| !cell.is_empty()), "{name}: {cells:?}");
        let scripts: Vec<&str> = quoted(cells[2]).filter(|word| word.ends_with(".py")).collect();
        assert!(!scripts.is_empty(), "{name}: no script");
        for script in scripts {
            assert!(entry.path().join(script).exists(), "{name}/{script}");
        }
        count += 1;
    }
    assert_eq!(rows.len(), count, "a row of no folder");
}
