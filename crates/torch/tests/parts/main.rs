//! A pass that was shared, or interrupted, ends in the same bytes as one that was neither.

mod evaluations;
mod interrupted;
mod scene;
mod scripts;
mod updates;
