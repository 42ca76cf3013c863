//! Batch normalisation as programs spell it: as written in the model, decomposed, and by older names. All have their arguments
//! by the same names, and y is the first result.

use super::arguments::Reason;
use super::graph::{Argument, BatchNorm};

/// Whether a form normalises by the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Training {
    /// As its argument `training` says.
    Said,
    Always,
    Never,
}

/// Name, overload.
const FORMS: [(&str, &str, Training); 12] = [
    ("batch_norm", "default", Training::Said),
    ("_batch_norm_impl_index", "default", Training::Said),
    ("_batch_norm_no_update", "default", Training::Never),
    ("_batch_norm_with_update", "default", Training::Always),
    ("_batch_norm_with_update_functional", "default", Training::Always),
    ("_native_batch_norm_legit", "default", Training::Said),
    ("_native_batch_norm_legit", "no_stats", Training::Said),
    ("_native_batch_norm_legit_functional", "default", Training::Said),
    ("_native_batch_norm_legit_no_training", "default", Training::Never),
    ("cudnn_batch_norm", "default", Training::Said),
    ("miopen_batch_norm", "default", Training::Said),
    ("native_batch_norm", "default", Training::Said),
];

pub fn is_one(name: &str, overload: &str) -> bool {
    FORMS.iter().any(|(form, own, _)| *form == name && *own == overload)
}

/// The arguments of a node of one of the forms. Whether x depends on the image is not known here.
pub fn of(name: &str, overload: &str, inputs: &[(String, Argument)]) -> Reason<BatchNorm> {
    let form = FORMS.iter().find(|(form, own, _)| *form == name && *own == overload);
    let &(.., training) = form.expect("the caller asked");
    let get = |name: &str| inputs.iter().find(|(own, _)| own == name).map(|(_, value)| value);
    let tensor = |name: &str| match get(name) {
        None | Some(Argument::None) => Ok(None),
        Some(Argument::Slot(slot)) => Ok(Some(*slot)),
        Some(_) => Err(format!("its argument `{name}` is no tensor")),
    };
    let running = match (tensor("running_mean")?, tensor("running_var")?) {
        (Some(mean), Some(var)) => Some([mean, var]),
        (None, None) => None,
        _ => return Err("it has only one of `running_mean` and `running_var`".into()),
    };
    let eps = match get("eps").or_else(|| get("epsilon")) {
        Some(Argument::Float(eps)) => *eps,
        Some(Argument::Int(eps)) => *eps as f64,
        _ => return Err("its argument `eps` is no number".into()),
    };
    let training = match (training, get("training")) {
        (Training::Always, _) => true,
        (Training::Never, _) => false,
        (Training::Said, Some(Argument::Bool(training))) => *training,
        (Training::Said, _) => return Err("its argument `training` is no truth value".into()),
    };
    Ok(BatchNorm {
        input: tensor("input")?.ok_or("it lacks its argument `input`")?,
        weight: tensor("weight")?,
        bias: tensor("bias")?,
        running,
        eps,
        training: training || running.is_none(),
        depends_on_image: false,
    })
}
