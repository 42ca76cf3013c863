//! When parts are merged, most flags have no meaning.

use clap::ArgMatches;
use clap::parser::ValueSource;
use swa_tools::{Error, Result};

/// Fails for flags that have no meaning when parts are merged: the parts record what was done. `known` are the
/// others, by their field's name.
pub fn check(matches: &ArgMatches, flag: &str, known: &[&str]) -> Result<()> {
    let common =
        ["merge", "json", "quiet", "progress", "threads", "allow_bad", "output", "force", "like"];
    let given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let is_known = |id: &&str| known.contains(id) || common.contains(id);
    // Groups have upper-case names.
    let is_flag = |id: &&str| id.starts_with(|c: char| c.is_ascii_lowercase());
    let mut ids = matches.ids().map(clap::Id::as_str).filter(is_flag);
    match ids.find(|id| given(id) && !is_known(id)) {
        None => Ok(()),
        Some(id) => Err(Error::usage(format!(
            "--{} does not go with {flag}: the parts say what was done",
            id.replace('_', "-")
        ))
        .remedy("leave it out")),
    }
}
