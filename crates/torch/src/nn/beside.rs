//! What lies beside a network in a checkpoint, told by names: losses, metrics, averages and copies of the network, and
//! what profilers leave.

/// Components of names that are never of the network itself.
const BESIDE: &[&str] = &[
    // losses
    "criterion",
    "criterions",
    "criteria",
    "loss",
    "losses",
    "lossfn",
    "lossfunc",
    "lossfunction",
    "classweight",
    "classweights",
    "posweight",
    "lossweights",
    // metrics
    "metric",
    "metrics",
    "acc",
    "accuracy",
    "auroc",
    "auc",
    "f1",
    "f1score",
    "precision",
    "recall",
    "confmat",
    "confusionmatrix",
    "iou",
    "map",
    // what contrastive training keeps
    "queue",
    "queueptr",
    "memorybank",
];

/// Components of names of a copy of the network, beside the one that is trained.
const COPIES: &[&str] = &[
    "teacher",
    "ema",
    "emamodel",
    "modelema",
    "emanet",
    "netema",
    "emaencoder",
    "shadow",
    "averaged",
    "averagedmodel",
    "averagemodel",
    "swamodel",
    "momentumencoder",
    "momentummodel",
    "encoderm",
    "modelm",
    "encoderk",
    "keyencoder",
    "target",
    "targetencoder",
    "targetnetwork",
    "targetnet",
    "targetmodel",
    "oldmodel",
    "previousmodel",
];

/// What thop's counting leaves in every module.
const LITTER: [&str; 2] = ["total_ops", "total_params"];

/// Names of the mean and the deviation by which a network normalises its images itself.
const NORMS: &[&str] = &[
    "mean",
    "std",
    "mu",
    "sigma",
    "pixelmean",
    "pixelstd",
    "newmean",
    "newstd",
    "imagemean",
    "imagestd",
    "normmean",
    "normstd",
    "inputmean",
    "inputstd",
];

fn plain(component: &str) -> String {
    component.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether a component is one of these words, or ends with a loss's or a metric's.
fn is_one(component: &str, words: &[&str], ends: &[&str]) -> bool {
    let lower = component.to_lowercase();
    let word = plain(component);
    let bare = word.trim_end_matches(|c: char| c.is_ascii_digit());
    words.contains(&&word[..])
        || words.contains(&bare)
        || ends.iter().any(|end| lower.ends_with(end))
}

/// Whether a tensor belongs to a loss, a metric, or a copy of the network.
pub(super) fn is_beside(name: &str) -> bool {
    const ENDS: [&str; 14] = [
        "_loss",
        "_criterion",
        "_metric",
        "_metrics",
        "_acc",
        "_accuracy",
        "_f1",
        "_f1_score",
        "_auroc",
        "_auc",
        "_precision",
        "_recall",
        "_iou",
        "_confmat",
    ];
    const STARTS: [&str; 3] = ["loss_", "criterion_", "metric_"];
    let starts = |part: &str| STARTS.iter().any(|start| part.to_lowercase().starts_with(start));
    let mut parts = name.split('.');
    is_litter(name)
        || is_copy(name)
        || parts.any(|part| starts(part) || is_one(part, BESIDE, &ENDS))
}

/// Whether a tensor, or all below a module, belongs to a copy of the network.
pub(super) fn is_copy(name: &str) -> bool {
    name.split('.').any(|part| is_one(part, COPIES, &["_ema", "_teacher", "_momentum"]))
}

/// Whether a profiler left it: it means nothing, wherever it lies.
pub(super) fn is_litter(name: &str) -> bool {
    LITTER.contains(&name.rsplit('.').next().unwrap_or(name))
}

/// Whether it is a mean or a deviation of colours, by which the network may normalise its images itself.
pub(super) fn is_norm(name: &str, shape: &[usize]) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    matches!(shape.iter().product(), 1 | 3) && NORMS.contains(&&plain(last)[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_is_beside_the_network() {
        for name in [
            "criterion.weight",
            "loss_fn.pos_weight",
            "focal_loss.alpha",
            "model.train_acc.total",
            "val_metrics.f1_score.tp",
            "ema_model.module.conv1.weight",
            "model_ema.decay",
            "teacher.layer1.0.bn1.running_mean",
            "metrics2.total",
            "layer1.0.total_ops",
            "class_weights",
            "queue_ptr",
            "valid_f1.tp",
            "loss_contrastive.weight",
        ] {
            assert!(is_beside(name), "{name}");
        }
        for name in [
            "fc.weight",
            "layer5.0.conv1.weight",
            "se.fc1.weight",
            "normalize.mean",
            "mapper.weight",
            "gem.p",
        ] {
            assert!(!is_beside(name), "{name}");
        }
        assert!(is_copy("teacher.fc.weight") && !is_copy("criterion.weight"));
        assert!(is_norm("normalize.mean", &[1, 3, 1, 1]) && !is_norm("bn.mean", &[64]));
    }
}
