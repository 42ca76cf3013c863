//! How files write which part of a pass they are.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use swa_base::Shard;

/// [`Shard`] with its fields by name.
#[derive(Serialize, Deserialize)]
struct Fields {
    index: usize,
    of: usize,
}

pub(super) fn serialize<S: Serializer>(shard: &Shard, serializer: S) -> Result<S::Ok, S::Error> {
    Fields { index: shard.index, of: shard.of }.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Shard, D::Error> {
    Fields::deserialize(deserializer).map(|Fields { index, of }| Shard { index, of })
}
