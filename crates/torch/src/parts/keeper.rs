//! Keeping what a pass has collected while it runs, so that an interruption loses little.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use super::file;
use super::part::{BatchSummary, Content, Part, Progress, differences};
use swa_base::text::marked;
use swa_base::{Error, Kind, Result, look, setting};
use swa_data::Batch;
use swa_data::loader::Portion;
use swa_tools::{output::check_target, process::signals};

/// Time between two writings of the state.
const PERIOD: Duration = Duration::from_secs(30);

/// How long a signal waits for a writing that is under way.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who is told about the state file of a pass, while it runs and when a signal ends the process.
#[derive(Debug, Clone, Copy, Default)]
pub enum Tell {
    /// Nobody.
    #[default]
    Nobody,
    /// Called with each line that reports what went wrong.
    Errors(fn(&str)),
    /// Called with these, and with the line that tells how to resume an interrupted pass.
    All(fn(&str)),
}

impl Tell {
    fn error(self, line: &str) {
        if let Tell::Errors(tell) | Tell::All(tell) = self {
            tell(line);
        }
    }

    fn line(self, line: &str) {
        if let Tell::All(tell) = self {
            tell(line);
        }
    }
}

/// Holds a part while its pass runs. If there is a name for a state file, it writes the part to it after the first
/// batch (so that a file that cannot be written is noticed soon), then every 30 s, on a signal that ends the process,
/// and on an error. [`Keeper::close`] removes the file.
pub(crate) struct Keeper<C: Content> {
    kept: Arc<Mutex<Option<Kept<C>>>>,
}

struct Kept<C> {
    part: Part<C>,
    state: Option<State>,
}

struct State {
    path: PathBuf,
    written: Option<Instant>,
    /// Batches done when it was written.
    done: usize,
    /// The last writing failed.
    failed: bool,
    tell: Tell,
}

impl<C: Content> Keeper<C> {
    /// Takes an empty part, and resumes from the file `state` if that exists. `tell` may be called from any thread.
    ///
    /// # Errors
    /// `Mismatch` if the state is of another pass or part, `Usage` if the file cannot be written; those of reading.
    pub fn open(mut part: Part<C>, state: Option<&Path>, tell: Tell) -> Result<Self> {
        if let Some(path) = state {
            check_target(path, true, &[])?;
            if look::exists(path)? {
                resume(&mut part, path)?;
            }
        }
        let done = part.progress.done;
        let state = state.map(|path| State {
            path: path.to_path_buf(),
            written: None,
            done,
            failed: false,
            tell,
        });
        let watched = state.is_some();
        let kept = Arc::new(Mutex::new(Some(Kept { part, state })));
        if watched {
            let kept = Arc::clone(&kept);
            signals::before_dying(move || {
                if let Some(mut kept) = lock_soon(&kept) {
                    kept.as_mut().into_iter().for_each(|kept| kept.save_at_once(true));
                    // The lock stays taken: nothing is added, and the file is not removed, from here on.
                    std::mem::forget(kept);
                }
            });
        }
        Ok(Keeper { kept })
    }

    /// The batches that are left to do.
    pub fn remaining(&self) -> Portion {
        self.with(|part| {
            let progress = &part.progress;
            Portion {
                first: progress.shard.index + progress.done * progress.shard.of,
                step: progress.shard.of,
                bad: progress.skipped.clone(),
            }
        })
    }

    /// Reads the part.
    pub fn with<T>(&self, read: impl FnOnce(&Part<C>) -> T) -> T {
        read(&self.lock().as_ref().expect("it is not closed").part)
    }

