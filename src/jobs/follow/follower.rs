//! The loop: look, update, say so, wait.

mod ready;
mod update;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::watch::Watch;
use super::{Ended, Follow, Followed, Stop, Update};
use crate::jobs::StateSize;
use crate::jobs::accumulate::{refuse_repetitions, target};
use crate::output::{check_target, check_targets};
use crate::running::{RunningAverage, Stamp};
use crate::text::marked;
use crate::{Error, Kind, Progress, Result, look, setting};

pub(super) struct Follower<'f> {
    options: &'f Follow,
    stop: &'f Stop,
    progress: &'f dyn Progress,
    started: Instant,
    watch: Watch,
    sum: Sum,
    /// What need not be looked at again: counted, or known to be repeated.
    settled: HashSet<PathBuf>,
    /// Of files that were counted, how they were then.
    counted_as: HashMap<PathBuf, Stamp>,
    waiting: BTreeMap<PathBuf, Waiting>,
    /// Parts of models that are not whole, by folder.
    parts: BTreeMap<PathBuf, Vec<(PathBuf, Option<Stamp>)>>,
    /// When anything last changed.
    active: Instant,
    /// No update before that.
    not_before: Option<Instant>,
    /// Notes that were given, which are not repeated.
    said: HashSet<String>,
    /// Counted, and still to be marked for the trainer.
    unmarked: Vec<PathBuf>,
    updates: usize,
    failed_commands: usize,
    layers: usize,
}

/// What the output is the mean of.
enum Sum {
    /// All that were counted.
    Running(Box<RunningAverage>),
    /// The last ones that are there.
    Window { complete: Vec<PathBuf>, current: Vec<PathBuf> },
}

/// A checkpoint that is not counted.
#[derive(Default)]
struct Waiting {
    /// What the last look found; None if it could not be opened.
    stamp: Option<Stamp>,
    /// What was wrong with it, in which state.
    fault: Option<(Error, Option<Stamp>)>,
}

/// Whether an error can come from a file that is not complete, or not any more.
fn may_pass(error: &Error) -> bool {
    use Kind::{Changed, Damaged, Input, Io, NoMatch, NotACheckpoint, Truncated, Usage};
    matches!(
        error.kind(),
        Truncated | Damaged | NotACheckpoint | Input | Io | NoMatch | Changed | Usage
    )
}

/// An error as a note has it: a line, with the first of its list.
fn in_a_line(error: &Error) -> String {
    let text = error.message(&marked);
    let mut lines = text.lines().map(str::trim);
    let first = lines.next().unwrap_or_default().to_string();
    lines.next().map_or(first.clone(), |next| format!("{first}: {next}"))
}

impl<'f> Follower<'f> {
    pub fn begin(options: &'f Follow, stop: &'f Stop, progress: &'f dyn Progress) -> Result<Self> {
        let Follow { criteria, output, state, take, .. } = options;
        criteria.check_steady()?;
        if options.checkpoints.is_empty() {
            return Err(Error::usage("nothing to follow").remedy("name a folder or a pattern"));
        }
        if let Some(folder) = options.ack.as_deref()
            && !look::is_folder(folder)?
        {
            return Err(Error::usage(concat!(setting!("ack"), " is no folder"))
                .at(folder)
                .remedy("create it first"));
        }
        let sum = match (criteria.last, state) {
            (Some(_), Some(_)) => {
                let what = concat!(
                    setting!("last"),
                    " needs the files, and a ",
                    setting!("state"),
                    " does without"
                );
                return Err(Error::usage(what).remedy("leave one of them out"));
            }
            (Some(size), None) => {
                progress.note(&format!(
                    "note: the output is the mean of the last {size} checkpoints, which are read anew for each update: keep them"
                ));
                Sum::Window { complete: vec![], current: vec![] }
            }
            (None, Some(path)) => {
                let places =
                    [(setting!("state"), path.as_path()), (setting!("output"), &*output.path)];
                check_targets(&places, true, &[])?;
                Sum::Running(Box::new(RunningAverage::open(path, &options.options, take)?))
            }
            (None, None) => {
                progress.note(concat!(
                    "note: without ",
                    setting!("state"),
                    " a restart begins anew, from the checkpoints that are still there"
                ));
                Sum::Running(Box::new(RunningAverage::unnamed(
                    &output.path,
                    &options.options,
                    take,
                )?))
            }
        };
        if let Sum::Running(running) = &sum {
            refuse_repetitions(criteria)?;
            target(output, take)?;
            let force = options.force || running.is_own_output(&output.path);
            check_target(&output.path, force, &[])?;
        }
        let now = Instant::now();
        let mut follower = Follower {
            options,
            stop,
            progress,
            started: now,
            watch: Watch::new(),
            sum,
            settled: HashSet::new(),
            counted_as: HashMap::new(),
            waiting: BTreeMap::new(),
            parts: BTreeMap::new(),
            active: now,
            not_before: None,
            said: HashSet::new(),
            unmarked: vec![],
            updates: 0,
            failed_commands: 0,
            layers: 0,
        };
        follower.resume()?;
        Ok(follower)
    }

