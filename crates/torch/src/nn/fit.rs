//! Which tensors of a checkpoint are a program's: by their names, whatever all of them begin with on either side, and by
//! their shapes.

use std::collections::BTreeMap;

use super::shapes::{Shapes, common_prefixes};
use swa_base::{Error, Kind, setting};
use swa_tools::checkpoint::{Checkpoint, TensorInfo};
use swa_tools::programs::{Named, Program};

/// The end of the name of a counter of batches, which files of before PyTorch 0.4.1 lack and no program reads.
const COUNTER: &str = ".num_batches_tracked";

/// How many beginnings of a checkpoint's names are tried.
const MOST_PREFIXES: usize = 32;

/// Names that an error shows.
const SHOWN: usize = 3;

/// A program's tensors in a checkpoint, or what is wrong with them.
#[derive(Debug)]
pub(crate) struct Fit<'a> {
    program: &'a Program,
    checkpoint: &'a Checkpoint,
    renaming: Renaming,
    /// By the program's names, those of tied tensors included.
    found: BTreeMap<&'a str, &'a TensorInfo>,
    /// Tensors that the program needs.
    needed: usize,
    /// Those of them that the checkpoint does not have, by the program's names.
    missing: Vec<&'a str>,
    /// Those that have another shape: the checkpoint's name, its shape and the program's.
    reshaped: Vec<(&'a TensorInfo, &'a [usize])>,
}

/// From a name of the program to one of the checkpoint: `taken` is taken off, `prefix` goes before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Renaming {
    prefix: String,
    taken: String,
}

impl Renaming {
    fn of(&self, name: &str) -> Option<String> {
        Some(format!("{}{}", self.prefix, name.strip_prefix(&self.taken)?))
    }
}

impl<'a> Fit<'a> {
    /// The names that fit best; with `network`, of those below it.
    ///
    /// # Errors
    /// `Mismatch` if the checkpoint has the program's tensors more than once, and none of them under the program's own
    /// names.
    pub fn of(
        program: &'a Program,
        checkpoint: &'a Checkpoint,
        network: Option<&str>,
    ) -> swa_base::Result<Self> {
        let groups = Groups::of(program.tensors());
        let mut all = renamings(&groups, program, checkpoint);
        if let Some(network) = network {
            let wanted = format!("{}.", network.trim_end_matches('.'));
            all.retain(|renaming| renaming.prefix == wanted);
            if all.is_empty() {
                let what = format!("the program's tensors are not below `{wanted}`");
                return Err(Error::new(Kind::Mismatch, what).at(checkpoint.path()).remedy(
                    concat!(
                        "give the part before the network's own names with ",
                        setting!("network")
                    ),
                ));
            }
        }
        let fits = all.into_iter().map(|renaming| groups.fit(program, checkpoint, renaming));
        let mut best: Option<Fit> = None;
        let mut others: Vec<String> = vec![];
        for fit in fits {
            let better = best.as_ref().is_none_or(|best| fit.problems() < best.problems());
            if better {
                best = Some(fit);
                others.clear();
            } else if fit.is_perfect() {
                others.push(fit.renaming.prefix);
            }
        }
        let best = best.expect("the names as they are were tried");
        let Renaming { prefix, taken } = &best.renaming;
        if best.is_perfect() && prefix != taken && !others.is_empty() {
            let all: Vec<String> =
                std::iter::once(prefix).chain(&others).map(|p| format!("`{p}`")).collect();
            let what =
                format!("has the program's tensors more than once, below {}", all.join(", "));
            let module = prefix.trim_end_matches('.');
            return Err(Error::new(Kind::Mismatch, what).at(checkpoint.path()).remedy(format!(
                "say which is meant, such as {} {module}, or export a module that has the network as its `{module}`",
                setting!("network")
            )));
        }
        Ok(best)
    }

    /// Whether the checkpoint has all that the program needs.
    pub fn is_perfect(&self) -> bool {
        self.problems() == 0
    }

    /// How many tensors are missing or have another shape.
    pub fn problems(&self) -> usize {
        self.missing.len() + self.reshaped.len()
    }

    /// How many tensors the program and the checkpoint have in common.
    pub fn in_common(&self) -> usize {
        self.found.len()
    }

