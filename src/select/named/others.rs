//! What trainers keep beside the snapshots: other states, unfinished saves, averages, what the run began with.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::extension;
use crate::select::words::{
    is_moving_average, is_no_snapshot, is_pretrained, is_running_average, is_temporary,
    without_counts, without_digits,
};
use crate::store;
use crate::store::names::{base_name, natural};

/// Whether a file is something else that trainers keep beside the weights: the state of an optimizer, a schedule, a
/// random generator, numbered or not.
pub(super) fn is_other_state(name: &str) -> bool {
    const NAMES: [&str; 21] = [
        "distrib_optim",
        "extra_state_world_size_rank",
        "grad_scaler",
        "lr_scheduler",
        "optim",
        "optim_world_size_rank",
        "optimizer",
        "optimizer_state",
        "optimizer_states",
        "random_state",
        "random_states",
        "recipe_state",
        "rng",
        "rng_state",
        "rng_states",
        "scaler",
        "scheduler",
        "scheduler_state",
        "trainer_state",
        "training_args",
        "training_state",
    ];
    let lower = name.to_ascii_lowercase();
    let stem = lower.split('.').next().unwrap_or_default();
    // Guided diffusion's optimizers.
    let is_opt = |number: &str| number.len() > 5 && number.bytes().all(|b| b.is_ascii_digit());
    NAMES.contains(&&*without_counts(stem))
        || stem.strip_prefix("opt").is_some_and(is_opt)
        || lower.starts_with("rng_state")
        || lower.ends_with("optim_states.pt")
        // Marian's optimizer.
        || lower.ends_with(".optimizer.npz")
}

/// What a folder or a pattern holds that is none of its snapshots, by its name.
#[derive(Debug, Default)]
pub(super) struct SetAside {
    /// What a trainer was writing when it was stopped.
    pub unfinished: Vec<PathBuf>,
    /// Averages, and what the run began with.
    pub no_snapshots: Vec<PathBuf>,
}

/// Takes out of what a folder or a pattern names what stands beside the snapshots. Where nothing else is there, that is
/// what is meant, and so it is where the pattern has the word for it. `is_growing`: the others may be still to come.
pub(super) fn set_aside(
    found: &mut Vec<(PathBuf, Vec<PathBuf>)>,
    pattern: Option<&PathBuf>,
    is_growing: bool,
) -> SetAside {
    let all: Vec<PathBuf> = found.iter().flat_map(|(_, own)| own).cloned().collect();
    let names: Vec<String> = all.iter().map(|path| name(path)).collect();
    let is_numbered = |i: usize| without_digits(&names[i]).is_some();
    let kinds: Vec<String> =
        names.iter().map(|name| without_digits(name).unwrap_or_else(|| name.clone())).collect();
    let count = |counts: &dyn Fn(usize) -> bool| {
        let mut kinds_of: HashMap<_, usize> = HashMap::new();
        for i in (0..all.len()).filter(|&i| counts(i)) {
            *kinds_of.entry((all[i].parent(), &kinds[i])).or_default() += 1;
        }
        kinds_of
    };
    let of_kind = count(&|_| true);
    let is_alone = |i: usize| of_kind[&(all[i].parent(), &kinds[i])] == 1;
    // Moving averages of every snapshot are a second model, and several numbered by `swa` may be a cycle's snapshots.
    let is_other = |i: usize| {
        let is_one = is_no_snapshot(&names[i]) || is_moving_average(&names[i]);
        is_running_average(&names[i]) || is_one && is_alone(i)
    };
    // In these folders there are others, and snapshots that a number tells apart.
    let whole = (0..all.len()).filter(|&i| !is_temporary(&names[i]));
    let whole: HashSet<_> = whole.map(|i| all[i].parent()).collect();
    let series = count(&|i| is_numbered(i) && !is_temporary(&names[i]) && !is_other(i));
    let series: HashSet<_> =
        series.into_iter().filter(|(_, n)| *n > 1).map(|((folder, _), _)| folder).collect();
    // Random weights and averages are of no use beside one checkpoint either; of two models either may be meant.
    let plain = (0..all.len()).filter(|&i| !is_temporary(&names[i]) && !is_other(i));
    let plain: HashSet<_> = plain.map(|i| all[i].parent()).collect();
    let called = pattern.map(|pattern| name(pattern)).unwrap_or_default();
    let mut aside = SetAside::default();
    for (i, path) in all.iter().enumerate() {
        let folder = path.parent();
        if is_temporary(&names[i]) {
            if !is_temporary(&called) && (is_growing || whole.contains(&folder)) {
                aside.unfinished.push(path.clone());
            }
            continue;
        }
        let is_meant = is_no_snapshot(&called) || is_moving_average(&called);
        let is_beside = series.contains(&folder)
            || plain.contains(&folder) && !is_pretrained(&names[i])
            || is_growing && !is_numbered(i);
        if is_other(i) && !is_meant && is_beside {
            aside.no_snapshots.push(path.clone());
        }
    }
    // And other names of these: `final.pt`, a link to `avg_10.pt`. An average of one snapshot is a link to that.
    let identity = |path: &PathBuf| store::of(path).identity(path);
    let mut same: HashSet<_> = aside.no_snapshots.iter().filter_map(identity).collect();
    if !same.is_empty() {
        let snapshots = (0..all.len()).filter(|&i| is_numbered(i) && !is_other(i));
        for own in snapshots.filter_map(|i| identity(&all[i])) {
            same.remove(&own);
        }
        let is_same = |path: &&PathBuf| identity(path).is_some_and(|own| same.contains(&own));
        let links = all.iter().filter(is_same).filter(|path| !aside.no_snapshots.contains(path));
        let links: Vec<PathBuf> = links.cloned().collect();
        aside.no_snapshots.extend(links);
    }
    for paths in [&mut aside.no_snapshots, &mut aside.unfinished] {
        paths.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
    }
    let gone: HashSet<&PathBuf> = aside.unfinished.iter().chain(&aside.no_snapshots).collect();
    found.iter_mut().for_each(|(_, own)| own.retain(|path| !gone.contains(path)));
    found.retain(|(_, own)| !own.is_empty());
    aside
}

