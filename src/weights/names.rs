//! Names of tensors, without what wrappers put into them.

/// What `torch.compile`, FSDP and activation checkpointing put into names, wherever they wrap a module. Never
/// `model` or `net`: `model.layers…` beside `lm_head` is how LLaMA itself names its layers.
const ANYWHERE: [&str; 3] = ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// What DDP and `AveragedModel` put before the names of a whole model. Within a model it is a module's own name.
pub const IN_FRONT: &str = "module";

/// Counters that PyTorch's and MMEngine's averaged models keep beside the weights. They are not part of the model.
pub const COUNTERS: [&str; 2] = ["n_averaged", "steps"];

/// Whether all names have the wrappers' part in front, but for counters beside them: else it is a layer's own name.
pub fn are_in_front<'a>(mut names: impl Iterator<Item = &'a str>) -> bool {
    let is_in_front =
        |name: &str| stripped(name).any(|part| part == IN_FRONT) || COUNTERS.contains(&name);
    names.all(is_in_front)
}

/// A name without the wrappers' parts. The last part, the parameter's own, stays.
pub fn strip(name: &str) -> String {
    strip_of(name, true)
}

/// The same where it is known whether the part in front is a wrapper's.
pub fn strip_of(name: &str, in_front: bool) -> String {
    let (mut kept, mut is_front) = (vec![], in_front);
    let count = name.split('.').count();
    for (place, part) in name.split('.').enumerate() {
        let is_last = place + 1 == count;
        let is_wrapper = ANYWHERE.contains(&part) || is_front && part == IN_FRONT;
        if is_last || !is_wrapper {
            kept.push(part);
            is_front = false;
        }
    }
    kept.join(".")
}

/// Whether a name has a wrapper's part.
pub fn is_wrapped(name: &str) -> bool {
    stripped(name).next().is_some()
}

/// The wrappers' parts of a name.
pub fn stripped(name: &str) -> impl Iterator<Item = &'static str> {
    let (path, _) = name.rsplit_once('.').unwrap_or_default();
    let has_front = path.split('.').find(|part| !ANYWHERE.contains(part)) == Some(IN_FRONT);
    let found =
        ANYWHERE.into_iter().filter(move |wrapper| path.split('.').any(|part| part == *wrapper));
    has_front.then_some(IN_FRONT).into_iter().chain(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_go_and_names_of_models_stay() {
        let cases = [
            ("module.conv.weight", "conv.weight"),
            ("module._orig_mod.module.conv.weight", "conv.weight"),
            ("_fsdp_wrapped_module.a._fsdp_wrapped_module._checkpoint_wrapped_module.b.w", "a.b.w"),
            ("model.layers.0.w", "model.layers.0.w"),
            ("net.submodule.w", "net.submodule.w"),
            ("modules.w", "modules.w"),
            ("a.module", "a.module"),
            // PyTorch Geometric's norms, and whatever else is called so within a model.
            ("norms.0.module.weight", "norms.0.module.weight"),
            ("module.norms.0.module._orig_mod.weight", "norms.0.module.weight"),
            ("module", "module"),
            ("w", "w"),
        ];
        for (name, expected) in cases {
            assert_eq!(strip(name), expected);
            assert_eq!(is_wrapped(name), name != expected, "{name}");
        }
    }

    #[test]
    fn a_layer_of_the_models_own_keeps_its_name() {
        assert!(are_in_front(["module.fc.weight", "_orig_mod.module.b", "n_averaged"].into_iter()));
        assert!(!are_in_front(["module.fc.weight", "head.weight"].into_iter()));
        assert_eq!(strip_of("module.fc._orig_mod.weight", false), "module.fc.weight");
    }
}
