//! Parts of models that only their names tell.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use crate::store::{self, names::base_name};
use crate::{Error, Result};

const RANKS: &str =
    "join the parts of each model with the library that wrote them, and average these files";

/// Names of files of which each holds a part of a model; no index says what belongs together. The first group is the number
/// of the part.
static PARTS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let known = [
        // torchtune before 0.5, part 1 of epoch 0: all epochs are in one folder.
        (
            r"^hf_model_([0-9]{4})_[0-9]+\.",
            "join the parts of each epoch (torch.load all, torch.save one dict of them) and average these files",
        ),
        // Llama and Mistral, model parallel.
        (r"^consolidated\.([0-9]{2})\.pth$", RANKS),
        // DeepSpeed and Megatron, tensor and pipeline parallel.
        (r"^mp_rank_([0-9]+)_model_states\.pt$", RANKS),
        (r"^layer_([0-9]+)-model_[0-9]+-model_states\.pt$", RANKS),
        // FSDP, a local state dict a process.
        (r"^(?:pytorch_)?model_fsdp_rank_?([0-9]+)\.(?:bin|pt|pth)$", RANKS),
        // verl.
        (r"^model_world_size_[0-9]+_rank_([0-9]+)\.pt$", RANKS),
        // vLLM's sharded state.
        (r"^model-rank-([0-9]+)-part-[0-9]+\.safetensors$", RANKS),
        // fairseq.
        (r"^checkpoint.*-(?:shard|model_part-)([0-9]+)\.pt$", RANKS),
        // PyTorch's checkpoints in Hugging Face's format, before they are consolidated.
        (
            r"^shard-([0-9]{5})-model-[0-9]+-of-[0-9]+\.safetensors$",
            "join the parts of each model (consolidate_safetensors_files of torch.distributed.checkpoint, or save with \
             enable_consolidation), and average the results",
        ),
    ];
    known.map(|(name, remedy)| (Regex::new(name).expect("a pattern"), remedy)).into()
});

/// A process's number in the name of its file, in the words of whichever trainer: `model_step1_rank0.pt`.
static RANK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)(?:^|[^a-z])rank[-_]?([0-9]+)").expect("a pattern"));

/// What parts of one model have in common.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Parts {
    /// One of those with known names.
    Known(usize),
    /// The name without the rank.
    OfRanks(String),
}

/// What a file is a part of by its name, and which part.
fn part(path: &Path) -> Option<(Parts, u32)> {
    let name = base_name(path);
    let number = |(kind, (known, _)): (usize, &(Regex, &str))| {
        Some((Parts::Known(kind), known.captures(&name)?[1].parse().ok()?))
    };
    let known = PARTS.iter().enumerate().find_map(number);
    known.or_else(|| {
        let found = RANK.captures(&name)?;
        let rank = found.get(1)?;
        // Of adapters and what is of low rank.
        let before = name[..found.get(0)?.start()].to_lowercase();
        let before = before.trim_end_matches(['-', '_', '.']);
        if before.ends_with("lora") || before.ends_with("low") {
            return None;
        }
        let rest = format!("{}*{}", &name[..rank.start()], &name[rank.end()..]);
        Some((Parts::OfRanks(rest), rank.as_str().parse().ok()?))
    })
}