    /// Adds batches: what `collect` makes of them, and that they are done.
    ///
    /// # Errors
    /// `Mismatch` if an image has another size than those before; those of the first writing of the state.
    pub fn add(&self, batches: &[BatchSummary], collect: impl FnOnce(&mut C)) -> Result<()> {
        let mut kept = self.lock();
        let kept = kept.as_mut().expect("it is not closed");
        let progress = &mut kept.part.progress;
        for batch in batches {
            let expected = *progress.size.get_or_insert(batch.size);
            if batch.size != expected {
                let what = format!(
                    "images have {}x{} pixels, those before the interruption {}x{}",
                    batch.size[1], batch.size[0], expected[1], expected[0]
                );
                return Err(Error::new(Kind::Mismatch, what).remedy(concat!(
                    "bring them to one size with ",
                    setting!("resize"),
                    " and ",
                    setting!("crop"),
                    ", and start over"
                )));
            }
        }
        for batch in batches {
            progress.done = (batch.number - progress.shard.index) / progress.shard.of + 1;
            progress.filled += 1;
            progress.images += batch.images;
            progress.skipped.extend_from_slice(&batch.skipped);
        }
        collect(&mut kept.part.content);
        let Some(state) = &kept.state else { return Ok(()) };
        let tell = state.tell;
        match state.written {
            None => kept.save(),
            Some(at) if at.elapsed() < PERIOD => Ok(()),
            // A state that cannot be written does not end the pass.
            Some(_) => {
                if let Err(error) = kept.save() {
                    tell.error(&format!("warning: {}; the pass goes on", error.message(&marked)));
                }
                Ok(())
            }
        }
    }

    /// Is told of each batch as it comes from the loader: of the errors that end the pass, that of an image can be mended.
    pub fn watch(&self, batch: &Result<Batch>) {
        if batch.is_err() {
            self.lock().as_mut().expect("it is not closed").part.progress.broken = true;
        }
    }

    /// Notes that the pass has ended; `skipped` are all images that were left out.
    pub fn finish(&self, skipped: Vec<(usize, String)>) {
        let mut kept = self.lock();
        let part = &mut kept.as_mut().expect("it is not closed").part;
        part.progress.done = part.batches();
        part.progress.skipped = skipped;
    }

    /// Removes the state, once the result is on disk.
    ///
    /// # Errors
    /// `Io`.
    pub fn close(&self) -> Result<()> {
        let Some(Kept { state: Some(State { path, .. }), .. }) = self.lock().take() else {
            return Ok(());
        };
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(&path, "remove", e))
            }
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Kept<C>>> {
        self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<C: Content> Drop for Keeper<C> {
    fn drop(&mut self) {
        // An error ended the pass; it is reported elsewhere.
        let mut kept = self.lock();
        let kept = kept.as_mut().filter(|kept| kept.state.as_ref().is_some_and(|s| !s.failed));
        kept.into_iter().for_each(|kept| kept.save_at_once(false));
    }
}

impl<C: Content> Kept<C> {
    fn save(&mut self) -> Result<()> {
        let Some(state) = &mut self.state else { return Ok(()) };
        let written = self.part.write(&state.path, true);
        state.failed = written.is_err();
        if state.written.is_some() || written.is_ok() {
            state.written = Some(Instant::now());
        }
        if written.is_ok() {
            state.done = self.part.progress.done;
        }
        written
    }

    /// Saves what was added since the last time, as the process ends.
    fn save_at_once(&mut self, by_signal: bool) {
        let Progress { done, broken, .. } = self.part.progress;
        let Some(state) = &self.state else { return };
        let (path, tell) = (state.path.display().to_string(), state.tell);
        if (state.done != done || (broken && done > 0))
            && let Err(error) = self.save()
        {
            tell.error(&format!("error: {}", error.message(&marked)));
        } else if by_signal && done > 0 {
            let (all, unit) = (self.part.batches(), self.part.identity.unit());
            tell.line(&format!(
                "interrupted: {done} of {all} {unit} are kept in `{path}`; the same command goes on from there"
            ));
        }
    }
}

fn resume<C: Content>(part: &mut Part<C>, path: &Path) -> Result<()> {
    let state = file::open(path)?;
    let of_state = (&state.identity, &state.progress);
    let mut differences =
        differences(of_state, (&part.identity, &part.progress), state.progress.broken);
    let (found, expected) = (state.progress.shard, part.progress.shard);
    if found != expected {
        differences.push(format!("it is part {found}, not {expected}"));
    }
    if !differences.is_empty() {
        let what = format!("is the state of another pass: {}", differences.join(", "));
        return Err(Error::new(Kind::Mismatch, what)
            .at(path)
            .remedy("remove it to start over, or give what it was made with"));
    }
    part.content.merge(&state.checkpoint)?;
    let allow_bad = part.progress.allow_bad;
    part.progress = Progress { allow_bad, ..state.progress };
    Ok(())
}

fn lock_soon<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    let start = Instant::now();
    loop {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => return None,
        }
    }
}
