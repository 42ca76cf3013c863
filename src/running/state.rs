//! A running average: what was counted, and the exact sum of it.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::directory::{Counted, Directory, Settings, Stamp, taken_name};
use super::file::{StateFile, Writer, is_state, open_locked};
use super::output::{Output, Wrote};
use super::pass::{Destinations, Found, Pass};
use crate::average::{Float, Options, Target};
use crate::checkpoint::{Checkpoint, Take, TensorInfo};
use crate::output::{AtomicFile, AtomicOutput, commit_all, remove_stale_of};
use crate::select::base_name;
use crate::{Error, Result, look};

/// An exact sum of checkpoints, to which more can be added at any time.
///
/// The state's file and the output get their names one after the other, the state first: after a crash between the
/// two the output is that of one update before. The state is what counts, and [`RunningAverage::write_output`] makes
/// the output follow from it.
#[derive(Debug)]
pub struct RunningAverage {
    place: Place,
    settings: Settings,
    /// None: nothing was counted, and no file is there.
    file: Option<StateFile>,
}

/// Where the state is kept.
#[derive(Debug, Clone)]
enum Place {
    Named(PathBuf),
    /// A file without a name, in the folder of this path, which goes with the process.
    Unnamed(PathBuf),
}

/// What came of adding checkpoints.
#[derive(Debug)]
pub struct Added {
    /// Those that were counted, in the order given.
    pub counted: Vec<PathBuf>,
    /// Those whose tensors had been counted before, and under which paths.
    pub repeated: Vec<(PathBuf, PathBuf)>,
    /// None where nothing new was counted.
    pub written: Option<Wrote>,
}

impl RunningAverage {
    /// Opens the state at a path, or begins one there, and keeps others from adding to it while this lives.
    ///
    /// # Errors
    /// `Usage` if another run has it open, if it was begun with other settings, or for settings that no state takes;
    /// `NotACheckpoint`, `Unsupported`, `Truncated`, `Damaged` or `Limit` by what is wrong with the file; `Io`.
    pub fn open(path: &Path, options: &Options, take: &Take) -> Result<Self> {
        let settings = Settings::new(options, take)?;
        let file = open_locked(path)?;
        if let Some(file) = &file {
            file.directory.settings.check(&settings).map_err(|e| e.at(path))?;
            remove_stale_of(path);
        }
        Ok(RunningAverage { place: Place::Named(path.to_path_buf()), settings, file })
    }

    /// Begins one that has no name, and is gone when this is: its file lies in the folder of `beside`.
    ///
    /// # Errors
    /// `Usage` for settings that no state takes.
    pub fn unnamed(beside: &Path, options: &Options, take: &Take) -> Result<Self> {
        let mut name = beside.file_name().unwrap_or_default().to_os_string();
        name.push(".state");
        let place = Place::Unnamed(beside.with_file_name(name));
        Ok(RunningAverage { place, settings: Settings::new(options, take)?, file: None })
    }

    /// Writes the file of a state that has none yet, so that it is locked before anything is counted.
    ///
    /// # Errors
    /// `OutputExists` if one has appeared meanwhile; `NoSpace`, `Io`.
    pub fn claim(&mut self) -> Result<()> {
        let Place::Named(path) = &self.place else { return Ok(()) };
        if self.file.is_some() {
            return Ok(());
        }
        let directory = Directory::new(self.settings.clone());
        let file = AtomicFile::create(path, 0, false)?;
        Writer::new(&file).finish(&directory)?;
        let handle = file.handle()?;
        file.commit()?;
        self.file = Some(StateFile::read(path, handle)?);
        Ok(())
    }

    /// What was counted, in natural order of the paths.
    pub fn inputs(&self) -> &[Counted] {
        self.file.as_ref().map_or(&[], |file| &file.directory.inputs)
    }

    /// How many checkpoints were counted.
    pub fn count(&self) -> usize {
        self.inputs().len()
    }

    /// Size of its file in bytes; 0 while there is none.
    pub fn size(&self) -> u64 {
        self.file.as_ref().map_or(0, StateFile::size)
    }

    /// How many values it has sums of.
    pub fn values(&self) -> u64 {
        let infos = self.file.as_ref().map_or(&[][..], |file| &file.infos);
        infos.iter().map(|info| info.len() as u64).sum()
    }

