//! The epochs that two runs have in common, trained once.

use std::path::Path;

use serde_json::Value;
use swa_base::{Error, Kind, Result, look, setting};

use super::folder::{Folder, copy};
use super::log::validates;
use super::schedule::Schedule;
use super::state::State;

/// The state at the end of the epochs at the first rate.
pub(crate) const TRUNK: &str = "trunk.safetensors";
/// The state at the end of the last epoch.
pub(crate) const STATE: &str = "state.safetensors";

/// Gives a new run what another run with the same settings has of the epochs that both train alike: its state, its log,
/// and the snapshots in these epochs. Returns how many there are. The rest of the run is then what it would have been.
///
/// # Errors
/// `Mismatch` if the other run's settings differ in more than the schedule; `NoMatch` if it has no state in these epochs;
/// those of reading and writing.
pub(crate) fn graft(
    from: &Path,
    folder: &Folder,
    settings: &Value,
    schedule: &Schedule,
    steps: usize,
) -> Result<usize> {
    let other = Folder::of(from);
    let record = other.settings()?;
    let mut differences = super::folder::differences(&record, settings);
    differences.retain(|line| !line.starts_with("schedule."));
    if !differences.is_empty() {
        return Err(Error::new(Kind::Mismatch, "was trained with other settings")
            .at(from)
            .list(differences));
    }
    let theirs = Schedule::recorded(&record["schedule"])
        .ok_or_else(|| Error::new(Kind::Damaged, "its record has no schedule").at(from))?;
    // An epoch at least is left, which writes the results.
    let common = schedule.in_common(&theirs, steps).min(schedule.epochs().saturating_sub(1));
    let mut found: Option<(State, std::path::PathBuf)> = None;
    for file in [TRUNK, STATE].map(|name| other.file(name)) {
        let most = found.as_ref().map_or(0, |(state, _)| state.epochs);
        let state = State::read(&file)?;
        if let Some(state) = state.filter(|state| (most + 1..=common).contains(&state.epochs)) {
            found = Some((state, file));
        }
    }
    let Some((_, file)) = found else {
        let what = match common {
            0 => "has no epoch in common with this run: its rate is another from the first step"
                .into(),
            _ => format!(
                "has no state in the epochs that this run has in common with it, the first {common}"
            ),
        };
        // It keeps the state at the end of its first rate, and the last one.
        let goes_on = State::read(&other.file(STATE))?.is_none_or(|state| state.epochs < common);
        let remedy = match common > 0 && goes_on {
            true => concat!("wait until it has trained so many, or leave out ", setting!("trunk")),
            false => concat!("leave out ", setting!("trunk")),
        };
        return Err(Error::new(Kind::NoMatch, what).at(from).remedy(remedy));
    };
    // The other run may go on meanwhile: what was copied counts.
    let state = folder.file(STATE);
    copy(&file, &state)?;
    let copied = State::read(&state)?.filter(|state| state.epochs <= common);
    let Some(State { epochs, snapshots, .. }) = copied else {
        std::fs::remove_file(&state).map_err(|e| Error::io(&state, "remove", e))?;
        return Err(Error::new(Kind::NoMatch, "went on while its state was copied")
            .at(from)
            .remedy("run this again"));
    };
    other.check_snapshots(&snapshots)?;
    let initial = other.snapshot(0);
    if look::exists(&initial)? {
        copy(&initial, &folder.snapshot(0))?;
    }
    for epoch in (0..epochs).filter(|&epoch| schedule.collects(epoch)) {
        copy(&other.snapshot(epoch + 1), &folder.snapshot(epoch + 1))?;
    }
    // Lines of a graft that was interrupted.
    folder.truncate_log(0)?;
    let every = settings["eval_every"].as_u64().unwrap_or(1) as usize;
    for mut line in other.lines(epochs)? {
        // The other's last epoch may be one in the middle of this run.
        if !validates(line.epoch, schedule.epochs(), every) {
            (line.model, line.swa) = (None, None);
        }
        folder.log(&line)?;
    }
    if schedule.level() == Some(epochs) {
        copy(&state, &folder.file(TRUNK))?;
    }
    Ok(epochs)
}
