//! Keeping what a pass has collected while it runs, so that an interruption loses little.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use super::file;
use super::{Content, Part, Seen, Tell, differences};
use swa_base::{Error, Result, setting};
use swa_data::loader::Portion;
use swa_tools::{output::check_target, process::signals};

/// Time between two writings of the state.
const PERIOD: Duration = Duration::from_secs(30);

/// How long a signal waits for a writing that is under way.
const PATIENCE: Duration = Duration::from_secs(10);

/// Holds a part while its pass runs, and keeps it in a file if there is a name for one: after the first
/// batch (so a file that cannot be written is known soon), then every 30 s, on a signal that ends the
/// process, and on an error. [`Keeper::close`] removes the file.
pub struct Keeper<C: Content> {
    kept: Arc<Mutex<Option<Kept<C>>>>,
}

struct Kept<C> {
    part: Part<C>,
    state: Option<State>,
}

struct State {
    path: PathBuf,
    written: Option<Instant>,
    /// Batches done when it was.
    done: usize,
    /// The last writing failed.
    failed: bool,
    tell: Tell,
}

impl<C: Content> Keeper<C> {
    /// Takes an empty part; goes on from the file `state` if that exists. `tell`: who is told of the state, from
    /// any thread.
    ///
    /// # Errors
    /// `Input` where the state is of another pass or part, `Usage` where the file cannot become one.
    pub fn open(mut part: Part<C>, state: Option<&Path>, tell: Tell) -> Result<Self> {
        if let Some(path) = state {
            check_target(path, true, &[])?;
            if path.exists() {
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
                    // Nothing is added, and the file not removed, after this was said.
                    std::mem::forget(kept);
                }
            });
        }
        Ok(Keeper { kept })
    }

    /// The batches that are left to do.
    pub fn portion(&self) -> Portion {
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
    pub fn add(&self, batches: &[Seen], collect: impl FnOnce(&mut C)) -> Result<()> {
        let mut kept = self.lock();
        let kept = kept.as_mut().expect("it is not closed");
        let progress = &mut kept.part.progress;
        for batch in batches {
            let expected = *progress.size.get_or_insert(batch.size);
            if batch.size != expected {
                return Err(Error::input(format!(
                    "images have {}x{} pixels, those before the interruption {}x{}",
                    batch.size[1], batch.size[0], expected[1], expected[0]
                ))
                .remedy(concat!(
                    "bring them to one size with ",
                    setting!("resize"),
                    " and ",
                    setting!("crop"),
                    ", and start anew"
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
            // The pass is worth more than its state.
            Some(_) => {
                if let Err(error) = kept.save() {
                    tell.error(&format!("warning: {error}; the pass goes on"));
                }
                Ok(())
            }
        }
    }

    /// Notes that the pass is over; `skipped` are all images that were left out.
    pub fn finish(&self, skipped: Vec<(usize, String)>) {
        let mut kept = self.lock();
        let part = &mut kept.as_mut().expect("it is not closed").part;
        part.progress.done = part.batches();
        part.progress.skipped = skipped;
    }

    /// The result is safe: removes the state.
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
        // An error ended the pass, and is on its way to the user.
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

    /// Saves what was added since, as the process ends.
    fn save_at_once(&mut self, by_signal: bool) {
        let done = self.part.progress.done;
        let Some(state) = &self.state else { return };
        let (path, tell) = (state.path.display().to_string(), state.tell);
        if state.done != done
            && let Err(error) = self.save()
        {
            tell.error(&format!("error: {error}"));
        } else if by_signal && done > 0 {
            let all = self.part.batches();
            tell.line(&format!(
                "interrupted: {done} of {all} batches are kept in `{path}`; the same command goes on from there"
            ));
        }
    }
}

fn resume<C: Content>(part: &mut Part<C>, path: &Path) -> Result<()> {
    let state = file::open(path)?;
    let of_state = (&state.identity, &state.progress);
    let mut differences = differences(of_state, (&part.identity, &part.progress));
    let (found, expected) = (state.progress.shard, part.progress.shard);
    if found != expected {
        differences.push(format!("it is part {found}, not {expected}"));
    }
    if !differences.is_empty() {
        return Err(Error::input(format!(
            "is the state of another pass: {}",
            differences.join(", ")
        ))
        .at(path)
        .remedy("remove it to start anew, or give what it was made with"));
    }
    part.content.merge(&state.checkpoint)?;
    let allow_bad = part.progress.allow_bad;
    part.progress = super::Progress { allow_bad, ..state.progress };
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