    /// What is counted under a path, if anything is.
    pub(crate) fn at(&self, path: &Path) -> Option<&Counted> {
        self.file.as_ref()?.directory.at(path)
    }

    /// Whether a checkpoint was counted under its path and has not been written to since.
    pub(crate) fn has(&self, checkpoint: &Checkpoint) -> bool {
        self.at(checkpoint.path()).is_some_and(|known| known.stamp() == Stamp::of(checkpoint))
    }

    /// Whether a file is an earlier output of this average, so that it may be replaced: all that went into it, by its
    /// names, is counted. What is about to be counted went into no output of this.
    pub(crate) fn is_own_output(&self, path: &Path) -> bool {
        let Ok(output) = Checkpoint::open(path) else { return false };
        let provenance = output.provenance();
        let Some(names) = provenance.get("inputs").and_then(|names| names.as_array()) else {
            return false;
        };
        let counted = self.inputs().iter().map(|input| base_name(Path::new(&input.path)));
        let counted: Vec<String> = counted.collect();
        let is_known = |name: &serde_json::Value| counted.iter().any(|own| name == own.as_str());
        !names.is_empty() && names.iter().all(is_known)
    }

    /// Names of the batchnorm layers, by the names of PyTorch's statistics.
    pub fn batchnorm_layers(&self) -> usize {
        let Some(file) = &self.file else { return 0 };
        let has =
            |name: &str| file.infos.binary_search_by(|info| info.name.as_str().cmp(name)).is_ok();
        let layers = file.infos.iter().filter_map(|info| info.name.strip_suffix(".running_mean"));
        layers.filter(|layer| has(&format!("{layer}.running_var"))).count()
    }

    /// Bytes that adding so many checkpoints reads of them.
    pub(crate) fn bytes_to_read(&self, inputs: &[Checkpoint]) -> u64 {
        inputs.iter().flat_map(|input| input.tensors()).map(TensorInfo::size).sum()
    }

