//! What is there, complete and not counted yet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Follower, Sum, Waiting, in_a_line, may_pass};
use crate::checkpoint::Checkpoint;
use crate::jobs::follow::Follow;
use crate::running::Stamp;
use crate::select::{Criteria, folder_of, natural, so_far, unfinished};
use crate::{Kind, Result};

impl Follower<'_> {
    /// Looks at what is there; returns what is complete and not counted, in natural order.
    pub(super) fn look(&mut self) -> Result<Vec<(PathBuf, Stamp)>> {
        for folder in self.folders() {
            self.watch.cover(&folder);
        }
        self.watch.read();
        self.mark();
        let Follow { checkpoints, criteria, .. } = self.options;
        let counted = self.counted();
        let found = match so_far(checkpoints, criteria, &counted) {
            Ok(found) => found,
            // Those of several models do not become those of one.
            Err(e) if e.kind() == Kind::Mismatch => {
                if !counted.is_empty() {
                    self.progress.note(
                        "note: what was counted before that was seen may be of both: begin anew with one of them",
                    );
                }
                return Err(e);
            }
            // A name may tell its number only beside another; later ones may be those of something else.
            Err(e)
                if e.kind() == Kind::Io
                    || self.updates > 0
                    || !counted.is_empty()
                    || self.is_first_name() =>
            {
                self.note_once(format!("note: {}; waiting", in_a_line(&e)));
                return Ok(vec![]);
            }
            Err(e) => return Err(e),
        };
        let own = [Some(&self.options.output.path), self.options.state.as_ref()];
        let own: Vec<PathBuf> =
            own.into_iter().flatten().filter_map(|path| path.canonicalize().ok()).collect();
        let is_own = |path: &Path| path.canonicalize().is_ok_and(|path| own.contains(&path));
        let before = self.waiting.len();
        // What was refused is said at the end, whether or not it is still there.
        let is_refused =
            |waiting: &Waiting| waiting.fault.as_ref().is_some_and(|(e, _)| !may_pass(e));
        let order = |a: &Path, b: &Path| {
            natural(&a.to_string_lossy(), &b.to_string_lossy()).then_with(|| a.cmp(b))
        };
        self.waiting.retain(|path, waiting| {
            is_refused(waiting) || found.binary_search_by(|other| order(other, path)).is_ok()
        });
        let mut is_active = self.waiting.len() != before;
        let mut ready = vec![];
        for path in found {
            if self.settled.contains(&path) {
                self.say_if_rewritten(&path);
                continue;
            }
            if is_own(&path) {
                continue;
            }
            let renamed = self.watch.was_renamed(&path);
            let opened = Checkpoint::open_with(&path, &self.options.take);
            let is_new = !self.waiting.contains_key(&path);
            let waiting = self.waiting.entry(path.clone()).or_default();
            let checkpoint = match opened {
                Ok(checkpoint) => checkpoint,
                Err(e) => {
                    is_active |= is_new || waiting.stamp.is_some();
                    let line =
                        (!may_pass(&e)).then(|| format!("note: {}: not counted", in_a_line(&e)));
                    (waiting.stamp, waiting.fault) = (None, Some((e, None)));
                    line.into_iter().for_each(|line| self.note_once(line));
                    continue;
                }
            };
            let stamp = Stamp::of(&checkpoint);
            if matches!(&self.sum, Sum::Running(running) if running.has(&checkpoint)) {
                self.waiting.remove(&path);
                self.counted_as.insert(path.clone(), stamp);
                self.settled.insert(path);
                continue;
            }
            let is_same = waiting.stamp == Some(stamp);
            is_active |= !is_same;
            waiting.stamp = Some(stamp);
            match &waiting.fault {
                Some((_, Some(faulty))) if *faulty == stamp => continue,
                _ => waiting.fault = None,
            }
            if renamed || is_same {
                ready.push((path, stamp));
            }
        }
        let stamped = |part: PathBuf| (part.clone(), Stamp::of_file(&part));
        let parts: BTreeMap<_, _> = unfinished(checkpoints)
            .into_iter()
            .map(|(folder, parts)| (folder, parts.into_iter().map(stamped).collect()))
            .collect();
        is_active |= parts != self.parts;
        self.parts = parts;
        if is_active {
            self.active = Instant::now();
        }
        if let Some(until) = self.options.until {
            ready.truncate(until.get() - self.count());
        }
        Ok(ready)
    }

    /// Says, once, that a file was written again after it was counted.
    fn say_if_rewritten(&mut self, path: &Path) {
        let then = self.counted_as.get(path);
        let Some(stamp) = then.and_then(|then| Some((then, Stamp::of_file(path)?))) else { return };
        if *stamp.0 != stamp.1 {
            self.note_once(format!(
                "note: `{}` was written again after it was counted: the first one stays; a checkpoint needs a name of its own",
                path.display()
            ));
        }
    }

    /// Whether there is one name so far at most.
    pub(super) fn is_first_name(&self) -> bool {
        let anything = Criteria::default();
        so_far(&self.options.checkpoints, &anything, &[]).is_ok_and(|found| found.len() <= 1)
    }

    pub(super) fn folders(&self) -> Vec<PathBuf> {
        self.options.checkpoints.iter().map(|argument| folder_of(argument)).collect()
    }
}
