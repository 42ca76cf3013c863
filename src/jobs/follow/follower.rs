//! The loop: look, update, say so, wait.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::watch::Watch;
use super::{Ended, Follow, Followed, Stop, Update, command};
use crate::checkpoint::Checkpoint;
use crate::jobs::accumulate::{refuse_repetitions, say_repeated, say_state, say_wrote, target};
use crate::jobs::{Average, StateSize, average, say_averages, say_taken};
use crate::output::{check_target, check_targets};
use crate::running::{RunningAverage, Stamp};
use crate::schemes::Profiles;
use crate::select::{Criteria, base_name, folder_of, last_number, natural, so_far};
use crate::text::marked;
use crate::{Error, Kind, Progress, Result, Unit, look, setting};

/// Pauses before an update that failed for lack of space is tried again.
const RETRY: u32 = 15;

pub(super) struct Follower<'f> {
    options: &'f Follow,
    stop: &'f Stop,
    progress: &'f dyn Progress,
    started: Instant,
    watch: Watch,
    sum: Sum,
    /// What need not be looked at again: counted, or known to be repeated.
    settled: HashSet<PathBuf>,
    waiting: BTreeMap<PathBuf, Waiting>,
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
            let force = options.force || running.is_own_output(&output.path, &[]);
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
            waiting: BTreeMap::new(),
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

    fn folders(&self) -> Vec<PathBuf> {
        self.options.checkpoints.iter().map(|argument| folder_of(argument)).collect()
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

    /// Looks at what is there; returns what is complete and not counted, in natural order.
    fn look(&mut self) -> Result<Vec<(PathBuf, Stamp)>> {
        for folder in self.folders() {
            self.watch.cover(&folder);
        }
        self.watch.read();
        self.mark();
        let Follow { checkpoints, criteria, .. } = self.options;
        let counted = self.counted();
        let found = match so_far(checkpoints, criteria, &counted) {
            Ok(found) => found,
            // A name may tell its number only beside another; later ones may be those of something else.
            Err(e)
                if e.kind() == Kind::Io
                    || self.updates > 0
                    || !counted.is_empty()
                    || self.is_first_name() =>
            {
                self.note_once(format!("note: {}; waiting", e.message(&marked)));
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
            if self.settled.contains(&path) || is_own(&path) {
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
                    let line = (!may_pass(&e))
                        .then(|| format!("note: {}: not counted", e.message(&marked)));
                    (waiting.stamp, waiting.fault) = (None, Some((e, None)));
                    line.into_iter().for_each(|line| self.note_once(line));
                    continue;
                }
            };
            let stamp = Stamp::of(&checkpoint);
            if matches!(&self.sum, Sum::Running(running) if running.has(&checkpoint)) {
                self.waiting.remove(&path);
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
        if is_active {
            self.active = Instant::now();
        }
        if let Some(until) = self.options.until {
            ready.truncate(until.get() - self.count());
        }
        Ok(ready)
    }

    /// Whether there is one name so far at most.
    fn is_first_name(&self) -> bool {
        let anything = Criteria::default();
        so_far(&self.options.checkpoints, &anything, &[]).is_ok_and(|found| found.len() <= 1)
    }

    /// Counts what is complete. What is wrong with a checkpoint leaves it out; None if nothing was counted.
    fn update(&mut self, mut ready: Vec<(PathBuf, Stamp)>) -> Result<Option<Update>> {
        let started = Instant::now();
        while !ready.is_empty() {
            let paths: Vec<PathBuf> = ready.iter().map(|(path, _)| path.clone()).collect();
            match self.count_them(&ready, &paths, started) {
                Ok(update) => {
                    self.not_before = None;
                    self.active = Instant::now();
                    self.mark();
                    return Ok(update);
                }
                Err(e) => {
                    self.progress.end();
                    if let Some(i) = paths.iter().position(|path| is_about(&e, path)) {
                        let (path, stamp) = ready.remove(i);
                        if !may_pass(&e) {
                            self.note_once(format!("note: {}: not counted", e.message(&marked)));
                        }
                        // What changed is looked at afresh.
                        let fault = (e.kind() != Kind::Changed).then_some((e, Some(stamp)));
                        self.waiting
                            .insert(path, Waiting { stamp: fault.as_ref().map(|_| stamp), fault });
                        continue;
                    }
                    if !matches!(e.kind(), Kind::NoSpace | Kind::Io) || self.stop.is_set() {
                        return Err(e);
                    }
                    // State and output are as they were.
                    self.note_once(format!(
                        "note: {}: the update will be tried again",
                        e.message(&marked)
                    ));
                    self.not_before = Some(Instant::now() + RETRY * self.options.pause);
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    fn count_them(
        &mut self,
        ready: &[(PathBuf, Stamp)],
        paths: &[PathBuf],
        started: Instant,
    ) -> Result<Option<Update>> {
        let Follow { output, options, take, .. } = self.options;
        let progress = self.progress;
        let inputs = Checkpoint::open_all(paths, take)?;
        for (input, (path, stamp)) in inputs.iter().zip(ready) {
            if Stamp::of(input) != *stamp {
                return Err(Error::changed("was written to after it was complete").at(path));
            }
        }
        if self.updates == 0 {
            say_taken(progress, &inputs);
            say_averages(progress, &inputs);
        }
        let (added, written, inside, state) = match &mut self.sum {
            Sum::Running(running) => {
                self.layers = inputs[0].batchnorm_layers().len();
                let target = target(output, take)?;
                let how = (output.dtype.or(options.dtype), !options.no_verify);
                progress.begin("averaging", running.bytes_to_read(&inputs), 0, Unit::Bytes);
                // What it replaces is its own, which was checked at the beginning, or the last update's.
                let force = self.options.force
                    || self.updates > 0
                    || running.is_own_output(&output.path, paths);
                let added =
                    running.add(inputs, &target, force, how, &|bytes| progress.advance(bytes))?;
                progress.end();
                for (path, first) in &added.repeated {
                    say_repeated(progress, path, first);
                }
                let repeated = added.repeated.into_iter().map(|(path, _)| path);
                let settled: Vec<PathBuf> = added.counted.iter().cloned().chain(repeated).collect();
                let state = StateSize::of(running, self.options.state.as_deref());
                let inside: Vec<PathBuf> =
                    running.inputs().iter().map(|input| PathBuf::from(&input.path)).collect();
                for path in settled {
                    self.waiting.remove(&path);
                    self.settled.insert(path.clone());
                    self.unmarked.push(path);
                }
                let Some(wrote) = added.written else { return Ok(None) };
                say_wrote(progress, &wrote);
                if self.said.insert("size".into()) {
                    say_state(progress, &state);
                }
                (added.counted, (wrote.bytes, wrote.nonfinite), inside, Some(state))
            }
            Sum::Window { complete, current } => {
                let mut all = [&complete[..], paths].concat();
                all.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
                all.dedup();
                let mut there: Vec<PathBuf> = vec![];
                for path in &all {
                    if look::exists(path)? {
                        there.push(path.clone());
                    }
                }
                drop(inputs);
                let Criteria { last, allow_duplicates, .. } = self.options.criteria;
                let averaged = average(
                    &Average {
                        checkpoints: there,
                        // What is followed is in order by its names, whatever is in them.
                        criteria: Criteria {
                            last,
                            allow_duplicates,
                            by_position: true,
                            ..Criteria::default()
                        },
                        take: take.clone(),
                        profiles: Profiles::default(),
                        options: options.clone(),
                        outputs: vec![output.clone()],
                        force: self.options.force || self.updates > 0,
                        dry_run: false,
                    },
                    progress,
                )?;
                self.layers = averaged.batchnorm_layers;
                let window = averaged.inputs;
                let added = window.iter().filter(|path| !current.contains(path)).cloned().collect();
                (*complete, *current) = (all, window.clone());
                for path in paths {
                    self.waiting.remove(path);
                    self.settled.insert(path.clone());
                    self.unmarked.push(path.clone());
                }
                let written = averaged.outputs.into_iter().next().expect("one output");
                (added, (written.bytes, written.nonfinite), window, None)
            }
        };
        Ok(Some(Update {
            output: output.path.clone(),
            count: inside.len(),
            added,
            newest: self.newest(&inside),
            bytes: written.0,
            state,
            nonfinite: written.1,
            batchnorm_layers: self.layers,
            seconds: started.elapsed().as_secs_f64(),
        }))
    }

    fn newest(&self, inside: &[PathBuf]) -> String {
        match (last_number(inside, self.options.criteria.number.as_ref()), inside.last()) {
            (Some(number), _) => number.to_string(),
            (None, Some(path)) => base_name(path),
            (None, None) => String::new(),
        }
    }

    /// Marks what was counted, for the trainer to see. What cannot be marked now will be later.
    fn mark(&mut self) {
        let Some(folder) = &self.options.ack else { return self.unmarked.clear() };
        let mut fault = None;
        self.unmarked.retain(|path| {
            let marker = folder.join(base_name(path));
            let made = std::fs::OpenOptions::new().create(true).append(true).open(&marker);
            let failed = made.map_err(|e| Error::io(&marker, "create", e)).err();
            let is_left = failed.is_some();
            fault = fault.take().or(failed);
            is_left
        });
        if let Some(e) = fault {
            self.note_once(format!("note: {}: it will be tried again", e.message(&marked)));
        }
    }

    /// Runs the command.
    fn command(&mut self) {
        let Some(line) = &self.options.exec else { return };
        let inside = match &self.sum {
            Sum::Running(_) => self.counted(),
            Sum::Window { current, .. } => current.clone(),
        };
        let environment = [
            ("SWA_OUTPUT", self.options.output.path.clone().into_os_string()),
            ("SWA_COUNT", inside.len().to_string().into()),
            ("SWA_NEWEST", self.newest(&inside).into()),
        ];
        if let Err(what) = command::run(line, &environment, self.stop) {
            self.failed_commands += 1;
            self.progress.note(&format!("note: the command after the update {what}: `{line}`"));
        }
        self.active = Instant::now();
    }

    fn end(self, ended: Ended) -> Result<Followed> {
        let inputs = match &self.sum {
            Sum::Running(_) => self.counted(),
            Sum::Window { current, .. } => current.clone(),
        };
        if inputs.is_empty() && ended == Ended::Idle && self.waiting.is_empty() {
            let what = "no checkpoint has come";
            return Err(Error::new(Kind::NoMatch, what)
                .at(&self.options.checkpoints[0])
                .remedy("check the pattern"));
        }
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

/// Whether an error names a checkpoint, or a file in it.
fn is_about(error: &Error, path: &Path) -> bool {
    error.file().is_some_and(|file| file.starts_with(path))
}
