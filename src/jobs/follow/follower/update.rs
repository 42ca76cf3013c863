//! An update: what is ready goes into the average, its command runs, and the trainer is told.

use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use super::{Follower, Sum, Waiting, in_a_line, may_pass};
use crate::checkpoint::Checkpoint;
use crate::jobs::accumulate::{
    ordered_apart, say_repeated, say_state, say_wrote, spelled_apart, target,
};
use crate::jobs::follow::{Follow, Update, command};
use crate::jobs::{Average, StateSize, average, say_averages, say_taken};
use crate::running::Stamp;
use crate::schemes::Profiles;
use crate::select::{Criteria, base_name, last_number, natural, order};
use crate::text::marked;
use crate::{Error, Kind, Result, Unit, look, setting};

/// Pauses before an update that failed for lack of space is tried again.
const RETRY: u32 = 15;

impl Follower<'_> {
    /// Counts what is complete. What is wrong with a checkpoint leaves it out; None if nothing was counted.
    pub(super) fn update(&mut self, mut ready: Vec<(PathBuf, Stamp)>) -> Result<Option<Update>> {
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
                            self.note_once(format!("note: {}: not counted", in_a_line(&e)));
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
                        in_a_line(&e)
                    ));
                    self.not_before = Some(Instant::now() + RETRY * self.options.pause);
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    pub(super) fn count_them(
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
            say_taken(progress, &inputs, true);
            say_averages(progress, &inputs);
        }
        let (added, written, inside, state) = match &mut self.sum {
            Sum::Running(running) => {
                self.layers = inputs[0].batchnorm_layers().len();
                let target = target(output, take)?;
                let how = (output.dtype.or(options.dtype), !options.no_verify);
                progress.begin("averaging", running.bytes_to_read(&inputs), 0, Unit::Bytes);
                // What it replaces is its own, which was checked at the beginning, or the last update's.
                let force =
                    self.options.force || self.updates > 0 || running.is_own_output(&output.path);
                let added =
                    running.add(inputs, &target, force, how, &|bytes| progress.advance(bytes))?;
                progress.end();
                for (path, first) in &added.repeated {
                    say_repeated(progress, path, first);
                }
                let repeated = added.repeated.into_iter().map(|(path, _)| path);
                let settled: Vec<PathBuf> = added.counted.iter().cloned().chain(repeated).collect();
                for (path, stamp) in ready.iter().filter(|(path, _)| added.counted.contains(path)) {
                    self.counted_as.insert(path.clone(), *stamp);
                }
                let state = StateSize::of(running, self.options.state.as_deref());
                let inside: Vec<PathBuf> =
                    running.inputs().iter().map(|input| PathBuf::from(&input.path)).collect();
                if let Some(note) = spelled_apart(&inside)
                    && self.said.insert("spelling".into())
                {
                    progress.note(&note);
                }
                if let Some(note) = ordered_apart(&inside, &self.options.criteria)
                    && self.said.insert("order".into())
                {
                    progress.note(&note);
                }
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
                let Criteria { last, allow_duplicates, number, .. } = &self.options.criteria;
                if let (None, Err(e)) = (number, order::check(&there))
                    && self.said.insert("order".into())
                {
                    progress.note(&format!(
                        "note: {}; {} says which number counts",
                        e.cause(&marked),
                        setting!("number", "REGEX")
                    ));
                }
                let averaged = average(
                    &Average {
                        checkpoints: there,
                        // Without an expression it is in order by its names, whatever is in them.
                        criteria: Criteria {
                            last: *last,
                            allow_duplicates: *allow_duplicates,
                            by_position: number.is_none(),
                            number: number.clone(),
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

    pub(super) fn newest(&self, inside: &[PathBuf]) -> String {
        match (last_number(inside, self.options.criteria.number.as_ref()), inside.last()) {
            (Some(number), _) => number.to_string(),
            (None, Some(path)) => base_name(path),
            (None, None) => String::new(),
        }
    }

    /// Marks what was counted, for the trainer to see. What cannot be marked now will be later; what lies elsewhere than
    /// what is followed, where an earlier job found it, is not this trainer's.
    pub(super) fn mark(&mut self) {
        let Some(folder) = &self.options.ack else { return self.unmarked.clear() };
        let shared = self.folders().iter().map(|folder| plain(folder)).reduce(in_common);
        let shared = shared.unwrap_or_default();
        let mut fault = None;
        self.unmarked.retain(|path| {
            let Some(below) = below(&shared, path) else { return false };
            let marker = folder.join(below);
            let above = marker.parent().map_or(Ok(()), std::fs::create_dir_all);
            let made = above
                .and_then(|()| std::fs::OpenOptions::new().create(true).append(true).open(&marker));
            let failed = made.map_err(|e| Error::io(&marker, "create", e)).err();
            let is_left = failed.is_some();
            fault = fault.take().or(failed);
            is_left
        });
        if let Some(e) = fault {
            self.note_once(format!("note: {}: it will be tried again", in_a_line(&e)));
        }
    }

    /// Runs the command.
    pub(super) fn command(&mut self) {
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
}

/// Whether an error names a checkpoint, or a file in it.
fn is_about(error: &Error, path: &Path) -> bool {
    error.file().is_some_and(|file| file.starts_with(path))
}

/// A path without `.`, which says nothing.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

fn in_common(a: PathBuf, b: PathBuf) -> PathBuf {
    let same = a.components().zip(b.components()).take_while(|(a, b)| a == b);
    same.map(|(part, _)| part).collect()
}

/// The path of a checkpoint below the folder that all that is followed shares: names alone may be the same in several
/// folders. The folder itself, a model, has its name.
fn below(shared: &Path, path: &Path) -> Option<PathBuf> {
    let path = plain(path);
    let names = path.strip_prefix(shared).ok()?.components();
    let names: PathBuf = names.filter(|part| matches!(part, Component::Normal(_))).collect();
    Some(if names.as_os_str().is_empty() { base_name(&path).into() } else { names })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_tell_checkpoints_of_one_name_apart() {
        for (folders, path, expected) in [
            (&["run"][..], "run/c_1", Some("c_1")),
            (&["/a/run"], "/a/run/e_1/model.safetensors", Some("e_1/model.safetensors")),
            (&["."], "c_1", Some("c_1")),
            (&["./run"], "run/c_1", Some("c_1")),
            (&["a", "b"], "b/c_1", Some("b/c_1")),
            (&["r/a", "r/b"], "r/b/c_1", Some("b/c_1")),
            (&["../a", "b"], "../a/c_1", Some("a/c_1")),
            (&["/a", "b"], "/a/c_1", Some("a/c_1")),
            (&["run/model"], "run/model", Some("model")),
            (&["run"], "old/c_1", None),
            (&["run"], "/abs/run/c_1", None),
        ] {
            let shared = folders.iter().map(|folder| plain(Path::new(folder))).reduce(in_common);
            let found = below(&shared.unwrap(), Path::new(path));
            assert_eq!(found.as_deref(), expected.map(Path::new), "{folders:?}: {path}");
        }
    }
}
