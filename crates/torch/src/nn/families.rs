//! The known family of a checkpoint: the network is all of its tensors, or those below one prefix, and what else is there
//! must be known not to be of it.
//!
//! | beside the network | statistics | evaluation |
//! |---|---|---|
//! | a loss, a metric, a copy (teacher, moving average), a profiler's counts | kept | kept |
//! | vectors and matrices of other modules: heads | kept, no batchnorm layer comes after them | refused: which are applied? |
//! | another head in the head's place, or none | the network runs without it | refused by name |
//! | a single integer, a tensor without values | kept | kept |
//! | convolutions and batchnorm layers of other modules, what has the colours' number | refused: they may come before a layer | refused |
//! | anything within the network's own modules | refused | refused |

use std::collections::HashMap;

use super::beside::{is_beside, is_copy, is_litter, is_norm};
use super::candidates::Candidates;
use super::fault;
use super::freeze::Freeze;
use super::models::{self, Arch};
use super::network::Network;
use super::scope::{Found, Scope, Setup, Weights};
use super::shapes::{MAX_PREFIX, Shapes};
use swa_base::{Error, Kind, Result, setting};
use swa_tools::checkpoint::{Checkpoint, Dtype, TensorInfo};

/// How to go on with a network that is not known.
pub(super) const WAY_OUT: &str = concat!(
    "any other network: ",
    setting!("program"),
    " FILE.pt2, which torch.export.save wrote (docs/programs.md)"
);

/// Fewer tensors than this are no network.
const LEAST: usize = 10;

/// Prefixes that are tried, those with the most tensors first.
const MOST_PREFIXES: usize = 64;

/// Names that a note shows.
const SHOWN: usize = 3;

/// What a batchnorm layer's statistics are called.
const STATISTICS: [&str; 2] = [".running_mean", ".running_var"];

/// Asks for the network's tensors, to load or only to describe it.
pub(super) fn build(
    constructor: impl FnOnce(Scope) -> fault::Result<Box<dyn Network>>,
    shapes: &Shapes,
    freeze: &Freeze,
    from: Option<(&Checkpoint, Setup)>,
    headless: bool,
) -> fault::Result<(Box<dyn Network>, Found)> {
    let mut weights = Weights::new(shapes, freeze, from).headless(headless);
    let network = constructor(weights.scope())?;
    Ok((network, weights.finish()))
}

/// A family, and the tensors that are its.
pub(super) struct Fitting<'a> {
    pub shapes: Shapes<'a>,
    pub arch: Arch,
    pub found: Found,
    /// Whether the head is another one.
    pub headless: bool,
    /// Tensors of the file that are not the network's.
    pub kept: Vec<String>,
}

impl Fitting<'_> {
    /// What the user is to know of it.
    pub fn notes(&self, checkpoint: &Checkpoint) -> Vec<String> {
        let (file, arch) = (checkpoint.path().display(), &self.arch.name);
        let mut notes = vec![];
        if self.headless {
            notes.push(format!(
                "note: the head of `{file}` is not that of {arch} and is not run: no batchnorm layer comes after it"
            ));
        }
        if let [_, ..] = self.kept[..] {
            let (n, names) = (self.kept.len(), some(self.kept.iter()));
            notes.push(format!(
                "note: {n} tensor(s) of `{file}` are not the network's ({arch}) and stay as they are: {names}"
            ));
        }
        let layers: Vec<&str> =
            self.kept.iter().filter_map(|name| name.strip_suffix(STATISTICS[0])).collect();
        if !layers.is_empty() {
            let (n, names) = (layers.len(), some(layers.iter()));
            notes.push(format!("note: {n} batchnorm layer(s) among them keep theirs: {names}"));
        }
        notes
    }
}

fn some<T: AsRef<str>>(names: impl ExactSizeIterator<Item = T>) -> String {
    let n = names.len();
    let mut shown: Vec<String> =
        names.take(SHOWN).map(|name| format!("`{}`", name.as_ref())).collect();
    if n > SHOWN {
        shown.push(format!("and {} more", n - SHOWN));
    }
    shown.join(", ")
}

