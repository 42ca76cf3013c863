//! Which average each snapshot is: when it was stored, and how wide it is.

use std::path::{Path, PathBuf};

use super::super::{Snapshots, lines};
use super::gamma;
use crate::select::{base_name, numbers};
use crate::{Error, Result, setting};

/// What is known of snapshots that are moving averages already.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profiles {
    /// Their widths. If there are several, the name of each snapshot has its own (`snapshot-0001024-0.050`), or the file
    /// of times has it.
    pub sigmas: Vec<f64>,
    /// When they were stored, in steps or images: a number a line in natural order, or a file name, a number and
    /// perhaps a width. None: the numbers in their names.
    pub times: Option<PathBuf>,
}

/// A power-function average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Profile {
    pub time: f64,
    pub gamma: f64,
}

/// Of each snapshot. `scheme`: for messages.
pub(super) fn of(snapshots: &Snapshots, scheme: &str) -> Result<Vec<Profile>> {
    let Snapshots { paths, profiles: Profiles { sigmas, times }, .. } = snapshots;
    let given = match times {
        Some(file) => Some(from_file(file, paths)?),
        None => None,
    };
    let has_all = given.as_ref().is_some_and(|given| given.iter().all(|one| one.len() == 2));
    if sigmas.is_empty() && !has_all {
        let what =
            format!("{scheme}: the snapshots must be moving averages, of widths that are known");
        return Err(Error::usage(what).remedy(concat!(
            "name the widths with ",
            setting!("snapshot_sigma"),
            ", such as 0.05,0.10; ordinary checkpoints take ema:DECAY"
        )));
    }
    if let Some(bad) = sigmas.iter().find(|sigma| gamma(**sigma).is_none()) {
        let what = format!(
            "{} {bad}: a width lies above 0 and below 1/√12, which is 0.2887",
            setting!("snapshot_sigma")
        );
        return Err(Error::usage(what));
    }
    // In names, where it stands.
    let named: Vec<Option<Named>> = paths.iter().map(|path| find(path, sigmas)).collect();
    let mut widths = Vec::with_capacity(paths.len());
    for (i, path) in paths.iter().enumerate() {
        let own = given.as_ref().and_then(|given| given[i].get(1).copied());
        let only = (sigmas.len() == 1).then(|| sigmas[0]);
        let named = named[i].as_ref().map(|named| named.sigma);
        let Some(sigma) = own.or(named).or(only) else {
            return Err(Error::usage(format!(
                "{scheme}: its name has none of the widths {sigmas:?}"
            ))
            .at(path)
            .remedy(concat!("give a file of names, times and widths with ", setting!("times"))));
        };
        let Some(gamma) = gamma(sigma) else {
            return Err(Error::usage(format!(
                "{scheme}: {sigma} is no width: it lies above 0 and below 0.2887"
            ))
            .at(path));
        };
        widths.push((sigma, gamma));
    }
    let times: Vec<f64> = match &given {
        Some(given) => given.iter().map(|numbers| numbers[0]).collect(),
        None => times_in_names(snapshots, &named)?,
    };
    let mut stored = Vec::with_capacity(paths.len());
    for (i, path) in paths.iter().enumerate() {
        let (time, (sigma, gamma)) = (times[i], widths[i]);
        if !(time > 0.0 && time.is_finite()) {
            return Err(Error::usage(format!(
                "{scheme}: its time is {time}: no average lies behind it"
            ))
            .at(path)
            .remedy("leave it out"));
        }
        let profile = Profile { time, gamma };
        if let Some(other) = stored.iter().position(|other| *other == profile) {
            let what = format!(
                "{scheme}: has the time and width of `{}`, {time} and {sigma}",
                paths[other].display()
            );
            return Err(Error::usage(what).at(path).remedy("leave one of them out"));
        }
        stored.push(profile);
    }
    Ok(stored)
}

fn from_file(file: &Path, paths: &[PathBuf]) -> Result<Vec<Vec<f64>>> {
    let numbers = lines::read(file, paths, "time", 2)?;
    if numbers.len() != paths.len() {
        let (n, m) = (numbers.len(), paths.len());
        return Err(Error::input(format!("has {n} time(s) for {m} checkpoint(s)")).at(file));
    }
    Ok(numbers)
}

/// A width in a name.
struct Named {
    sigma: f64,
    /// The path with a letter in its place, so that its digits do not count as the checkpoint's number.
    without: PathBuf,
}

/// Finds the decimal number in a name that is one of the widths. None if there is none, or more than one.
fn find(path: &Path, sigmas: &[f64]) -> Option<Named> {
    let name = base_name(path);
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let mut found = None;
    let mut start = 0;
    while let Some(from) = name[start..].find(is_part).map(|at| start + at) {
        let end = name[from..].find(|c| !is_part(c)).map_or(name.len(), |at| from + at);
        start = end;
        // `0.050.` before an extension.
        let text = name[from..end].trim_end_matches('.');
        let sigma = text.contains('.').then(|| text.parse::<f64>().ok()).flatten();
        let Some(sigma) = sigma.filter(|sigma| sigmas.contains(sigma)) else { continue };
        if found.is_some() {
            return None;
        }
        let without = format!("{}σ{}", &name[..from], &name[from + text.len()..]);
        found = Some(Named { sigma, without: path.with_file_name(without) });
    }
    found
}

fn times_in_names(snapshots: &Snapshots, named: &[Option<Named>]) -> Result<Vec<f64>> {
    let Snapshots { paths, criteria, .. } = snapshots;
    let lacking = |what: String| {
        Error::usage(what)
            .remedy(concat!("give a file of names and times with ", setting!("times")))
    };
    if criteria.by_position {
        let what = concat!(setting!("by_position"), " tells no time, which post-hoc EMA needs");
        return Err(lacking(what.into()));
    }
    // An expression sees the names as they are.
    let seen: Vec<PathBuf> = (paths.iter().zip(named))
        .map(|(path, named)| match named {
            Some(named) if criteria.number.is_none() => named.without.clone(),
            _ => path.clone(),
        })
        .collect();
    let numbers = numbers(&seen, criteria.number.as_ref()).map_err(|e| {
        // The name as it is.
        match seen.iter().position(|path| e.file() == Some(path)) {
            Some(i) => e.at(&paths[i]),
            None => e,
        }
    })?;
    match numbers {
        Some(numbers) => Ok(numbers.into_iter().map(|number| number as f64).collect()),
        None => Err(lacking("no name has a number, which would be its time".into())),
    }
}
