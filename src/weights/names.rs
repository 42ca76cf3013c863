//! Names of tensors, without what wrappers put into them.

/// What DDP and `AveragedModel`, `torch.compile`, FSDP and activation checkpointing put into names. Never
/// `model` or `net`: `model.layers…` beside `lm_head` is how LLaMA itself names its layers.
pub const WRAPPERS: [&str; 4] =
    ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// Counters that PyTorch's and MMEngine's averaged models keep beside the weights. They are not part of the model.
pub const COUNTERS: [&str; 2] = ["n_averaged", "steps"];

/// A name without the wrappers' parts, wherever and however often they occur. The last part, the parameter's own,
/// stays.
pub fn strip(name: &str) -> String {
    let Some((path, last)) = name.rsplit_once('.') else { return name.to_string() };
    let parts = path.split('.').filter(|part| !WRAPPERS.contains(part)).chain([last]);
    parts.collect::<Vec<_>>().join(".")
}

/// Whether a name has a wrapper's part.
pub fn is_wrapped(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(path, _)| path.split('.').any(|part| WRAPPERS.contains(&part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_go_wherever_they_stand_and_names_of_models_stay() {
        let cases = [
            ("module.conv.weight", "conv.weight"),
            ("module._orig_mod.module.conv.weight", "conv.weight"),
            ("_fsdp_wrapped_module.a._fsdp_wrapped_module._checkpoint_wrapped_module.b.w", "a.b.w"),
            ("model.layers.0.w", "model.layers.0.w"),
            ("net.submodule.w", "net.submodule.w"),
            ("modules.w", "modules.w"),
            ("a.module", "a.module"),
            ("w", "w"),
        ];
        for (name, expected) in cases {
            assert_eq!(strip(name), expected);
            assert_eq!(is_wrapped(name), name != expected, "{name}");
        }
    }
}
