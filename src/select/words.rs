//! Words in the names of checkpoints.

/// Words before the number of an epoch or a step.
pub(super) const COUNTED: [&str; 10] =
    ["ep", "epoch", "epochs", "it", "iter", "iters", "iteration", "iterations", "step", "steps"];

/// Words that say no more than that it is a checkpoint, which one of a run, or how good.
const OTHERS: [&str; 23] = [
    "acc",
    "best",
    "checkpoint",
    "checkpoints",
    "chkpt",
    "ckpt",
    "ckpts",
    "end",
    "final",
    "global",
    "init",
    "initial",
    "last",
    "latest",
    "loss",
    "model",
    "net",
    "score",
    "snapshot",
    "state",
    "val",
    "valid",
    "weights",
];

/// The words of a name, in lower case, that tell one model from another; without digits, and without what numbers a version.
pub(super) fn telling(stem: &str) -> Vec<String> {
    let lower = stem.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    let tells = |word: &&str| !COUNTED.contains(word) && !OTHERS.contains(word) && *word != "v";
    words.filter(tells).map(str::to_string).collect()
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
    }
}
