//! What the documents say is there.

use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<(String, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|e| e.unwrap().path());
    let documents = docs.filter(|p| p.extension().is_some_and(|e| e == "md"));
    let documents = documents.chain([root().join("README.md")]);
    documents.map(|p| (p.display().to_string(), fs::read_to_string(&p).unwrap())).collect()
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
fn the_documents_name_rooms_that_exist() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let rooms = text.split('`').skip(1).step_by(2).filter(|word| word.starts_with("src/"));
    let mut count = 0;
    for room in rooms {
        assert!(root().join(room).exists(), "{room}");
        count += 1;
    }
    assert!(count > 5);
}
