//! Exported programs as networks: each node is a call of libtorch, batchnorm nodes are the house's own batchnorm.
//!
//! | file | holds |
//! |---|---|
//! | `dispatch`, `shim.cpp` | calling operators by name |
//! | `symbols` | Python's arithmetic on sizes |
//! | `flat` | the nodes in a row: operators resolved, arguments in their places |
//! | `layout` | whether results depend on how tensors lie in memory |
//! | `prepared` | a program that libtorch has all operators of |
//! | `plan` | what a run does, step by step, once the weights are known |
//! | `run` | the network |
//! | `bind` | from a checkpoint's tensors to the network |

mod bind;
mod dispatch;
mod flat;
mod layout;
mod plan;
mod prepared;
mod run;
mod symbols;

pub(crate) use prepared::Prepared;

#[cfg(test)]
mod tests;
