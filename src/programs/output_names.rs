//! The names of a program's outputs, from the tree that its results make: `logits` of a dict, `1` of a tuple, `feat.0` of
//! a tuple in a dict.
//!
//! Format: `torch/utils/_pytree.py`, `treespec_dumps`.

use serde_json::Value;

#[derive(Debug, serde::Deserialize)]
struct Tree {
    /// The type of a container; none for a leaf.
    r#type: Option<String>,
    /// Of a dict its keys, as JSON within JSON.
    context: Option<Value>,
    children_spec: Vec<Tree>,
}

/// Longest name; a longer one is a position.
const LONGEST: usize = 200;

/// The names of so many outputs: by their positions where the tree says nothing, or is of another size.
pub fn names(out_spec: Option<&str>, count: usize) -> Vec<String> {
    let tree = out_spec.and_then(|text| serde_json::from_str::<(u64, Tree)>(text).ok());
    let mut names = vec![];
    if let Some((_, tree)) = tree {
        leaves(&tree, "", &mut names);
    }
    if names.len() != count {
        return match count {
            1 => vec![String::new()],
            _ => (0..count).map(|number| number.to_string()).collect(),
        };
    }
    names
}

fn leaves(tree: &Tree, path: &str, names: &mut Vec<String>) {
    if tree.r#type.is_none() {
        names.push(path.to_string());
        return;
    }
    let keys = keys(tree.context.as_ref(), tree.children_spec.len());
    for (number, child) in tree.children_spec.iter().enumerate() {
        let key = match keys.as_ref().map(|keys| &keys[number]) {
            Some(key) if path.len() + key.len() < LONGEST => key.clone(),
            _ => number.to_string(),
        };
        let path = match path {
            "" => key,
            path if path.len() < LONGEST => format!("{path}.{key}"),
            path => path.to_string(),
        };
        leaves(child, &path, names);
    }
}

/// The keys of a container with so many children: its context is a list of them, or begins with that list.
fn keys(context: Option<&Value>, count: usize) -> Option<Vec<String>> {
    let parsed: Value;
    let context = match context? {
        Value::String(text) => {
            parsed = serde_json::from_str(text).ok()?;
            &parsed
        }
        other => other,
    };
    let list = |value: &Value| -> Option<Vec<String>> {
        let list = value.as_array()?;
        let key = |key: &Value| match key {
            Value::String(key) => Some(key.clone()),
            Value::Number(key) => Some(key.to_string()),
            _ => None,
        };
        let keys: Option<Vec<String>> = list.iter().map(key).collect();
        keys.filter(|keys| keys.len() == count && count > 0)
    };
    list(context).or_else(|| list(context.as_array()?.first()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_named_by_keys_and_positions() {
        let leaf = r#"{"type": null, "context": null, "children_spec": []}"#;
        let pair = format!(
            r#"{{"type": "builtins.tuple", "context": "null", "children_spec": [{leaf}, {leaf}]}}"#
        );
        let dict = format!(
            r#"[1, {{"type": "builtins.dict", "context": "[\"logits\", \"feat\"]", "children_spec": [{leaf}, {pair}]}}]"#
        );
        assert_eq!(names(Some(&dict), 3), ["logits", "feat.0", "feat.1"]);
        assert_eq!(names(Some(&format!("[1, {pair}]")), 2), ["0", "1"]);
        assert_eq!(names(Some(&format!("[1, {leaf}]")), 1), [""]);
        let class = format!(
            r#"[1, {{"type": "lib.Output", "context": "[[\"logits\"], [\"loss\"]]", "children_spec": [{leaf}]}}]"#
        );
        assert_eq!(names(Some(&class), 1), ["logits"]);
        // Another number of outputs, no tree, none that can be read.
        assert_eq!(names(Some(&dict), 2), ["0", "1"]);
        assert_eq!(names(None, 1), [""]);
        assert_eq!(names(Some("[["), 2), ["0", "1"]);
    }
}