/// Fails for parts of a model, named alone or with the others; of files of ranks under other names, where those of several
/// ranks are named. A model in one file has one part.
pub(in crate::select) fn refuse(paths: &[PathBuf]) -> Result<()> {
    // A folder may hold thousands of models in one part each.
    let mut listed: HashMap<Option<&Path>, Vec<(Parts, u32)>> = HashMap::new();
    let mut ranks: HashMap<(Option<&Path>, String), Vec<u32>> = HashMap::new();
    for path in paths {
        let Some((kind, number)) = part(path) else { continue };
        let parts: Vec<u32> = match &kind {
            Parts::Known(_) => {
                let all = match listed.entry(path.parent()) {
                    Entry::Occupied(all) => all.into_mut(),
                    Entry::Vacant(place) => {
                        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                        let all = store::list(folder.unwrap_or(Path::new(".")))?;
                        place.insert(all.iter().filter_map(|path| part(path)).collect())
                    }
                };
                let own = all.iter().filter(|(other, _)| *other == kind).map(|(_, n)| *n);
                own.chain([number]).collect()
            }
            Parts::OfRanks(rest) => {
                let named = ranks.entry((path.parent(), rest.clone())).or_default();
                named.push(number);
                // Ranks of processes begin with 0; those of adapters (LoRA) do not.
                match named.contains(&0) {
                    true => named.clone(),
                    false => vec![],
                }
            }
        };
        let n = parts.iter().collect::<HashSet<_>>().len();
        if n < 2 {
            continue;
        }
        let what =
            format!("is one of {n} parts of a model, and no index says which belong together");
        let remedy = match kind {
            Parts::Known(kind) => PARTS[kind].1.to_string(),
            Parts::OfRanks(_) => {
                format!("{RANKS}; where each rank saved the whole model, name those of one rank")
            }
        };
        return Err(Error::usage(what).at(path).remedy(remedy));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::select::tests::Runs;

    #[test]
    fn files_of_ranks_are_no_snapshots() {
        for [first, second] in [
            ["consolidated.00.pth", "consolidated.01.pth"],
            ["mp_rank_00_model_states.pt", "mp_rank_01_model_states.pt"],
            ["layer_00-model_00-model_states.pt", "layer_01-model_00-model_states.pt"],
            ["pytorch_model_fsdp_rank0.bin", "pytorch_model_fsdp_rank1.bin"],
            ["model_world_size_2_rank_0.pt", "model_world_size_2_rank_1.pt"],
            ["model-rank-0-part-0.safetensors", "model-rank-1-part-0.safetensors"],
            ["checkpoint3-shard0.pt", "checkpoint3-shard1.pt"],
            ["checkpoint_best-model_part-0.pt", "checkpoint_best-model_part-1.pt"],
            [
                "shard-00001-model-00001-of-00001.safetensors",
                "shard-00002-model-00001-of-00001.safetensors",
            ],
            ["model_step1_rank0.pt", "model_step1_rank1.pt"],
            ["model_rank0_step1.pt", "model_rank1_step1.pt"],
            ["rank_0.ckpt", "rank_1.ckpt"],
            ["model.rank0.pt", "model.rank1.pt"],
            ["ep1-ba10-rank0.pt", "ep1-ba10-rank1.pt"],
        ] {
            let runs =
                Runs::new(&[&format!("a/{first}"), &format!("a/{second}"), &format!("b/{first}")]);
            for argument in ["a", "a/*"] {
                let error = runs.fails(&[argument]);
                assert!(error.contains("is one of 2 parts of a model"), "{argument}: {error}");
            }
            // Of other names' ranks one may have the whole model.
            let alone = format!("a/{first}");
            match super::RANK.is_match(first)
                && super::PARTS.iter().all(|(known, _)| !known.is_match(first))
            {
                true => assert_eq!(runs.select(&[&alone]).len(), 1),
                false => assert!(runs.fails(&[&alone]).contains("is one of 2 parts of a model")),
            }
            // A model in one part.
            assert_eq!(runs.select(&["b"]).len(), 1, "{first}");
        }
        let runs = Runs::new(&["checkpoint3.pt", "checkpoint4.pt", "e_1-rank0.pt", "e_2-rank0.pt"]);
        assert_eq!(runs.select(&[""]).len(), 4);
        // Ranks of adapters, and words that end so.
        for files in [
            ["lora_rank8.pt", "lora_rank16.pt"],
            ["low_rank_0.pt", "low_rank_1.pt"],
            ["frank0.pt", "frank1.pt"],
        ] {
            assert_eq!(Runs::new(&files).select(&[""]).len(), 2);
        }
    }
}