    /// Adds checkpoints and writes the output: state and output are both as they were, or both new. Checkpoints whose
    /// tensors were counted before, under whatever name, are not counted again.
    ///
    /// `dtype` and `verify` may differ from time to time; `progress` is told of the inputs' bytes, from any thread.
    ///
    /// # Errors
    /// `Mismatch` if a checkpoint has other tensors than those that were counted, or if another one was counted under
    /// its path; `NotFinite`, `Damaged`, `Changed` by what is wrong with it; `Damaged` if the state is; `Changed` if
    /// the state was replaced meanwhile; `Usage` for a target that cannot be written from a state; `OutputExists`,
    /// `NoSpace`, `Io`.
    pub fn add(
        &mut self,
        mut inputs: Vec<Checkpoint>,
        target: &Target,
        force: bool,
        (dtype, verify): (Option<Float>, bool),
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Added> {
        let mut added = Added { counted: vec![], repeated: vec![], written: None };
        inputs.retain(|input| {
            let repeated = self.has(input);
            if repeated {
                added.repeated.push((input.path().to_path_buf(), input.path().to_path_buf()));
            }
            !repeated
        });
        while !inputs.is_empty() {
            let update = self.update(&inputs, target, force, (dtype, verify), progress)?;
            let repeated = self.repeated(&inputs, &update.digests)?;
            if repeated.is_empty() {
                added.counted = inputs.iter().map(|input| input.path().to_path_buf()).collect();
                added.written = Some(self.commit(update)?);
                break;
            }
            drop(update);
            let mut number = 0;
            inputs.retain(|input| {
                let first = repeated.get(&number);
                number += 1;
                added
                    .repeated
                    .extend(first.map(|first| (input.path().to_path_buf(), first.clone())));
                first.is_none()
            });
        }
        Ok(added)
    }

    /// Which of the inputs have the tensors of one that was counted, or of one before them, and of which.
    fn repeated(
        &self,
        inputs: &[Checkpoint],
        digests: &[String],
    ) -> Result<HashMap<usize, PathBuf>> {
        let mut found = HashMap::new();
        for (i, input) in inputs.iter().enumerate() {
            let counted =
                self.file.as_ref().and_then(|file| file.directory.with_digest(&digests[i]));
            if let Some(counted) = counted {
                found.insert(i, PathBuf::from(&counted.path));
            } else if let Some(j) = digests[..i].iter().position(|other| *other == digests[i]) {
                found.insert(i, inputs[j].path().to_path_buf());
            } else if self.at(input.path()).is_some() {
                return Err(taken_name(input.path()));
            }
        }
        Ok(found)
    }

    /// Makes the output that the state gives. False: it is there already, byte for byte.
    ///
    /// # Errors
    /// As of [`RunningAverage::add`]; `NoMatch` if nothing was counted.
    pub fn write_output(
        &self,
        target: &Target,
        force: bool,
        dtype: Option<Float>,
    ) -> Result<(Wrote, bool)> {
        let file = self.file.as_ref().filter(|file| !file.directory.inputs.is_empty());
        let Some(file) = file else {
            return Err(Error::new(crate::Kind::NoMatch, "no checkpoint has been counted yet")
                .remedy("name some"));
        };
        let options = file.directory.settings.options(dtype)?;
        let output = Output::new(&file.directory, &file.infos, &options, target)?;
        let sink = AtomicFile::create(target.path(), output.layout.size(), force)?;
        let (found, _) = self.pass(
            &file.directory,
            (&[], &[], None),
            &options,
            Some((&output, &sink)),
            None,
            &|_| {},
        )?;
        let wrote = output.wrote(&found);
        if sink.equals_target()? {
            return Ok((wrote, false));
        }
        sink.commit()?;
        Ok((wrote, true))
    }

    /// Reads all of it and compares it with its digests.
    ///
    /// # Errors
    /// `Damaged` where it does not match.
    pub fn verify(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let options = file.directory.settings.options(Some(Float::F64))?;
        self.pass(&file.directory, (&[], &[], None), &options, None, None, &|_| {}).map(drop)
    }

    /// Writes both files under temporary names.
    fn update(
        &self,
        inputs: &[Checkpoint],
        target: &Target,
        force: bool,
        (dtype, verify): (Option<Float>, bool),
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Update> {
        let mut options = self.settings.options(dtype)?;
        options.no_verify = !verify;
        let mut directory = match &self.file {
            Some(file) => file.directory.clone(),
            None => Directory::new(self.settings.clone()),
        };
        if directory.inputs.is_empty() {
            directory.take_tensors(&inputs[0], &options)?;
        }
        let infos: Vec<TensorInfo> =
            directory.tensors.iter().map(|tensor| tensor.info()).collect::<Result<_>>()?;
        let numbers: Vec<Vec<usize>> = (inputs.iter())
            .map(|input| directory.numbers(input, &infos, &options))
            .collect::<Result<_>>()?;
        let mut last = None;
        for (i, input) in inputs.iter().enumerate() {
            if directory.count(input, String::new()) {
                last = Some(i);
            }
        }
        let output = Output::new(&directory, &infos, &options, target)?;
        let (path, replaces) = match &self.place {
            Place::Named(path) => (path, self.file.is_some()),
            Place::Unnamed(path) => (path, true),
        };
        let state = AtomicFile::create(path, self.size(), replaces)?;
        let sink = AtomicFile::create(target.path(), output.layout.size(), force)?;
        let writer = Writer::new(&state);
        let sources = (inputs, &numbers[..], last);
        let (found, _) = self.pass(
            &directory,
            sources,
            &options,
            Some((&output, &sink)),
            Some(&writer),
            progress,
        )?;
        for (input, digest) in inputs.iter().zip(&found.digests) {
            let path = input.path().to_string_lossy();
            let same = |counted: &&mut Counted| counted.path == path && counted.digest.is_empty();
            if let Some(counted) = directory.inputs.iter_mut().find(same) {
                counted.digest.clone_from(digest);
            }
        }
        writer.finish(&directory)?;
        let wrote = output.wrote(&found);
        Ok(Update { state, sink, digests: found.digests, wrote })
    }

    /// Runs a pass, and completes the output.
    fn pass(
        &self,
        directory: &Directory,
        (inputs, numbers, last): (&[Checkpoint], &[Vec<usize>], Option<usize>),
        options: &Options,
        output: Option<(&Output, &AtomicFile)>,
        state: Option<&Writer>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(Found, u64)> {
        let infos: Vec<TensorInfo> =
            directory.tensors.iter().map(|tensor| tensor.info()).collect::<Result<_>>()?;
        let rules = directory.rules(&infos, options)?;
        let last_path = directory.inputs.last().map_or("", |input| &input.path);
        if let Some((output, sink)) = output {
            output.layout.begin(sink, 0)?;
        }
        let pass = Pass {
            old: self.file.as_ref().filter(|file| !file.directory.inputs.is_empty()),
            infos: &infos,
            rules: &rules,
            inputs,
            numbers,
            last,
            last_path: Path::new(last_path),
            count: directory.inputs.len() as u64,
            allow_nonfinite: options.allow_nonfinite,
            verify: !options.no_verify,
            state,
            output: output.map(|(output, sink)| Destinations {
                layout: &*output.layout,
                sink,
                places: output.places.clone(),
            }),
            progress,
        };
        let found = pass.run()?;
        if let Some((output, sink)) = output {
            let tensors: Vec<(&TensorInfo, u128)> =
                output.infos.iter().zip(&found.sums).map(|(info, &sum)| (info, sum)).collect();
            output.layout.finish(sink, 0, &tensors)?;
        }
        Ok((found, pass.bytes_to_read()))
    }

    /// Gives both files their names, the state first.
    fn commit(&mut self, update: Update) -> Result<Wrote> {
        let Update { state, sink, wrote, .. } = update;
        let handle = state.handle()?;
        let path = match &self.place {
            Place::Named(path) => {
                if let Some(file) = &self.file
                    && !file.is_in_place()?
                {
                    return Err(Error::changed("was replaced or removed while it was in use")
                        .at(path)
                        .remedy("begin again from what is there now"));
                }
                let outputs: Vec<Box<dyn AtomicOutput>> = vec![Box::new(state), Box::new(sink)];
                // What has been named is what counts, whatever an error says.
                if let Err(e) = commit_all(outputs) {
                    return Err(self.reopen(path.clone(), &handle).err().unwrap_or(e));
                }
                path
            }
            Place::Unnamed(path) => {
                sink.commit()?;
                path
            }
        };
        // With the old file its lock goes; the new one was locked from its beginning.
        self.file = Some(StateFile::read(path, handle)?);
        Ok(wrote)
    }

    /// After an error in the naming: whichever of the two files has the name is the state.
    fn reopen(&mut self, path: PathBuf, new: &File) -> Result<()> {
        if look::is_at(new, &path)? {
            let new = new.try_clone().map_err(|e| Error::io(&path, "keep open", e))?;
            self.file = Some(StateFile::read(&path, new)?);
        }
        Ok(())
    }
}

/// Both files of an update, complete under temporary names.
struct Update {
    state: AtomicFile,
    sink: AtomicFile,
    digests: Vec<String>,
    wrote: Wrote,
}

/// What a state's file holds, for people to see.
#[derive(Debug, Clone)]
pub struct Held {
    /// The file.
    pub path: PathBuf,
    /// What was counted, in natural order of the paths.
    pub inputs: Vec<Counted>,
    /// The tensors as the checkpoints have them, in the order of their names.
    pub tensors: Vec<TensorInfo>,
    /// The settings it was begun with, by name, as text.
    pub settings: Vec<(&'static str, String)>,
    /// Size of the file.
    pub bytes: u64,
}

/// Reads what a state holds, whether or not another run has it open; every byte is compared with its digest.
///
/// # Errors
/// Those of [`RunningAverage::open`], and of reading.
pub fn held(path: &Path) -> Result<Held> {
    let opened = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let file = StateFile::read(path, opened)?;
    let settings = file.directory.settings.clone();
    let held = Held {
        path: path.to_path_buf(),
        inputs: file.directory.inputs.clone(),
        tensors: file.infos.clone(),
        settings: settings.given(),
        bytes: file.size(),
    };
    let place = Place::Named(path.to_path_buf());
    RunningAverage { place, settings, file: Some(file) }.verify()?;
    Ok(held)
}

/// Whether a path leads to a state, by its first bytes. What cannot be read is none.
pub fn is_running_average(path: &Path) -> bool {
    // A pipe would be waited for.
    look::is_file(path).unwrap_or(false) && is_state(path)
}
