//! What the tests share: small checkpoints, and the tools.

pub mod faults;
pub mod golden;
pub mod sweep;
pub mod training_run;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

pub fn fixtures() -> PathBuf {
    root().join("fixtures")
}

pub fn swa_avg() -> Command {
    Command::new(binary("swa-avg"))
}

/// The checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().parent().unwrap()
}

/// Where a command of this workspace is: beside the tests. `cargo test` builds those of the packages under test.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "{} is not built: cargo build --release --workspace", path.display());
    path
}

/// A tensor by name, dtype, shape and little-endian bytes.
pub type Tensor = (&'static str, Dtype, Vec<usize>, Vec<u8>);

pub fn f32s(name: &'static str, values: &[f32]) -> Tensor {
    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    (name, Dtype::F32, vec![values.len()], bytes)
}

pub fn i64s(name: &'static str, values: &[i64]) -> Tensor {
    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    (name, Dtype::I64, vec![values.len()], bytes)
}

/// Written by the reference implementation.
pub fn save(path: &Path, tensors: &[Tensor]) {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    let metadata = Some([("format".to_string(), "pt".to_string())].into());
    std::fs::write(path, safetensors::serialize(views, metadata).unwrap()).unwrap();
}

/// A PyTorch file of one tensor of two values, the second of which is zero.
pub fn torch_file(path: &Path, tensor: &str, value: f32) {
    let text = |s: &str| [b"X", &(s.len() as u32).to_le_bytes()[..], s.as_bytes()].concat();
    let class = b"ctorch\nFloatStorage\n";
    let id = [&b"("[..], &text("storage"), class, &text("0"), &text("cpu"), b"K\x02tQ"].concat();
    let call = b"ctorch._utils\n_rebuild_tensor_v2\n(";
    let rest = b"K\0K\x02\x85K\x01\x85\x89}tRs.";
    let pickle = [&b"\x80\x02}"[..], &text(tensor), call, &id, rest].concat();
    let data: Vec<u8> = [value, 0.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(path, zip(&[("x/data.pkl", &pickle), ("x/data/0", &data)])).unwrap();
}

/// A zip file of stored entries, without their CRCs.
pub fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (vec![], vec![]);
    for (name, bytes) in entries {
        let at = (file.len() as u32).to_le_bytes();
        let size = (bytes.len() as u32).to_le_bytes();
        let sizes =
            [&[0; 4], &size[..], &size, &(name.len() as u16).to_le_bytes(), &[0; 2]].concat();
        file.extend([b"PK\x03\x04", &[0; 10][..], &sizes, name.as_bytes(), bytes].concat());
        directory
            .extend([b"PK\x01\x02", &[0; 12][..], &sizes, &[0; 10], &at, name.as_bytes()].concat());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let end = [(directory.len() as u32).to_le_bytes(), (file.len() as u32).to_le_bytes()].concat();
    let counts = [&[0; 4], &count[..], &count].concat();
    file.extend([&directory[..], b"PK\x05\x06", &counts, &end, &[0; 2]].concat());
    file
}

/// Read by the reference implementation: bytes of each tensor.
pub fn load(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let file = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    tensors.iter().map(|(name, view)| (name.to_string(), view.data().to_vec())).collect()
}

pub fn metadata(path: &Path) -> BTreeMap<String, String> {
    let file = std::fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&file).unwrap();
    header.metadata().clone().unwrap_or_default().into_iter().collect()
}

pub fn to_f32(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// The names in a folder, sorted; temporary files included.
pub fn listing(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        names.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Runs a tool that must fail: checks the exit code, that the message holds every part, that it is
/// one of ours and that nothing was printed on stdout. Returns the message.
pub fn fails(command: &mut Command, code: i32, parts: &[&str]) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains("error: ") && !stderr.contains("panicked"), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part:?} not in {stderr:?}");
    }
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    stderr
}

/// The tools that need data.
pub mod data_tools {
    use std::path::Path;

    use assert_cmd::Command;
    use safetensors::tensor::TensorView;
    use safetensors::{Dtype, SafeTensors};

    use super::{binary, fixtures};

    pub fn swa_bn_update() -> Command {
        tool("swa-bn-update")
    }

    pub fn swa_eval() -> Command {
        tool("swa-eval")
    }

    pub fn swa_train() -> Command {
        tool("swa-train")
    }

    pub fn swa_landscape() -> Command {
        tool("swa-landscape")
    }

    /// Tests run beside each other: waiting threads must not spin.
    fn tool(name: &str) -> Command {
        let mut command = Command::new(binary(name));
        command.env("OMP_WAIT_POLICY", "passive");
        command
    }

    /// The shipped network of ten classes, made to take three channels.
    pub fn colour_model(path: &Path) {
        let file = std::fs::read(fixtures().join("fashion-mnist/ckpt_0240.safetensors")).unwrap();
        let whole = SafeTensors::deserialize(&file).unwrap();
        let conv = whole.tensor("conv1.weight").unwrap();
        let [out, _, height, width] = conv.shape()[..] else { panic!() };
        let kernels = conv.data().chunks_exact(4 * height * width);
        let bytes: Vec<u8> = kernels.flat_map(|kernel| kernel.repeat(3)).collect();
        let conv = TensorView::new(Dtype::F32, vec![out, 3, height, width], &bytes).unwrap();
        let mut views = whole.tensors();
        views
            .iter_mut()
            .filter(|(name, _)| name == "conv1.weight")
            .for_each(|(_, view)| *view = conv.clone());
        safetensors::serialize_to_file(views, None, path).unwrap();
    }

    /// Runs a tool with `--json` and returns what it printed.
    pub fn json(command: &mut Command) -> serde_json::Value {
        let output = command.args(["--json", "--quiet"]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert!(stderr.is_empty(), "quiet: {stderr}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// What a command prints on stdout, which must end well. Nothing of it is a terminal.
pub fn text(command: &mut Command) -> String {
    let output = command.write_stdin("").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// The JSON that a command prints, for a snapshot: a field a line, and what differs from run to run replaced by
/// its type.
pub fn snapshot_json(mut command: Command) -> String {
    let mut value: serde_json::Value = serde_json::from_str(&text(&mut command)).unwrap();
    replace(&mut value);
    serde_json::to_string_pretty(&value).unwrap()
}

fn replace(value: &mut serde_json::Value) {
    const TIMES: [&str; 6] =
        ["seconds", "seconds_expected", "memory_expected", "images_per_second", "limit", "waiting"];
    match value {
        serde_json::Value::Object(fields) => {
            for (key, field) in fields {
                match TIMES.contains(&key.as_str()) && !field.is_null() {
                    true => *field = "…".into(),
                    false => replace(field),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(replace),
        _ => {}
    }
}
