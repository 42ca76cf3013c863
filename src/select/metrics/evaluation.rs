//! What swa-eval prints as JSON: a row a model, known by its file instead of a number.

use std::path::Path;

use serde_json::{Map, Value};

use super::json_lines::of_list;
use super::table::Table;
use crate::Result;

/// None if the object is not of this kind.
pub(super) fn of(object: &Map<String, Value>, path: &Path) -> Option<Result<Table>> {
    let Value::Array(models) = object.get("models")? else { return None };
    let is_row = |model: &Value| model.get("model").is_some_and(Value::is_string);
    models.iter().all(is_row).then(|| of_list(models, path))
}
