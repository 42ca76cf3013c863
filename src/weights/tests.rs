//! Which of a file's dicts are the weights, on trees made by hand.

use super::*;

type Tree = Shared<u32>;

fn dict(items: &[(&str, &Tree)]) -> Tree {
    Rc::new(Node::Dict(
        items.iter().map(|(name, node)| (Rc::from(*name), (*node).clone())).collect(),
    ))
}

fn list(nodes: &[&Tree]) -> Tree {
    Rc::new(Node::List(nodes.iter().map(|node| (*node).clone()).collect()))
}

fn tensor(number: u32) -> Tree {
    Rc::new(Node::Tensor(number))
}

/// The tensors that are taken, and whether they are an average.
fn taken(root: &Tree) -> std::result::Result<(Vec<(String, u32)>, bool), String> {
    let found = find(root, &Take::default()).map_err(|error| error.to_string())?;
    Ok((found.0, found.1.is_average))
}

#[test]
fn a_loss_beside_the_weights_is_not_taken_for_them() {
    let (loss, epoch) = (tensor(9), Rc::new(Node::Plain("7".into())));
    let weights = dict(&[("l.weight", &tensor(1))]);
    let array = dict(&[("l.weight", &Rc::new(Node::Foreign("numpy.ndarray".into())))]);
    let deep = dict(&[("a", &dict(&[("b", &dict(&[("c", &dict(&[("d", &weights)]))]))]))]);
    let both = list(&[&weights, &weights]);
    for (name, other) in [
        ("models", &both),
        ("params", &list(&[&tensor(1), &tensor(2)])),
        ("state_dict", &array),
        ("model", &deep),
        ("model", &Rc::new(Node::Foreign("mine.Net".into()))),
        ("weights", &weights),
    ] {
        let error = taken(&dict(&[(name, other), ("loss", &loss), ("epoch", &epoch)])).unwrap_err();
        let expected = format!("holds `{name}`, {}, and tensors beside it", other.describe());
        assert!(error.starts_with(&expected), "{error}");
    }
    // An average is known by its key.
    let weight = vec![("l.weight".to_string(), 1)];
    for name in ["ema", "teacher", "swa_state_dict"] {
        let root = dict(&[(name, &weights), ("step", &loss)]);
        assert_eq!(taken(&root), Ok((weight.clone(), true)));
    }
    assert_eq!(taken(&dict(&[("model", &weights), ("loss", &loss)])), Ok((weight, false)));
}

#[test]
fn a_network_at_the_root_needs_no_dots_in_its_names() {
    let [one, two, extra] = [tensor(1), tensor(2), list(&[&tensor(4)])];
    let root = [("weight", &one), ("bias", &two)];
    let expected = Ok((vec![("weight".to_string(), 1), ("bias".to_string(), 2)], false));
    assert_eq!(taken(&dict(&root)), expected);
    // Beside what trainers keep.
    let momentum = dict(&[("state", &dict(&[("0", &tensor(3))]))]);
    let empty = dict(&[]);
    let beside = [("optimizer", &momentum), ("_extra_state", &extra), ("model", &empty)];
    assert_eq!(taken(&dict(&[&root[..], &beside].concat())), expected);
    // Names with dots are a network's, whatever is beside them.
    let root = dict(&[("l.weight", &tensor(1)), ("ema", &dict(&[("l.weight", &tensor(2))]))]);
    assert_eq!(taken(&root), Ok((vec![("l.weight".to_string(), 1)], false)));
}

#[test]
fn moments_are_those_of_swag_where_its_counter_stands_beside_them() {
    let [mean, square, count] = [1, 2, 3].map(tensor);
    let items = [("norm.running_mean", &mean), ("norm.running_sq_mean", &square)];
    let names = |root: &Tree| -> Vec<String> {
        taken(root).unwrap().0.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(&dict(&items)), ["norm.running_mean", "norm.running_sq_mean"]);
    let with = [&items[..], &[("n_models", &count)]].concat();
    assert_eq!(names(&dict(&with)), ["norm.running"]);
}