    /// Takes up what an earlier job left: its output follows from the state, and what it counted is marked.
    fn resume(&mut self) -> Result<()> {
        let Sum::Running(running) = &mut self.sum else { return Ok(()) };
        running.claim()?;
        if running.count() == 0 {
            return Ok(());
        }
        self.layers = running.batchnorm_layers();
        let target = target(&self.options.output, &self.options.take)?;
        let (_, written) = running.write_output(
            &target,
            true,
            self.options.output.dtype.or(self.options.options.dtype),
        )?;
        let counted: Vec<PathBuf> =
            running.inputs().iter().map(|input| PathBuf::from(&input.path)).collect();
        self.progress.note(&format!("note: the state has {} checkpoint(s) already", counted.len()));
        self.unmarked = counted;
        self.mark();
        if written {
            self.command();
        }
        Ok(())
    }

    pub fn run(mut self, told: &mut dyn FnMut(&Update) -> Result<()>) -> Result<Followed> {
        let mut last_looks = 0;
        let ended = loop {
            if self.is_enough() {
                break Ended::Count;
            }
            // Before the look: an end that comes during it is met by one more.
            let is_ending = self.stop.is_set();
            let ready = self.look()?;
            let may_update = self.not_before.is_none_or(|time| Instant::now() >= time) || is_ending;
            if !ready.is_empty() && may_update {
                if let Some(update) = self.update(ready)? {
                    self.updates += 1;
                    told(&update)?;
                    self.command();
                }
                continue;
            }
            if is_ending {
                // What was looked at once may be complete.
                let one_look = self.waiting.values().any(|waiting| waiting.fault.is_none());
                if !one_look || last_looks == 2 {
                    break Ended::Stopped;
                }
                last_looks += 1;
                std::thread::sleep(self.options.pause.min(Duration::from_secs(1)));
                continue;
            }
            let left = self.options.idle.map(|idle| idle.saturating_sub(self.active.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                break Ended::Idle;
            }
            let pause = self.options.pause;
            let patience = match self.waiting.values().any(|waiting| waiting.fault.is_none())
                || !ready.is_empty()
            {
                true => pause,
                // What happens in folders below is not told.
                false if self.is_deep() => pause,
                false => self.watch.patience(pause, &self.folders()),
            };
            self.wait(left.map_or(patience, |left| left.min(patience)));
        };
        self.end(ended)
    }

    /// Waits, but not for every write of a file that grows.
    fn wait(&mut self, time: Duration) {
        let begun = Instant::now();
        self.watch.wait(time, self.stop);
        let rest = (self.options.pause / 4).min(time).saturating_sub(begun.elapsed());
        self.stop.wait(rest, None);
        self.watch.read();
    }

    /// Whether a pattern reaches into folders that it does not name.
    fn is_deep(&self) -> bool {
        let is_pattern = |folder: &Path| folder.to_string_lossy().contains(['*', '?', '[']);
        self.options.checkpoints.iter().any(|argument| argument.parent().is_some_and(is_pattern))
    }

    fn is_enough(&self) -> bool {
        self.options.until.is_some_and(|until| self.count() >= until.get())
    }

    /// How many were counted in all.
    fn count(&self) -> usize {
        match &self.sum {
            Sum::Running(running) => running.count(),
            Sum::Window { complete, .. } => complete.len(),
        }
    }

    fn counted(&self) -> Vec<PathBuf> {
        match &self.sum {
            Sum::Running(running) => {
                running.inputs().iter().map(|input| PathBuf::from(&input.path)).collect()
            }
            Sum::Window { complete, .. } => complete.clone(),
        }
    }

    fn note_once(&mut self, line: String) {
        if !self.said.contains(&line) {
            self.progress.note(&line);
            self.said.insert(line);
        }
    }

    fn end(self, ended: Ended) -> Result<Followed> {
        let inputs = match &self.sum {
            Sum::Running(_) => self.counted(),
            Sum::Window { current, .. } => current.clone(),
        };
        let state = match &self.sum {
            Sum::Running(running) => Some(StateSize::of(running, self.options.state.as_deref())),
            Sum::Window { .. } => None,
        };
        let (mut refused, mut unfinished) = (vec![], vec![]);
        for (path, waiting) in self.waiting {
            match waiting.fault {
                Some((e, _)) if !may_pass(&e) => refused.push((path, e)),
                Some((e, _)) => {
                    let (what, place) =
                        (e.cause(&crate::text::in_quotes), format!("`{}`: ", path.display()));
                    let what = what.strip_prefix(&place).unwrap_or(&what).to_string();
                    unfinished.push((path, what));
                }
                None => unfinished.push((path, "it was still being written".into())),
            }
        }
        let lacks =
            "holds parts of a model, and neither an index nor a `.metadata` that makes it one";
        unfinished.extend(self.parts.into_keys().map(|folder| (folder, lacks.to_string())));
        if inputs.is_empty() && refused.is_empty() && ended == Ended::Idle {
            let nothing = |what: String| Error::new(Kind::NoMatch, what);
            return Err(match unfinished.into_iter().next() {
                None => nothing("no checkpoint has come".into())
                    .at(&self.options.checkpoints[0])
                    .remedy("check the pattern"),
                Some((path, what)) => nothing(format!("no checkpoint was complete: {what}"))
                    .at(&path)
                    .remedy("wait longer, or see whether the trainer still writes"),
            });
        }
        Ok(Followed {
            output: self.options.output.path.clone(),
            inputs,
            updates: self.updates,
            state,
            refused,
            unfinished,
            failed_commands: self.failed_commands,
            ended,
            batchnorm_layers: self.layers,
            seconds: self.started.elapsed().as_secs_f64(),
        })
    }
}