    /// The checkpoint's tensors under the program's names, for its constructor.
    pub fn shapes(&self) -> Shapes<'a> {
        let Renaming { prefix, taken } = self.renaming.clone();
        Shapes::renamed(prefix, taken, self.found.clone())
    }

    /// The checkpoint's tensors that are not the program's, by their own names.
    pub fn surplus(&self) -> Vec<String> {
        let own: std::collections::HashSet<&str> =
            self.found.values().map(|info| info.name.as_str()).collect();
        let is_counter_of_own = |name: &str| {
            let layer = name.strip_suffix(COUNTER);
            layer.is_some_and(|layer| own.contains(format!("{layer}.running_mean").as_str()))
        };
        let all = self.checkpoint.tensors().iter().enumerate();
        all.filter(|(i, _)| !self.checkpoint.is_counter(*i))
            .map(|(_, info)| info.name.as_str())
            .filter(|name| !own.contains(name) && !is_counter_of_own(name))
            .map(String::from)
            .collect()
    }

    /// Why the program does not run this checkpoint.
    pub fn refusal(&self) -> Error {
        let (missing, needed) = (self.missing.len(), self.needed);
        let program = self.program.path().display();
        let remedy = format!(
            "give a checkpoint of the network that `{program}` was exported from, or export that of this one"
        );
        let error = match (missing, &self.reshaped[..]) {
            (0, [(info, expected)]) => {
                let found = &info.shape;
                let what = format!("{found:?} in the checkpoint, {expected:?} in the program");
                return Error::new(Kind::Mismatch, what)
                    .at(self.checkpoint.path())
                    .tensor(&info.name)
                    .remedy(remedy);
            }
            (0, reshaped) => {
                let n = reshaped.len();
                let what = format!("{n} tensors have other shapes in the program `{program}`");
                Error::new(Kind::Mismatch, what)
            }
            (_, reshaped) => {
                let mut names: Vec<String> =
                    self.missing.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
                if missing > SHOWN {
                    names.push("…".into());
                }
                let names = names.join(", ");
                let also = match reshaped.len() {
                    0 => String::new(),
                    n => format!(", and {n} have other shapes"),
                };
                Error::new(
                    Kind::Mismatch,
                    format!(
                        "does not have {missing} of the program's {needed} tensors: {names}{also}"
                    ),
                )
            }
        };
        let line = |(info, expected): &(&TensorInfo, &[usize])| {
            let TensorInfo { name, shape, .. } = info;
            format!("`{name}`: {shape:?} in the checkpoint, {expected:?} in the program")
        };
        let list = self.reshaped.iter().map(line).collect();
        error.at(self.checkpoint.path()).remedy(remedy).list(list)
    }
}

/// A program's tensors, those that are the same values together.
struct Groups<'a> {
    /// The first has the shape.
    tensors: Vec<Vec<&'a Named>>,
}

impl<'a> Groups<'a> {
    fn of(tensors: &'a [Named]) -> Self {
        let mut by_first: BTreeMap<usize, Vec<&Named>> = BTreeMap::new();
        for (i, tensor) in tensors.iter().enumerate() {
            by_first.entry(tensor.alias_of.unwrap_or(i)).or_default().push(tensor);
        }
        Groups { tensors: by_first.into_values().collect() }
    }

    /// Those that a checkpoint must have.
    fn needed(&self) -> impl Iterator<Item = &Vec<&'a Named>> {
        let is_used = |group: &&Vec<&Named>| group.iter().any(|tensor| tensor.slot.is_some());
        self.tensors.iter().filter(is_used).filter(|group| !group[0].name.ends_with(COUNTER))
    }

    fn fit(&self, program: &'a Program, checkpoint: &'a Checkpoint, renaming: Renaming) -> Fit<'a> {
        let get = |tensor: &&Named| checkpoint.get(&renaming.of(&tensor.name)?);
        let mut found: BTreeMap<&str, &TensorInfo> = BTreeMap::new();
        for group in &self.tensors {
            let any = group.iter().find_map(get);
            let own = group.iter().filter_map(|t| Some((t.name.as_str(), get(t).or(any)?)));
            found.extend(own);
        }
        let (mut needed, mut missing, mut reshaped) = (0, vec![], vec![]);
        for group in self.needed() {
            needed += 1;
            match found.get(group[0].name.as_str()) {
                None => missing.push(group[0].name.as_str()),
                Some(info) if info.shape != group[0].shape => {
                    reshaped.push((*info, &group[0].shape[..]));
                }
                Some(_) => {}
            }
        }
        Fit { program, checkpoint, renaming, found, needed, missing, reshaped }
    }
}

/// The renamings that are tried, the names as they are first, then the shortest prefixes.
fn renamings(groups: &Groups, program: &Program, checkpoint: &Checkpoint) -> Vec<Renaming> {
    let names = || program.tensors().iter().map(|tensor| tensor.name.as_str());
    let needed: Vec<&str> = groups.needed().map(|group| group[0].name.as_str()).collect();
    let probes = [needed.first(), needed.get(needed.len() / 2), needed.last()];
    let mut found = vec![Renaming::default()];
    let mut others = vec![];
    for taken in common_prefixes(names()) {
        let mut add = |prefix: &str| {
            // `x.model.` for `model.` is `x.` for nothing.
            if taken.is_empty() || !prefix.ends_with(taken) {
                others.push(Renaming { prefix: prefix.to_string(), taken: taken.to_string() });
            }
        };
        for probe in probes.iter().flatten().filter_map(|probe| probe.strip_prefix(taken)) {
            for tensor in checkpoint.tensors() {
                let before = tensor.name.strip_suffix(probe);
                if let Some(before) = before.filter(|b| b.is_empty() || b.ends_with('.')) {
                    add(before);
                }
            }
        }
    }
    others.sort_by_key(|renaming| (renaming.prefix.len() + renaming.taken.len(), renaming.clone()));
    others.dedup();
    others.retain(|renaming| *renaming != found[0]);
    others.truncate(MOST_PREFIXES);
    found.extend(others);
    found
}
