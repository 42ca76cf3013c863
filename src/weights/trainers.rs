//! What the trainers write: the usual keys of trained and averaged weights, and the exceptions.

use std::collections::HashSet;
use std::rc::Rc;

use super::Shared;
use super::tree::Node;

/// Keys under which trainers keep the weights they train.
pub const RAW: [&str; 8] = [
    "state_dict",
    "model_state_dict",
    "model",
    "model_state",
    "net",
    "module",
    // BasicSR and DINO.
    "params",
    "student",
];

/// Keys under which they keep a moving average (EMA) or stochastic weight average of them.
pub const AVERAGED: [&str; 17] = [
    "ema",
    "model_ema",
    "ema_model",
    "ema_state_dict",
    "state_dict_ema",
    "ema_model_state_dict",
    "model_ema_state_dict",
    "swa_state_dict",
    "model_avg",
    "average_model_state",
    "module_ema",
    "params_ema",
    "teacher",
    "ema_params",
    "ema_weights",
    "net_ema",
    "g_ema",
];

/// Keys of dicts that hold tensors, but not weights.
pub const OTHER: [&str; 19] = [
    "amp_scaler",
    "callbacks",
    "dataloader",
    "grad_scaler",
    "loops",
    "lr_scheduler",
    "lr_schedulers",
    "opt",
    "opt_state",
    "optim",
    "optimizer",
    "optimizer_state_dict",
    "optimizer_states",
    "optimizers",
    "rng",
    "rng_state",
    "scaler",
    "scheduler",
    "train_state",
];

