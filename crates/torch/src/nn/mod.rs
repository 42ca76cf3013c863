//! Networks on libtorch: layers, the known families, and how weights get into them.
//!
//! A network is written once, as code that asks a `Scope` for its tensors by name and shape. Without a checkpoint
//! behind it the same code lists the tensors that the network consists of. That list is how an architecture is
//! recognised, and why loading is strict: no tensor missing, none left over. An exported program is one more such network,
//! whose names come from its file; there tensors may be left over.
//!
//! Each file imports only files above it here:
//!
//! | file | holds |
//! |---|---|
//! | `fault` | the error of networks |
//! | `precision`, `libtorch`, [`device`], [`memory`] | what networks run on |
//! | [`input`], `noise`, `moments` | what goes into a forward pass, and what batchnorm measures of it |
//! | `outputs`, `pass`, `network` | which outputs are logits; how a forward pass treats batchnorm; the trait of all networks |
//! | `shapes`, `freeze`, `scope` | from a checkpoint to a network's tensors |
//! | `batch_norm`, `layers` | the layers |
//! | `models`, `program` | the families, a file each; exported programs |
//! | `initial` | the weights that a training begins with |
//! | `takes`, `fit`, `used_program` | which images a network takes; which program a checkpoint is for |
//! | `model`, `replaced`, `candidates`, `recognised` | a network with its weights; recognising and loading it |
//! | `trainable` | a network whose weights change |

mod batch_norm;
mod beside;
mod candidates;
pub mod device;
mod families;
mod fault;
mod fit;
mod freeze;
pub(crate) mod initial;
pub mod input;
mod layers;
pub mod libtorch;
pub mod memory;
mod model;
pub(crate) mod models;
mod moments;
mod network;
mod noise;
pub(crate) mod outputs;
mod pass;
mod precision;
mod program;
mod recognised;
mod replaced;
mod said;
mod scope;
mod shapes;
mod takes;
mod trainable;
mod used_program;

pub(crate) use candidates::Candidates;
pub(crate) use fault::with_smaller_batch;
pub use fault::{Fault, Result};
pub(crate) use freeze::{Freeze, doubt};
pub use model::Model;
pub(crate) use models::Sizes;
pub(crate) use moments::ChannelMoments;
pub(crate) use network::Network;
pub use noise::Noise;
pub(crate) use pass::one_value;
pub use pass::{Collected, Given, Layer, Moments, Pass, Step, Stored};
pub use precision::Precision;
pub(crate) use recognised::Recognised;
pub use scope::Setup;
pub(crate) use takes::Takes;
pub(crate) use trainable::{Trainable, bytes as tensor_bytes};
pub use used_program::{ProgramRecord, UsedProgram};
