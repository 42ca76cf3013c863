//! Label files as people have them: each is read as it is meant, or refused with what was seen and the way out.

use std::fs;
use std::path::PathBuf;

use crate::{Dataset, LabelForm, Options};

mod names;
mod parts;
mod read;
mod refused;
mod tables;

/// Six images: `a.png` to `f.png`.
const IMAGES: [&str; 6] = ["a.png", "b.png", "c.png", "d.png", "e.png", "f.png"];

/// A folder `set` of these (empty) images, and files in the folder above it.
struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    fn of(images: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("set")).unwrap();
        let folder = Folder { dir };
        images.iter().for_each(|image| folder.write(&format!("set/{image}"), b""));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn open(&self, options: Options) -> swa_base::Result<Box<dyn Dataset>> {
        options.open(&self.path("set"))
    }

    /// Opened with a label file of this text.
    fn labelled(&self, text: &str, form: LabelForm) -> Result<Box<dyn Dataset>, String> {
        self.write("table", text.as_bytes());
        let labels = Some(self.path("table"));
        let options = Options { labels, label_form: form, ..Options::default() };
        self.open(options).map_err(|error| {
            assert_eq!(error.file(), Some(self.path("table").as_path()), "{error}");
            assert!(matches!(error.kind().exit_code(), 3 | 6), "{error}");
            let prefix = format!("`{}`: ", self.path("table").display());
            error.to_string().replacen(&prefix, "", 1)
        })
    }
}

fn labels(set: &dyn Dataset) -> Vec<usize> {
    (0..set.len()).map(|i| set.label(i)).collect()
}

fn by_column(name: &str) -> LabelForm {
    LabelForm { label: vec![name.into()], ..LabelForm::default() }
}

/// What the six images have in most of the tests.
const WANTED: [usize; 6] = [2, 0, 1, 0, 2, 1];

/// A line an image. The closure gets its name without ending, its class, and its place.
fn lines(line: impl Fn(&str, usize, usize) -> String) -> String {
    let stems = IMAGES.iter().map(|image| image.trim_end_matches(".png"));
    stems.zip(WANTED).enumerate().map(|(i, (stem, class))| line(stem, class, i) + "\n").collect()
}

const DOGS: [&str; 3] = ["affenpinscher", "beagle", "red fox"];