/// The architecture that differs least, and in what.
struct Closest {
    arch: String,
    problems: Vec<String>,
    /// Whether the head, or what may be one, is all that differs.
    in_head: bool,
}

/// # Errors
/// `UnknownNetwork` if no known network has these tensors, `Mismatch` if the one that is named has not, or the file has
/// it several times; `Usage` for an unknown name.
pub(super) fn find<'a>(
    checkpoint: &'a Checkpoint,
    candidates: &Candidates,
    freeze: &Freeze,
) -> Result<Fitting<'a>> {
    let search = Search { checkpoint, candidates, freeze };
    let mut closest = None;
    if candidates.network.is_none() {
        for shapes in Shapes::views(checkpoint) {
            if let Some(fitting) = search.exact(shapes, &mut closest)? {
                return Ok(fitting);
            }
        }
    }
    search.part(&mut closest)?.ok_or_else(|| search.refused(closest))
}

struct Search<'s, 'a> {
    checkpoint: &'a Checkpoint,
    candidates: &'s Candidates,
    freeze: &'s Freeze,
}

impl<'a> Search<'_, 'a> {
    fn archs(&self, shapes: &Shapes) -> Vec<Arch> {
        match &self.candidates.arch {
            Some(name) => models::named(name, shapes).into_iter().collect(),
            None => models::likely(shapes),
        }
    }

    /// The family that has exactly these tensors.
    fn exact(
        &self,
        shapes: Shapes<'a>,
        closest: &mut Option<Closest>,
    ) -> Result<Option<Fitting<'a>>> {
        for arch in self.archs(&shapes) {
            let found = build(&arch.build, &shapes, self.freeze, None, false)?.1;
            if found.problems.is_empty() {
                return Ok(Some(Fitting { shapes, arch, found, headless: false, kept: vec![] }));
            }
            note(closest, &arch, found.problems, false);
        }
        Ok(None)
    }

    /// The family whose network is a part of the tensors.
    fn part(&self, closest: &mut Option<Closest>) -> Result<Option<Fitting<'a>>> {
        let mut fits: Vec<(Fitting<'a>, Vec<String>)> = vec![];
        for prefix in self.prefixes()? {
            let shapes = Shapes::below(self.checkpoint, &prefix);
            for arch in self.archs(&shapes) {
                let found = build(&arch.build, &shapes, self.freeze, None, false)?.1;
                match self.judge(&shapes, found) {
                    Ok(Judged { found, headless, kept, unknown }) => {
                        fits.push((Fitting { shapes, arch, found, headless, kept }, unknown));
                        break;
                    }
                    Err((problems, in_head)) => note(closest, &arch, problems, in_head),
                }
            }
        }
        // Of a network and its copies, the network.
        let prefixes: Vec<String> =
            fits.iter().map(|(fit, _)| fit.shapes.prefix().into()).collect();
        if fits.iter().any(|(fit, _)| !is_copy(fit.shapes.prefix())) {
            fits.retain(|(fit, _)| !is_copy(fit.shapes.prefix()));
        }
        if let [(a, _), (b, _), ..] = &fits[..] {
            let (a, b) = (a.shapes.prefix(), b.shapes.prefix());
            let what = format!("holds several networks, below `{a}` and `{b}`");
            let remedy = concat!("say which is meant: ", setting!("network", "NAME"));
            return Err(Error::new(Kind::Mismatch, what).remedy(remedy));
        }
        let Some((mut fit, unknown)) = fits.pop() else { return Ok(None) };
        let own = fit.shapes.prefix().to_string();
        let others = || prefixes.iter().filter(|other| **other != own);
        let (copied, unknown): (Vec<String>, Vec<String>) =
            unknown.into_iter().partition(|name| others().any(|other| name.starts_with(other)));
        fit.kept.extend(copied);
        if unknown.is_empty() {
            fit.kept.sort_by_key(|name| self.checkpoint.position(name));
            return Ok(Some(fit));
        }
        let shape = |name: &str| self.checkpoint.get(name).map(|info| info.shape.clone());
        let line = |name: &String| {
            let shape = shape(name).unwrap_or_default();
            format!(
                "tensor `{name}` {shape:?} is beside the network, and what it does is not known"
            )
        };
        let heads = unknown.iter().all(|name| shape(name).is_none_or(|shape| shape.len() <= 2));
        *closest = None;
        note(closest, &fit.arch, unknown.iter().map(line).collect(), heads);
        Ok(None)
    }

    /// What the network's tensors may begin with.
    fn prefixes(&self) -> Result<Vec<String>> {
        let names = || self.checkpoint.tensors().iter().map(|tensor| tensor.name.as_str());
        if let Some(network) = &self.candidates.network {
            let prefix = format!("{}.", network.trim_end_matches('.'));
            if !names().any(|name| name.starts_with(&prefix)) {
                let what = format!("no tensor's name begins with `{prefix}`");
                return Err(Error::new(Kind::Mismatch, what).remedy(concat!(
                    "give the part before the network's own names with ",
                    setting!("network")
                )));
            }
            return Ok(vec![prefix]);
        }
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for name in names() {
            *counts.entry("").or_default() += 1;
            for (at, _) in name.match_indices('.').take(MAX_PREFIX) {
                *counts.entry(&name[..=at]).or_default() += 1;
            }
        }
        let mut prefixes: Vec<(&str, usize)> =
            counts.into_iter().filter(|&(_, count)| count >= LEAST).collect();
        prefixes.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        prefixes.truncate(MOST_PREFIXES);
        Ok(prefixes.into_iter().map(|(prefix, _)| prefix.to_string()).collect())
    }

    /// Whether what differs does not matter; else what does, and whether it is the head alone.
    fn judge(
        &self,
        shapes: &Shapes,
        found: Found,
    ) -> std::result::Result<Judged, (Vec<String>, bool)> {
        if !found.is_whole_before_head() {
            return Err((found.problems, false));
        }
        let headless = !found.in_head.is_empty();
        let normalised: Vec<String> =
            found.in_head.iter().filter(|problem| is_statistics(problem)).cloned().collect();
        if !normalised.is_empty() {
            return Err((normalised, true));
        }
        if headless && !self.candidates.headless {
            return Err((found.in_head, true));
        }
        let (mut kept, mut unknown, mut wrong) = (vec![], vec![], vec![]);
        let beyond = self.checkpoint.tensors().iter().enumerate();
        let beyond = beyond.filter(|(i, _)| !self.checkpoint.is_counter(*i)).map(|(_, info)| info);
        let beyond = beyond.filter(|info| !info.name.starts_with(shapes.prefix()));
        let extras = found.extras.iter().filter_map(|name| Some((name, shapes.get(name)?)));
        let all =
            extras.map(|(name, info)| (Some(name), info)).chain(beyond.map(|info| (None, info)));
        for (own, info) in all {
            let name = &info.name;
            let is_head = || info.shape.len() <= 2 && !is_statistics(name);
            if is_litter(name) {
                kept.push(name.clone());
            } else if own.is_some_and(|own| found.is_within(own)) {
                wrong.push(format!("tensor `{name}` is not part of it"));
            } else if is_beside(own.unwrap_or(name)) {
                kept.push(name.clone());
            } else if is_norm(name, &info.shape) && self.candidates.network.is_none() {
                wrong.push(format!(
                    "tensor `{name}` {:?}: the network may normalise its images itself",
                    info.shape
                ));
            } else if self.is_of_colours(info) && self.candidates.network.is_none() {
                wrong.push(format!(
                    "tensor `{name}` {:?}: it may change the images before the network; if it does not, {}",
                    info.shape,
                    setting!("network", "NAME")
                ));
            } else if own.is_none() && (is_count(info) || self.candidates.network.is_some())
                || self.candidates.headless && is_head()
            {
                kept.push(name.clone());
            } else if own.is_some() {
                wrong.push(format!("tensor `{name}` is not part of it"));
            } else {
                unknown.push(name.clone());
            }
        }
        match wrong.is_empty() {
            true => Ok(Judged { found, headless, kept, unknown }),
            false => Err((wrong, false)),
        }
    }

    /// Whether a tensor may scale, shift or mix the three colours of images: it has their number, and stands in no layer
    /// that takes more than three values.
    fn is_of_colours(&self, info: &TensorInfo) -> bool {
        let is_wide =
            |other: &TensorInfo| other.shape.len() > 1 && other.shape[1..].iter().any(|&n| n > 3);
        let module = info.name.rsplit_once('.').map(|(module, _)| module);
        let is_beside = |other: &&TensorInfo| {
            module.is_some() && other.name.rsplit_once('.').map(|(module, _)| module) == module
        };
        let is_three = info.shape == [3, 3]
            || info.shape.iter().product::<usize>() == 3 && !info.shape.is_empty();
        // Weights of tasks and classes, which a loss has.
        const OF_LOSSES: [&str; 9] =
            ["task", "loss", "class", "prior", "sigma", "logvar", "log_var", "awl", "count"];
        let lower = info.name.to_lowercase();
        let is_loss = OF_LOSSES.iter().any(|word| lower.contains(word));
        let is_integer = matches!(info.dtype, Dtype::I64 | Dtype::I32 | Dtype::BOOL | Dtype::U8);
        is_three
            && !is_integer
            && !is_loss
            && !is_wide(info)
            && !self.checkpoint.tensors().iter().filter(is_beside).any(is_wide)
    }

    /// Why nothing was recognised.
    fn refused(&self, closest: Option<Closest>) -> Error {
        let known = format!("known: {}", models::list().join(", "));
        let unknown = |what: String| {
            let what = format!("architecture not recognised; {what}");
            Error::new(Kind::UnknownNetwork, what)
        };
        let all = || format!("{known}; {WAY_OUT}");
        match (&self.candidates.arch, closest) {
            (Some(name), None) => {
                let what = format!("{} {name} is not known", setting!("arch"));
                Error::usage(what).remedy(all())
            }
            (Some(name), Some(Closest { problems, .. })) => {
                let what = format!("does not fit {name} in {} place(s)", problems.len());
                Error::new(Kind::Mismatch, what).remedy(WAY_OUT).list(problems)
            }
            (None, None) => unknown(format!(
                "no known one has names like {}, with or without a prefix that all names share",
                Shapes::views(self.checkpoint)[0].examples()
            ))
            .remedy(all()),
            (None, Some(Closest { arch, problems, in_head: true })) => {
                let n = problems.len();
                unknown(format!(
                    "it is {arch} but for its head, which is not understood: it differs in {n} place(s)"
                ))
                .remedy(match self.candidates.headless || problems.iter().any(is_statistics) {
                    true => WAY_OUT.to_string(),
                    false => format!("{WAY_OUT}; recomputing statistics needs no head"),
                })
                .list(problems)
            }
            (None, Some(Closest { arch, problems, .. })) => {
                let n = problems.len();
                unknown(format!("the closest, {arch}, differs in {n} place(s)"))
                    .remedy(all())
                    .list(problems)
            }
        }
    }
}

/// A network whose differences do not matter.
struct Judged {
    found: Found,
    headless: bool,
    /// Tensors that are not its, by their names in the file.
    kept: Vec<String>,
    /// Tensors outside its prefix that may be a copy's, or anything.
    unknown: Vec<String>,
}

/// Whether a name, or a problem that has one, is of a batchnorm layer's statistics.
fn is_statistics(name: impl AsRef<str>) -> bool {
    STATISTICS.iter().any(|end| name.as_ref().contains(end))
}

/// Whether a tensor is a counter, or has no values: no network does anything with it.
fn is_count(info: &TensorInfo) -> bool {
    let is_integer = matches!(info.dtype, Dtype::I64 | Dtype::I32);
    info.is_empty() || is_integer && info.len() == 1
}

/// Keeps the one with the fewest problems.
fn note(closest: &mut Option<Closest>, arch: &Arch, problems: Vec<String>, in_head: bool) {
    // Of two with as many, the one that says where.
    let is_better =
        |best: &Closest| (problems.len(), !in_head) < (best.problems.len(), !best.in_head);
    if closest.as_ref().is_none_or(is_better) {
        *closest = Some(Closest { arch: arch.name.clone(), problems, in_head });
    }
}
