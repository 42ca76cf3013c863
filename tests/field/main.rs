//! What people's files and folders held that went wrong, was read as something else than it is or left out without a
//! word: each kind, by small inputs of its own.

mod files;
mod folders;
mod keys;
mod names;
mod pickle;
mod rest;
mod run;
mod said;
mod snapshots;
mod values;
