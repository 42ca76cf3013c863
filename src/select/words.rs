//! Words in the names of checkpoints.

/// Words before the number of an epoch or a step.
pub(super) const COUNTED: [&str; 17] = [
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
];

/// Words for a checkpoint.
const CHECKPOINT: [&str; 10] = [
    "checkpoint",
    "checkpoints",
    "chkpt",
    "ckpt",
    "ckpts",
    "global",
    "model",
    "snapshot",
    "state",
    "weights",
];

/// Words that say which one of a run it is, or how good.
const OTHERS: [&str; 13] = [
    "acc", "best", "end", "final", "init", "initial", "last", "latest", "loss", "net", "score",
    "val", "valid",
];

/// Words for what is no snapshot of a run: an average of some, and what it began with.
const NO_SNAPSHOT: [&str; 11] = [
    "ave",
    "average",
    "averaged",
    "averages",
    "averaging",
    "avg",
    "init",
    "initial",
    "pretrained",
    "soup",
    "swa",
];

/// The words of a name without digits, in lower case.
fn words(stem: &str) -> Vec<String> {
    let lower = stem.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    words.map(str::to_string).collect()
}

fn is_usual(word: &str) -> bool {
    COUNTED.contains(&word) || CHECKPOINT.contains(&word)
}

/// Whether a word of a name says what its number counts: epochs, steps, checkpoints.
pub(super) fn is_counted(stem: &str) -> bool {
    let is_one = |word: &String| {
        let is_model = matches!(&**word, "model" | "state" | "weights");
        is_usual(word) && !is_model
    };
    words(stem).iter().any(is_one)
}

/// Whether a word of a name is one for checkpoints, epochs or steps.
pub(super) fn is_checkpoints(stem: &str) -> bool {
    words(stem).iter().any(|word| is_usual(word))
}

/// How many words a name has beside those: `best_auc_epoch_2` may be a copy of `epoch_2`.
pub(super) fn further(stem: &str) -> usize {
    words(stem).iter().filter(|word| !is_usual(word)).count()
}

/// What is left of a name without digits, and without words and letters (`e3_b0`) for epochs and steps.
pub(super) fn without_counts(stem: &str) -> String {
    let parts = stem.split(|c: char| !c.is_alphanumeric());
    let parts = parts.map(|part| {
        let word = part.trim_matches(|c: char| c.is_ascii_digit());
        if word.len() == 1 && word.len() < part.len() { "" } else { word }
    });
    let kept: Vec<&str> =
        parts.filter(|part| !part.is_empty() && !COUNTED.contains(part)).collect();
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
    let words = words(name);
    let is_best = words.first().is_some_and(|word| word == "best");
    !is_best && words.iter().any(|word| NO_SNAPSHOT.contains(&&**word))
}

/// Whether a name says that it is a mean of snapshots, as trainers write one after each: `avg_10`.
pub(super) fn is_running_average(name: &str) -> bool {
    let is_mean = |word: &String| word.starts_with("ave") || word == "avg";
    is_no_snapshot(name) && words(name).iter().any(is_mean)
}

/// Whether a name says that its weights are those of another training: a model to be averaged with may be.
pub(super) fn is_pretrained(name: &str) -> bool {
    words(name).iter().any(|word| word == "pretrained")
}

/// Whether a name says that it is a moving average, which some trainers write beside each snapshot.
pub(super) fn is_moving_average(name: &str) -> bool {
    words(name).iter().any(|word| word == "ema")
}

/// Whether a name is one that trainers give to what they are writing: `tmp-checkpoint-500`.
pub(super) fn is_temporary(name: &str) -> bool {
    let words = words(name);
    [words.first(), words.last()].into_iter().flatten().any(|word| word == "tmp")
}

/// Whether a name is that of the best one so far.
pub(super) fn is_best(stem: &str) -> bool {
    words(stem).iter().any(|word| word == "best")
}

/// The words of a name, in lower case, that tell one model from another; without digits, and without what numbers a version.
pub(super) fn telling(stem: &str) -> Vec<String> {
    let tells = |word: &String| !is_usual(word) && !OTHERS.contains(&&**word) && word != "v";
    words(stem).into_iter().filter(tells).collect()
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
    }
}
