//! What a run goes on from: written after each epoch, whole or not at all.

use std::collections::BTreeMap;
use std::path::Path;

use tch::Tensor;

use swa_base::{Error, Kind, Result, look};
use swa_tools::checkpoint::{Checkpoint, Dtype, TensorInfo};
use swa_tools::output::write_safetensors;

use super::epoch::Trainer;
use crate::nn::{self, tensor_bytes};

/// The version of the file.
const VERSION: &str = "2";

/// Where in the metadata it stands.
const VERSION_KEY: &str = "swa_train_state";
const EPOCH_KEY: &str = "epochs";
const STEPS_KEY: &str = "steps";
const SNAPSHOTS_KEY: &str = "snapshots";

/// How far a run is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Epochs that are done.
    pub epochs: usize,
    /// Steps that are done.
    pub steps: u64,
    /// The digests of the snapshots, by their epochs.
    pub snapshots: BTreeMap<usize, String>,
}

impl State {
    /// Keeps how far the run is, and all that changes in its course: parameters, their velocities and the running
    /// statistics, f32, one vector each. Of its snapshots the digests, since they lie open to anyone.
    ///
    /// # Errors
    /// `Io`, `NoSpace`; those of libtorch.
    pub fn write(&self, trainer: &Trainer, path: &Path) -> Result<()> {
        let tensor = |name: &str, values: &Tensor| {
            let shape = vec![values.numel()];
            let info = TensorInfo { name: name.into(), dtype: Dtype::F32, shape };
            Ok::<_, Error>((info, tensor_bytes(values)?))
        };
        let statistics = trainer.network.statistics()?;
        let tensors = [
            tensor("parameters", trainer.network.parameters())?,
            tensor("velocity", &trainer.sgd.velocity)?,
            tensor("statistics", &statistics)?,
        ];
        let metadata = BTreeMap::from([
            (VERSION_KEY.to_string(), VERSION.to_string()),
            (EPOCH_KEY.to_string(), self.epochs.to_string()),
            (STEPS_KEY.to_string(), self.steps.to_string()),
            (SNAPSHOTS_KEY.to_string(), serde_json::json!(self.snapshots).to_string()),
        ]);
        write_safetensors(&tensors, &metadata, path, true)
    }

    /// The state in a file; None if there is no file.
    ///
    /// # Errors
    /// `Damaged` if it is no state; those of reading.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        match look::exists(path)? {
            true => Ok(Some(Self::of(&Checkpoint::open(path)?)?)),
            false => Ok(None),
        }
    }

    fn of(checkpoint: &Checkpoint) -> Result<Self> {
        let metadata = checkpoint.metadata();
        let number = |key: &str| metadata.get(key).and_then(|text| text.parse::<u64>().ok());
        let version = metadata.get(VERSION_KEY).map(String::as_str);
        let snapshots =
            metadata.get(SNAPSHOTS_KEY).and_then(|text| serde_json::from_str(text).ok());
        match (version, number(EPOCH_KEY), number(STEPS_KEY), snapshots) {
            (Some(VERSION), Some(epochs), Some(steps), Some(snapshots)) => {
                Ok(State { epochs: epochs as usize, steps, snapshots })
            }
            _ => Err(damaged(checkpoint.path(), "is no state of a run, or one of another version")),
        }
    }

    /// Sets the trainer to what was kept; None if there is no file.
    ///
    /// # Errors
    /// `Damaged` if it is no state or not of this network; those of reading.
    pub fn restore(trainer: &mut Trainer, path: &Path) -> Result<Option<Self>> {
        if !look::exists(path)? {
            return Ok(None);
        }
        let checkpoint = Checkpoint::open(path)?;
        let remedy = |error: Error| match error.kind() {
            Kind::Damaged => error.remedy(ANEW),
            _ => error,
        };
        checkpoint.verify(&|_| {}).map_err(remedy)?;
        let state = State::of(&checkpoint)?;
        let read = |name: &str, expected: usize| {
            let position = checkpoint.position(name).filter(|&position| {
                let info = &checkpoint.tensors()[position];
                info.dtype == Dtype::F32 && info.shape == [expected]
            });
            let position =
                position.ok_or_else(|| damaged(path, "is the state of another network"))?;
            let bytes = checkpoint.bytes(position)?;
            let values = Tensor::f_from_data_size(&bytes, &[expected as i64], tch::Kind::Float);
            Ok::<_, Error>(values.map_err(nn::Fault::from)?)
        };
        let parameters = read("parameters", trainer.network.parameters().numel())?;
        let velocity = read("velocity", trainer.sgd.velocity.numel())?;
        let statistics = read("statistics", trainer.network.statistics()?.numel())?;
        trainer.network.restore(&parameters, &statistics)?;
        trainer.sgd.velocity.f_copy_(&velocity).map_err(nn::Fault::from)?;
        Ok(Some(state))
    }
}

/// The way out where a run cannot go on.
pub(super) const ANEW: &str = "remove the folder of the run, and begin it anew";

fn damaged(path: &Path, what: &str) -> Error {
    Error::new(Kind::Damaged, what).at(path).remedy(ANEW)
}
