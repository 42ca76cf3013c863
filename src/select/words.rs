//! Words in the names of checkpoints, and what each says.

/// What a word of a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Stands before the number of an epoch or a step.
    Counted,
    /// A checkpoint of a run, whichever it is.
    Checkpoint,
    /// What a checkpoint holds.
    Model,
    /// Which one of a run it is, or how good.
    Place,
    /// The best one so far.
    Best,
    /// A mean of snapshots, as some trainers write one after each.
    Mean,
    /// An average of snapshots, in another word.
    Average,
    /// A moving average.
    MovingAverage,
    /// What a run began with.
    Beginning,
    /// The weights of another training.
    Pretrained,
    /// What is still being written.
    Temporary,
    /// Stands before a number that tells runs apart, each of which may be meant.
    Run,
    /// A version of the same file.
    Version,
}

use Meaning::*;

const MEANINGS: &[(Meaning, &[&str])] = &[
    (
        Counted,
        &[
            "ba",
            "batch",
            "batches",
            "ep",
            "epoch",
            "epochs",
            "it",
            "iter",
            "iters",
            "iteration",
            "iterations",
            "round",
            "rounds",
            "step",
            "steps",
            "update",
            "updates",
        ],
    ),
    (Checkpoint, &["checkpoint", "checkpoints", "chkpt", "ckpt", "ckpts", "global", "snapshot"]),
    (Model, &["model", "state", "weights"]),
    (
        Place,
        &["acc", "end", "final", "last", "latest", "loss", "net", "score", "top", "val", "valid"],
    ),
    (Best, &["best"]),
    (Mean, &["ave", "average", "averaged", "averages", "averaging", "avg"]),
    (Average, &["soup", "swa"]),
    (MovingAverage, &["ema"]),
    (Beginning, &["init", "initial"]),
    (Pretrained, &["pretrained"]),
    (Temporary, &["tmp"]),
    (Run, &["fold", "run", "seed", "trial", "try", "version"]),
    (Version, &["v"]),
];

/// The meaning of a word in lower case; None for one that tells a model.
fn meaning(word: &str) -> Option<Meaning> {
    let has = |(_, words): &&(Meaning, &[&str])| words.contains(&word);
    MEANINGS.iter().find(has).map(|(meaning, _)| *meaning)
}

/// The words of a name without digits, in lower case.
fn words(name: &str) -> Vec<String> {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    words.map(str::to_string).collect()
}

/// Whether a word of a name has one of these meanings.
fn says(name: &str, meanings: &[Meaning]) -> bool {
    words(name).iter().any(|word| meaning(word).is_some_and(|of| meanings.contains(&of)))
}

/// Whether a text is a word that stands before the number of an epoch or a step.
pub(super) fn is_count(text: &str) -> bool {
    meaning(text) == Some(Counted)
}

/// Whether a word of a name says what its number counts: epochs, steps, checkpoints.
pub(super) fn is_counted(name: &str) -> bool {
    says(name, &[Counted, Checkpoint])
}

/// Whether a word of a name is one for checkpoints, epochs or steps.
pub(super) fn is_checkpoints(name: &str) -> bool {
    says(name, &[Counted, Checkpoint, Model])
}

/// How many words a name has beside those: `best_auc_epoch_2` may be a copy of `epoch_2`.
pub(super) fn further(name: &str) -> usize {
    words(name).iter().filter(|word| !is_checkpoints(word)).count()
}

/// What is left of a name without digits, and without words and letters (`e3_b0`) for epochs and steps.
pub(super) fn without_counts(name: &str) -> String {
    let parts = name.split(|c: char| !c.is_alphanumeric());
    let parts = parts.map(|part| {
        let word = part.trim_matches(|c: char| c.is_ascii_digit());
        if word.len() == 1 && word.len() < part.len() { "" } else { word }
    });
    let kept: Vec<&str> = parts.filter(|part| !part.is_empty() && !is_count(part)).collect();
    kept.join("_")
}

/// A name without its digits; None if it has none.
pub(super) fn without_digits(name: &str) -> Option<String> {
    let rest = name.replace(|c: char| c.is_ascii_digit(), "");
    (rest.len() < name.len()).then_some(rest)
}

/// Whether a name says that it is an average of snapshots, or what the run began with. Of the best, words are those of a
/// measure.
pub(super) fn is_no_snapshot(name: &str) -> bool {
    let is_best = words(name).first().is_some_and(|word| meaning(word) == Some(Best));
    !is_best && says(name, &[Mean, Average, Beginning, Pretrained])
}

/// Whether a name says that it is a mean of snapshots, as trainers write one after each: `avg_10`.
pub(super) fn is_running_average(name: &str) -> bool {
    is_no_snapshot(name) && says(name, &[Mean])
}

/// Whether a name says that its weights are those of another training: a model to be averaged with may be.
pub(super) fn is_pretrained(name: &str) -> bool {
    says(name, &[Pretrained])
}

/// Whether a name says that it is a moving average, which some trainers write beside each snapshot.
pub(super) fn is_moving_average(name: &str) -> bool {
    says(name, &[MovingAverage])
}

/// Whether a name is one that trainers give to what they are writing, or keep in case that the run breaks off:
/// `tmp-checkpoint-500`, timm's `recovery-2-100`.
pub(super) fn is_temporary(name: &str) -> bool {
    let words = words(name);
    if words == ["recovery"] {
        return true;
    }
    let ends = [words.first(), words.last()];
    ends.into_iter().flatten().any(|word| meaning(word) == Some(Temporary))
}

/// Whether a name is that of the best one so far.
pub(super) fn is_best(name: &str) -> bool {
    says(name, &[Best])
}

/// Whether the last word of a text that tells anything is one whose number tells runs apart: the `seed` of `cutmix_seed3`.
pub(super) fn is_of_runs(text: &str) -> bool {
    telling(text).last().is_some_and(|word| meaning(word) == Some(Run))
}

/// The words of a name, in lower case, that tell one model from another; without digits, and without what numbers a version.
pub(super) fn telling(name: &str) -> Vec<String> {
    let tells = |word: &String| match meaning(word) {
        None | Some(Mean | Average | MovingAverage | Pretrained | Temporary | Run) => true,
        Some(Counted | Checkpoint | Model | Place | Best | Beginning | Version) => false,
    };
    words(name).into_iter().filter(tells).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_models_from_places_in_a_run() {
        assert_eq!(telling("student_epoch_3"), ["student"]);
        assert_eq!(telling("Model_best-v2"), [""; 0]);
        assert_eq!(telling("t5_de-step=9"), ["t", "de"]);
        assert_eq!(telling("iter_80000"), [""; 0]);
        assert_eq!((further("best_auc_epoch_2"), further("epoch_2")), (2, 0));
        assert_eq!(without_counts("epoch_3_optimizer"), "optimizer");
        assert_eq!(without_counts("random_states_0"), "random_states");
        assert_eq!(without_counts("training_state_e1_b0"), "training_state");
        assert_eq!(without_counts("opt-a25m"), "opt_a25m");
        assert!(is_of_runs("cutmix_seed") && is_of_runs("fold_model_") && !is_of_runs("seed_de_"));
    }

    #[test]
    fn each_word_has_one_meaning() {
        let mut all: Vec<&str> =
            MEANINGS.iter().flat_map(|(_, words)| words.iter().copied()).collect();
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
