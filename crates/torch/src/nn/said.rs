//! What a file says of its network beside the weights: timm's checkpoints name it under `arch`, its folders in `config.json`.
//! Networks that compute different things may have the same tensors.

use serde_json::Value;

use super::families::WAY_OUT;
use swa_base::{Error, Kind, Result, text_file};
use swa_tools::checkpoint::Checkpoint;

/// What the names of timm's ResNets begin with that blur or average where the built-in ones stride, and whose tensors are
/// theirs.
const LOOK_ALIKES: [&str; 2] = ["resnetblur", "resnetaa"];

/// What timm put before the name of a network whose weights are from elsewhere.
const ORIGINS: [&str; 4] = ["tv_", "ig_", "ssl_", "swsl_"];

/// Compares what the file says, if it does, with the architecture that its tensors were recognised as. Returns a note where
/// they differ.
///
/// # Errors
/// `UnknownNetwork` where it is known that they compute different things.
pub(super) fn check(checkpoint: &Checkpoint, arch: &str) -> Result<Option<String>> {
    let Some(said) = said(checkpoint).filter(|said| !is_of(said, arch)) else { return Ok(None) };
    if LOOK_ALIKES.iter().any(|start| plain(&said).starts_with(start)) {
        let what = format!(
            "says that it is {said}, which has the tensors of {arch} and computes something else"
        );
        return Err(Error::new(Kind::UnknownNetwork, what).remedy(WAY_OUT));
    }
    let file = checkpoint.path().display();
    Ok(Some(format!(
        "note: `{file}` says that it is {said}; it is run as {arch}, whose tensors have the same names"
    )))
}

/// The name of the network in the file, or in the configuration beside it.
fn said(checkpoint: &Checkpoint) -> Option<String> {
    // A text is described by itself, in quotes.
    let text = |what: &str| Some(what.strip_prefix('"')?.strip_suffix('"')?.to_string());
    let others = &checkpoint.taken().others;
    let arch = others.iter().find(|(key, _)| key == "arch");
    if let Some(name) = arch.and_then(|(_, what)| text(what)) {
        return Some(name);
    }
    let folder = checkpoint.files().first()?.path().parent()?;
    let config = text_file::read(&folder.join("config.json")).ok()?;
    let config: Value = serde_json::from_str(&config).ok()?;
    config["architecture"].as_str().map(String::from)
}

/// Whether a name is that of an architecture, or of its family: `resnet` of `resnet50`.
fn is_of(said: &str, arch: &str) -> bool {
    let (said, arch) = (plain(said), plain(arch));
    let family = arch.trim_end_matches(|c: char| c.is_ascii_digit());
    said.is_empty() || said == arch || said == family
}

/// A name without what stands before and after it (`tv_resnet50`, `resnet50.a1_in1k`), as letters and digits alone.
fn plain(name: &str) -> String {
    let name = name.rsplit(['/', ':']).next().unwrap_or_default();
    let name = ["torchvision.", "models."]
        .iter()
        .fold(name, |name, module| name.strip_prefix(module).unwrap_or(name));
    let name = name.split('.').next().unwrap_or_default().to_lowercase();
    let name = ORIGINS.iter().find_map(|origin| name.strip_prefix(origin)).unwrap_or(&name);
    name.chars().filter(|c| c.is_alphanumeric()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_network_are_told_from_those_of_others() {
        for said in [
            "resnet50",
            "resnet50.a1_in1k",
            "tv_resnet50",
            "ResNet-50",
            "resnet",
            "",
            "timm/resnet50",
            "models.resnet50",
        ] {
            assert!(is_of(said, "resnet50"), "{said}");
        }
        assert!(is_of("wide-resnet50-2", "wide_resnet50_2"));
        for said in ["resnetblur50", "resnetaa50.a1h_in1k", "resnet50d", "resnet18", "my_resnet"] {
            assert!(!is_of(said, "resnet50"), "{said}");
        }
    }

    #[test]
    fn what_timm_writes_beside_the_weights_is_read() {
        let text = |s: &str| [b"X", &(s.len() as u32).to_le_bytes()[..], s.as_bytes()].concat();
        let tensor = [
            &b"ctorch._utils\n_rebuild_tensor_v2\n(("[..],
            &text("storage"),
            b"ctorch\nFloatStorage\n",
            &text("0"),
            &text("cpu"),
            b"K\x02tQK\0K\x02\x85K\x01\x85\x89}tR",
        ]
        .concat();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.pth");
        let blurred = [&text("resnetblur18")[..], b"s"].concat();
        let number = b"K\x05s".to_vec();
        for (name, value, is_said) in
            [("arch", &blurred, true), ("arch", &number, false), ("epoch", &number, false)]
        {
            let (name, key, weight) = (text(name), text("state_dict"), text("w"));
            let pickle: [&[u8]; 8] =
                [b"\x80\x02}", &name, value, &key, b"}", &weight, &tensor, b"ss."];
            let pickle = pickle.concat();
            let file = swa_testing::zip(&[("x/data.pkl", &pickle), ("x/data/0", &[0u8; 8])]);
            std::fs::write(&path, file).unwrap();
            let checkpoint = Checkpoint::open(&path).unwrap();
            match check(&checkpoint, "resnet18") {
                Ok(note) => assert!(note.is_none() && !is_said, "{note:?}"),
                Err(error) => {
                    assert!(is_said && error.kind() == Kind::UnknownNetwork);
                    assert!(error.to_string().contains("says that it is resnetblur18"), "{error}");
                }
            }
        }
    }
}
