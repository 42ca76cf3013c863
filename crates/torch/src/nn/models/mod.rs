//! The model families. A new one is a file here and a line in `FAMILIES`.

mod densenet;
mod family;
mod mobilenet_v2;
mod pre_activation;
mod preresnet;
mod residual;
mod resnet;
mod shake_shake;
mod vgg;
mod vgg_cifar;
mod wide_resnet_cifar;

pub(super) use family::Arch;
pub use family::Sizes;
pub(super) use family::{Conv, Initial};
use family::{Family, Recipe};

use super::shapes::Shapes;

const FAMILIES: &[Family] = &[
    preresnet::FAMILY,
    resnet::FAMILY,
    densenet::FAMILY,
    vgg::FAMILY,
    mobilenet_v2::FAMILY,
    vgg_cifar::FAMILY,
    wide_resnet_cifar::FAMILY,
    shake_shake::FAMILY,
];

/// The names of all architectures, a line a family or member.
pub(crate) fn list() -> Vec<&'static str> {
    FAMILIES.iter().flat_map(|family| family.names).copied().collect()
}

pub(super) fn named(name: &str, shapes: &Shapes) -> Option<Arch> {
    FAMILIES.iter().find_map(|family| (family.named)(name, shapes))
}

pub(super) fn likely(shapes: &Shapes) -> Vec<Arch> {
    FAMILIES.iter().flat_map(|family| (family.likely)(shapes)).collect()
}

/// How the family of an architecture is trained; None if it is not known, or not by these tools. `shapes`: of its weights,
/// where there are any: some names of architectures mean nothing without.
pub(super) fn recipe(name: &str, shapes: &Shapes) -> Option<Recipe> {
    FAMILIES.iter().find(|family| (family.named)(name, shapes).is_some())?.recipe
}

/// The architectures that can be trained.
pub(super) fn trained() -> Vec<&'static str> {
    let trained = FAMILIES.iter().filter(|family| family.recipe.is_some());
    trained.flat_map(|family| family.names).copied().collect()
}