/// A name without the ending of a checkpoint: the `.ave` of `valid.acc.ave.pth` is none.
fn name(path: &Path) -> String {
    let name = base_name(path);
    let known = extension(path).map_or(0, |ending| ending.len() + 1);
    name[..name.len() - known].to_string()
}

#[cfg(test)]
mod tests {
    use crate::select::tests::Runs;

    #[test]
    fn what_trainers_keep_beside_the_weights_is_passed_over() {
        let runs = Runs::new(&[
            "epoch_1.pt",
            "epoch_2.pt",
            "optimizer_1.pt",
            "optim.pth",
            "optimizer-2.pt",
            "Scheduler.pth",
            "rng_state_0.pth",
            "recipe_state.pt",
            "random_states_0.pkl",
            "training_args.bin",
            "training_state_e1_b0.th",
            "config.json",
        ]);
        assert_eq!(runs.select(&[""]), ["epoch_1.pt", "epoch_2.pt"]);
        // Whoever names one means it; and names that only begin so are checkpoints.
        assert_eq!(runs.select(&["optim.pth"]), ["optim.pth"]);
        let runs = Runs::new(&["optimized_1.pt", "scheduler_free_1.pt", "scaled_1.pt"]);
        assert_eq!(runs.select(&[""]).len(), 3);
    }

    #[test]
    fn averages_and_beginnings_are_no_snapshots() {
        let snapshots = ["e_1.pt", "e_2.pt"];
        for other in ["swa.pt", "avg_2.pt", "x.ave.pt", "init.pt", "model_ema.pt", "tmp.pt"] {
            let runs = Runs::new(&[snapshots[0], snapshots[1], other]);
            assert_eq!(runs.select(&[""]), snapshots, "{other}");
            assert_eq!(runs.select(&["*"]), snapshots, "{other}");
            // Named, it is meant.
            assert_eq!(runs.select(&["e_1.pt", other]).len(), 2, "{other}");
            assert_eq!(runs.select(&[&format!("{}*", &other[..3])]), [other]);
        }
        // Where nothing else is there, or no run.
        for all in
            [["swa_1.pt", "swa_2.pt"], ["init.pt", "pretrained.pt"], ["a.pt", "pretrained.pt"]]
        {
            assert_eq!(Runs::new(&all).select(&[""]), all);
        }
        // A run without numbers, and one that has only begun.
        for other in ["init.pt", "swa.pt", "avg_1.pt", "swa_1.pt"] {
            for own in ["last.pt", "epoch_1.pt"] {
                assert_eq!(Runs::new(&[own, other]).select(&[""]), [own], "{other}");
            }
        }
        // The snapshots of a cycle, which are what is to be averaged; and the best by a measure.
        let all = ["e_1.pt", "e_2.pt", "swa_3.pt", "swa_4.pt"];
        assert_eq!(Runs::new(&all).select(&[""]).len(), 4);
        let all = ["best_avg_dice.pt", "e_1.pt", "e_2.pt"];
        assert_eq!(Runs::new(&all).select(&[""]).len(), 3);
        let runs = Runs::new(&["tmp_1.pt", "tmp_2.pt"]);
        assert_eq!(runs.select(&[""]).len(), 2);
    }
}