/// Words of a key; none of a very long one.
fn words(key: &str) -> impl Iterator<Item = &str> {
    const LONGEST: usize = 200;
    let key = if key.len() > LONGEST { "" } else { key };
    key.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn is_in(word: &str, list: &[&str]) -> bool {
    list.iter().any(|other| other.eq_ignore_ascii_case(word))
}

/// Whether what stands under a key is an optimizer, a schedule and the like, and never weights: by the list above, or by
/// the word that its name begins or ends with (`optimizer_state`, `optimizerG`, `grad_scaler_state`).
pub fn is_other(key: &str) -> bool {
    const END: [&str; 5] = ["dict", "dicts", "state", "states", "sd"];
    const LAST: [&str; 4] = ["scheduler", "schedulers", "scaler", "scalers"];
    let is_optimizer = |word: &str| {
        let begins = word.get(..9).is_some_and(|w| is_in(w, &["optimizer", "optimiser"]));
        begins || is_in(word, &["optim"])
    };
    let mut words: Vec<&str> = words(key).collect();
    while words.len() > 1 && words.last().is_some_and(|word| is_in(word, &END)) {
        words.pop();
    }
    OTHER.contains(&key)
        || words.first().is_some_and(|word| is_optimizer(word))
        || words.last().is_some_and(|word| is_optimizer(word) || is_in(word, &LAST))
}

/// Whether a key says that what stands under it is an average: by the list above, or by its words (`ema_0.999`,
/// `swa_model`, `averaged_model`, `polyak`).
pub fn is_averaged(key: &str) -> bool {
    const WORDS: [&str; 6] = ["averaged", "ema", "polyak", "shadow", "swa", "teacher"];
    const SHORT: [&str; 2] = ["average", "avg"];
    const OF: [&str; 5] = ["model", "net", "params", "state", "weights"];
    let has = |list: &[&str]| words(key).any(|word| is_in(word, list));
    AVERAGED.contains(&key) || (has(&WORDS) || has(&SHORT) && has(&OF)) && !is_other(key)
}

/// Weights, and where they are.
pub struct WeightSet<T> {
    /// The keys that lead to them.
    pub key: String,
    pub node: Shared<T>,
    /// Only the names with this prefix count, and it is removed.
    pub prefix: &'static str,
}

/// The sets of trained weights. More than one is ambiguous.
pub fn raw<T>(start: &Shared<T>) -> Vec<WeightSet<T>> {
    if let Some((kept, true)) = composer(start) {
        return vec![kept];
    }
    if let Some(found) = swapped(start).find_map(|(raw, _)| under(start, raw)) {
        return vec![found];
    }
    let found: Vec<_> = RAW.iter().filter_map(|key| under(start, key)).collect();
    if !found.is_empty() || start.tensors() == 0 {
        return found;
    }
    let prefix = if has_online_and_ema(start) { ONLINE } else { "" };
    vec![WeightSet { key: String::new(), node: start.clone(), prefix }]
}

/// The averages whose keys are not those of a known trainer, but say what they are.
pub fn called_averages<T>(start: &Shared<T>) -> Vec<WeightSet<T>> {
    // Of what is within, where the same may be within many.
    const MOST: usize = 20;
    let mut found: Vec<WeightSet<T>> = vec![];
    let mut add = |key: String, node: &Shared<T>| {
        if node.tensors() > 0 {
            found.push(WeightSet { key, node: node.clone(), prefix: "" });
        }
    };
    let is_one = |(key, node): &&(Rc<str>, Shared<T>)| !node.items().is_empty() && is_averaged(key);
    for (key, node) in start.items().iter().filter(is_one) {
        add(key.to_string(), node);
        // With its decay, as in `{"ema": {"decay": 0.9, "shadow": …}}`.
        let within = if node.tensors() == 0 { node.items() } else { &[] };
        let within = within.iter().take(MOST).filter(is_one);
        within.for_each(|(inner, node)| add(format!("{key}.{inner}"), node));
    }
    // Callbacks keep theirs.
    let callbacks = start.get("callbacks").map_or(&[][..], |node| node.items());
    for (name, callback) in callbacks.iter().take(MOST * MOST) {
        let within = callback.items().iter().take(MOST).filter(is_one);
        within.for_each(|(inner, node)| add(format!("callbacks.{name}.{inner}"), node));
    }
    found
}

/// All under the known keys of averages, where no trainer is known that keeps several.
pub fn all_averaged<T>(start: &Shared<T>) -> Vec<WeightSet<T>> {
    match composer(start).is_some() || swapped(start).next().is_some() {
        true => vec![],
        false => AVERAGED.iter().filter_map(|key| under(start, key)).collect(),
    }
}

/// Under which Lightning's StochasticWeightAveraging keeps its average, among its other state.
pub const AVERAGE: &str = "average_model_state";

/// Whether that average is one of no snapshots yet: the weights that the training began with.
pub fn is_empty<T>(start: &Node<T>, key: &str) -> bool {
    let callbacks = start.get("callbacks").map_or(&[][..], |node| node.items());
    let mut own = callbacks.iter().filter(|(name, _)| key == format!("callbacks.{name}.{AVERAGE}"));
    let count = own.next().and_then(|(_, callback)| callback.get("n_averaged"));
    count.is_some_and(|count| matches!(&**count, Node::Plain(text) if text == "0"))
}

/// The average that a known trainer kept.
pub fn averaged<T>(start: &Shared<T>) -> Option<WeightSet<T>> {
    match composer(start) {
        Some((_, true)) => return under(start, "model"),
        Some((kept, false)) => return Some(kept),
        None => {}
    }
    let swapped = swapped(start).map(|(_, averaged)| averaged);
    if let Some(found) = swapped.chain(AVERAGED).find_map(|key| under(start, key)) {
        return Some(found);
    }
    // ema-pytorch's state as the only weights.
    let mut states = RAW.iter().filter_map(|key| under(start, key));
    if let Some(both) = states.find(|set| set.prefix == ONLINE) {
        return Some(WeightSet { prefix: EMA, ..both });
    }
    // Lightning's StochasticWeightAveraging.
    let callbacks = start.get("callbacks").map_or(&[][..], |node| node.items());
    for (name, callback) in callbacks {
        if let Some(node) = callback.get(AVERAGE).filter(|n| n.tensors() > 0) {
            let key = format!("callbacks.{name}.{AVERAGE}");
            return Some(WeightSet { key, node: node.clone(), prefix: "" });
        }
    }
    has_online_and_ema(start).then(|| WeightSet {
        key: String::new(),
        node: start.clone(),
        prefix: EMA,
    })
}

/// The dict of tensors under a key, or one level deeper, as in `{"model": {"state_dict": ...}}`.
fn under<T>(start: &Node<T>, key: &str) -> Option<WeightSet<T>> {
    let node = start.get(key)?;
    if node.tensors() > 0 {
        // ema-pytorch's state, of which the trained weights have no use where there is another key for them.
        let has_ema = || node.items().iter().any(|(name, _)| name.starts_with(EMA));
        let prefix = match RAW.contains(&key) {
            true if has_online_and_ema(node) => ONLINE,
            false if has_ema() => EMA,
            _ => "",
        };
        return Some(WeightSet { key: key.to_string(), node: node.clone(), prefix });
    }
    RAW.iter().find_map(|inner| {
        let node = node.get(inner).filter(|node| node.tensors() > 0)?;
        Some(WeightSet { key: format!("{key}.{inner}"), node: node.clone(), prefix: "" })
    })
}

pub fn has_any<T>(node: &Node<T>, keys: &[&str]) -> bool {
    keys.iter().any(|key| node.get(key).is_some_and(|node| node.tensors() > 0))
}

/// The keys of trained and averaged weights of trainers that swap them: Lightning's WeightAveraging and MMEngine's EMA
/// hook save the average as `state_dict`.
fn swapped<T>(start: &Node<T>) -> impl Iterator<Item = (&'static str, &'static str)> {
    let lightning = start.get("current_model_state").is_some();
    let mmengine = start.get("message_hub").is_some() && start.get("ema_state_dict").is_some();
    let lightning = lightning.then_some(("current_model_state", "state_dict"));
    let mmengine = mmengine.then_some(("ema_state_dict", "state_dict"));
    lightning.into_iter().chain(mmengine)
}

const ONLINE: &str = "online_model.";
const EMA: &str = "ema_model.";

/// ema-pytorch keeps both in one dict.
fn has_online_and_ema<T>(node: &Node<T>) -> bool {
    let has = |prefix: &str| node.items().iter().any(|(name, _)| name.starts_with(prefix));
    has(ONLINE) && has(EMA)
}

/// The weights that Composer's EMA algorithm keeps: those that are not in the model at the time. They are the trained
/// ones (true) while the average is active in the model. `algorithms` is a list of pairs.
fn composer<T>(start: &Shared<T>) -> Option<(WeightSet<T>, bool)> {
    let Node::List(algorithms) = &**start.get("algorithms")? else { return None };
    let mut states = algorithms.iter().filter_map(|pair| match &**pair {
        Node::List(pair) => pair.get(1),
        _ => None,
    });
    let state = states.find(|state| state.get("ema_model").is_some())?;
    let kept = state.get("ema_model")?;
    let parts = ["named_parameters_dict", "named_buffers_dict"].map(|part| kept.get(part));
    let items = parts.into_iter().flatten().flat_map(|part| part.items());
    let items = items.map(|(name, node)| (name.clone(), node.clone())).collect();
    let node = Rc::new(Node::Dict(items));
    let is_raw = matches!(&**state.get("ema_weights_active")?, Node::Plain(text) if text == "True");
    let key = "algorithms.EMA.ema_model".to_string();
    (node.tensors() > 0).then_some((WeightSet { key, node, prefix: "" }, is_raw))
}

/// SWAG saves moments instead of weights: takes the means, under the weights' names, and drops the others. Whether
/// there were any.
pub fn take_means<T>(tensors: &mut Vec<(String, T)>) -> bool {
    const MOMENTS: [&str; 3] = ["_sq_mean", "_mean", "_cov_mat_sqrt"];
    const COUNTER: &str = "n_models";
    let names: HashSet<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    // Without its counter, `running_mean` and `running_sq_mean` may be a layer's own.
    if !names.iter().any(|name| name.rsplit('.').next() == Some(COUNTER)) {
        return false;
    }
    let of = |name: &str| {
        let moment = MOMENTS.into_iter().find(|ending| name.ends_with(ending))?;
        let weight = &name[..name.len() - moment.len()];
        let has = |ending: &str| names.contains(format!("{weight}{ending}").as_str());
        (has("_mean") && has("_sq_mean")).then(|| (weight.to_string(), moment))
    };
    let moments: Vec<Option<(String, &str)>> = tensors.iter().map(|(name, _)| of(name)).collect();
    let found = moments.iter().any(Option::is_some);
    let mut moments = moments.into_iter();
    tensors.retain_mut(|(name, _)| match moments.next().flatten() {
        None if found && name == COUNTER => false,
        Some((weight, "_mean")) => {
            *name = weight;
            true
        }
        Some(_) => false,
        None => true,
    });
    found
}
