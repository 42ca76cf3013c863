//! A command that writes over what is there, as often as wanted.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use super::text;
use crate::{binary, listing};

/// The files of an output by name: one without a name, those in a folder, or none.
pub type Content = BTreeMap<String, Vec<u8>>;

/// A way of writing.
#[derive(Clone, Copy)]
pub struct Way {
    pub name: &'static str,
    pub tool: &'static str,
    /// The run that leaves the old outputs, if any does.
    pub before: Option<&'static str>,
    /// What is to be run anew before each run, since that uses it up.
    pub ready: &'static [&'static str],
    /// The run.
    pub line: &'static str,
    /// What it writes.
    pub outputs: &'static [&'static str],
    /// Whether none is ever ahead of the first. Else each is written, whatever becomes of the others.
    pub in_order: bool,
    /// Whether the output is a folder in which one file after the other appears, each whole.
    pub grows: bool,
}

impl Way {
    /// Of a tool, with nothing to be made ready.
    pub const fn new(
        tool: &'static str,
        name: &'static str,
        before: &'static str,
        line: &'static str,
        outputs: &'static [&'static str],
    ) -> Self {
        Way {
            name,
            tool,
            before: Some(before),
            ready: &[],
            line,
            outputs,
            in_order: true,
            grows: false,
        }
    }
}

/// Outputs of a run before, and what the run makes of them.
pub struct Scene {
    pub dir: PathBuf,
    pub way: Way,
    pub name: &'static str,
    old: Vec<Content>,
    new: Vec<Content>,
    /// What lies in the folder beside the outputs and is nobody's leftover.
    known: Vec<String>,
    /// What is made ready for each run.
    made: Vec<String>,
    binary: PathBuf,
}

fn content(path: &Path) -> Content {
    if !path.is_dir() {
        return std::fs::read(path).map(|bytes| (String::new(), bytes)).into_iter().collect();
    }
    let read = |name: String| (name.clone(), std::fs::read(path.join(name)).unwrap());
    listing(path).into_iter().filter(|name| !is_temporary(name)).map(read).collect()
}

/// The tools' own names for what is not complete.
fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.contains(".swa-") && name.ends_with(".tmp")
}

pub fn put(path: &Path, content: &Content) {
    match path.is_dir() {
        true => std::fs::remove_dir_all(path).unwrap(),
        false => drop(std::fs::remove_file(path)),
    }
    for (name, bytes) in content {
        if name.is_empty() {
            return std::fs::write(path, bytes).unwrap();
        }
        std::fs::create_dir_all(path).unwrap();
        std::fs::write(path.join(name), bytes).unwrap();
    }
}

impl Scene {
    /// In a folder that holds the inputs and nothing else that is to be looked at.
    pub fn new(way: Way, dir: &Path) -> Self {
        for output in way.outputs {
            put(&dir.join(output), &Content::new());
        }
        let mut scene = Scene {
            dir: dir.into(),
            way,
            name: way.name,
            old: way.outputs.iter().map(|_| Content::new()).collect(),
            new: vec![],
            known: listing(dir),
            made: vec![],
            binary: binary(way.tool),
        };
        if let Some(line) = way.before {
            scene.runs(line);
            scene.old = scene.contents();
        }
        let before = listing(dir);
        scene.make_ready();
        scene.known = listing(dir);
        scene.made = scene.known.iter().filter(|name| !before.contains(name)).cloned().collect();
        scene.known.retain(|name| !way.outputs.contains(&name.as_str()));
        scene.known.push("log".into());
        scene.runs(way.line);
        scene.new = scene.contents();
        for (old, new) in scene.old.iter().zip(&scene.new) {
            assert!(old != new && (way.before.is_none() || !old.is_empty()), "{}", way.name);
        }
        scene.reset();
        scene
    }

    fn runs(&self, line: &str) {
        let done = self.command(line).output().unwrap();
        assert!(done.status.success(), "{}: {line}: {}", self.name, text(&done));
    }

