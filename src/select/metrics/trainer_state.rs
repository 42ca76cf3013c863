//! `trainer_state.json`, which the Trainer of Hugging Face transformers writes into each of its checkpoints: the rows
//! are its `log_history`, training and evaluation in turn, with the step of each.

use std::path::Path;

use serde_json::{Map, Value};

use super::json_lines::of_list;
use super::table::Table;
use crate::Result;

/// None if the object is not of this kind.
pub(super) fn of(object: &Map<String, Value>, path: &Path) -> Option<Result<Table>> {
    let Value::Array(list) = object.get("log_history")? else { return None };
    Some(of_list(list, path))
}