    /// The command of a line, in the folder.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.current_dir(&self.dir).args(arguments(line));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// The same under another command, which gets it as its last arguments.
    pub fn under(&self, mut command: Command) -> Command {
        command.current_dir(&self.dir).arg(&self.binary).args(arguments(self.way.line));
        command
    }

    fn contents(&self) -> Vec<Content> {
        let mut found: Vec<Content> =
            self.way.outputs.iter().map(|output| content(&self.dir.join(output))).collect();
        if !self.way.ready.is_empty() {
            // The record of the parts, which goes after the folder has its name.
            found.iter_mut().for_each(|files| drop(files.remove("swa.part")));
        }
        found
    }

    /// As it was before the run.
    pub fn reset(&self) {
        for (output, old) in self.way.outputs.iter().zip(&self.old) {
            put(&self.dir.join(output), old);
        }
        self.made.iter().for_each(|name| put(&self.dir.join(name), &Content::new()));
        self.make_ready();
    }

    fn make_ready(&self) {
        self.way.ready.iter().for_each(|line| self.runs(line));
    }

    /// Which outputs are the new ones: each is old or new as a whole.
    pub fn is_new(&self, after: &str) -> Vec<bool> {
        let found = self.contents();
        let mut new = vec![];
        for (i, output) in self.way.outputs.iter().enumerate() {
            let is_whole = match self.way.grows {
                true => found[i].iter().all(|(name, bytes)| self.new[i].get(name) == Some(bytes)),
                false => found[i] == self.old[i] || found[i] == self.new[i],
            };
            let sizes: Vec<_> = found[i].iter().map(|(name, b)| (name.clone(), b.len())).collect();
            assert!(is_whole, "{}, {after}: `{output}` is neither: {sizes:?}", self.name);
            new.push(found[i] == self.new[i]);
        }
        let is_ahead = self.way.in_order && !new[0] && new.contains(&true);
        assert!(!is_ahead, "{}, {after}: ahead of the first", self.name);
        new
    }

    /// Temporary files, which are the tool's own. They are made to look old, so that the next run removes them.
    pub fn age_leftovers(&self) -> usize {
        let mut left = listing(&self.dir);
        left.retain(|name| {
            !self.known.contains(name) && !self.way.outputs.contains(&name.as_str())
        });
        for name in &left {
            let own = |output: &&&str| name.starts_with(&format!(".{output}.swa-"));
            assert!(self.way.outputs.iter().any(|o| own(&o)), "{}: `{name}` was left", self.name);
        }
        let mut left: Vec<PathBuf> = left.iter().map(|name| self.dir.join(name)).collect();
        for folder in self.way.outputs.iter().map(|output| self.dir.join(output)) {
            if self.way.grows && folder.is_dir() {
                let names = listing(&folder).into_iter().filter(|name| is_temporary(name));
                left.extend(names.map(|name| folder.join(name)));
            }
        }
        for path in &left {
            let file = File::open(path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        }
        left.len()
    }

    /// The next run comes to the right end, from whatever is there.
    pub fn goes_on(&self, after: &str) {
        self.age_leftovers();
        let is_done = !self.is_new(after).contains(&false);
        let again = self.command(self.way.line).output().unwrap();
        // What uses its inputs up may have nothing to do any more.
        let may_refuse = is_done && !self.way.ready.is_empty() && again.status.code() == Some(2);
        assert!(again.status.success() || may_refuse, "{}, {after}: {}", self.name, text(&again));
        assert!(self.contents() == self.new, "{}, {after}, and run again", self.name);
        assert_eq!(self.age_leftovers(), 0, "{}, {after}, and run again", self.name);
        self.reset();
    }

    /// How long a run takes.
    pub fn time(&self) -> Duration {
        let started = Instant::now();
        assert!(self.command(self.way.line).status().unwrap().success());
        let time = started.elapsed();
        self.reset();
        time
    }
}

fn arguments(line: &str) -> impl Iterator<Item = &str> {
    line.split(' ').chain(["-q", "--force"])
}
