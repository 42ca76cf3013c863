//! Every command of docs/imagenet.md runs, for its three networks, on a stand-in of some photographs;
//! what it prints is what torchvision's evaluation finds there (`fixtures/imagenet/make.py`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;
use swa_testing::*;

/// Of the largest logit.
const LOGITS: f32 = 1e-4;
/// The snapshots there are of `model_0.pth` to `model_9.pth`.
const EPOCHS: [usize; 2] = [4, 9];

fn folder() -> PathBuf {
    fixtures().join("imagenet")
}

fn gunzip(name: &str) -> Vec<u8> {
    let file = File::open(folder().join(name)).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

#[derive(Deserialize)]
struct Golden {
    /// Path in the stand-in → photograph.
    files: BTreeMap<String, String>,
    /// `resnet50.swa_bn`.
    models: BTreeMap<String, Counts>,
}

#[derive(Deserialize)]
struct Counts {
    top1: u64,
    top5: u64,
    near_ties: Vec<usize>,
}

fn golden() -> Golden {
    serde_json::from_slice(&fs::read(folder().join("golden.json")).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct Network {
    tensors: Vec<(String, Vec<usize>)>,
    /// Bytes of each momentum buffer.
    momentum: Vec<u64>,
}

/// A PyTorch file, entry by entry, laid out as `torch.save` does it.
struct Zip {
    file: File,
    at: u64,
    /// Name, crc, size, offset.
    entries: Vec<(String, u32, u32, u32)>,
}

impl Zip {
    fn create(path: &Path) -> Self {
        Zip { file: File::create(path).unwrap(), at: 0, entries: vec![] }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.file.write_all(bytes).unwrap();
        self.at += bytes.len() as u64;
    }

    fn header(&mut self, name: &str, crc: u32, size: u64) {
        let name = format!("model/{name}");
        let (size, start) = (u32::try_from(size).unwrap(), u32::try_from(self.at).unwrap());
        // The data start at a multiple of 64 bytes.
        let padding = 63 - (self.at + 30 + name.len() as u64 + 4 + 63) % 64;
        let mut head = b"PK\x03\x04\0\0\0\0\0\0\0\0\0\0".to_vec();
        head.extend([crc, size, size].iter().flat_map(|n| n.to_le_bytes()));
        head.extend((name.len() as u16).to_le_bytes());
        head.extend((padding as u16 + 4).to_le_bytes());
        head.extend(name.as_bytes());
        head.extend(b"FB");
        head.extend((padding as u16).to_le_bytes());
        head.resize(head.len() + padding as usize, b'Z');
        self.put(&head);
        self.entries.push((name, crc, size, start));
    }

    fn add(&mut self, name: &str, bytes: &[u8]) {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        self.header(name, crc.sum(), bytes.len() as u64);
        self.put(bytes);
    }

    /// Zeros that take no space on the disk, with no CRC.
    fn add_hole(&mut self, name: &str, size: u64) {
        self.header(name, 0, size);
        self.at = self.file.seek(SeekFrom::Current(size as i64)).unwrap();
    }

    fn finish(mut self) {
        let start = self.at;
        for (name, crc, size, at) in std::mem::take(&mut self.entries) {
            let mut entry = b"PK\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
            entry.extend([crc, size, size].iter().flat_map(|n| n.to_le_bytes()));
            entry.extend((name.len() as u16).to_le_bytes());
            entry.extend([0; 12]);
            entry.extend(at.to_le_bytes());
            entry.extend(name.as_bytes());
            self.put(&entry);
            self.entries.push((name, crc, size, at));
        }
        let count = (self.entries.len() as u16).to_le_bytes();
        let size = ((self.at - start) as u32).to_le_bytes();
        let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
        [&count[..], &count, &size, &(start as u32).to_le_bytes(), &[0, 0]]
            .iter()
            .for_each(|part| end.extend_from_slice(part));
        self.put(&end);
    }
}

/// The script's `formula`: numbers that follow from a name, splitmix64 seeded with its FNV-1a hash.
fn formula(name: &str, shape: &[usize]) -> Vec<f32> {
    let n: usize = shape.iter().product();
    let part = name.split('#').next().and_then(|key| key.rsplit('.').next()).unwrap();
    let (scale, offset) = match part {
        "running_mean" => return vec![0.0; n],
        "running_var" => return vec![1.0; n],
        _ if shape.len() > 1 => {
            let k = (0..).find(|&k| 4usize.pow(k) * 8 >= n / shape[0]).unwrap();
            (2.0 * 0.5f64.powi(k as i32), 0.5)
        }
        "weight" if name.contains(".bn3.") => (0.125, -0.5),
        "weight" => (1.0, -0.5),
        _ => (0.5, 0.5),
    };
    let hash = |h: u64, byte: u8| (h ^ u64::from(byte)).wrapping_mul(0x100000001b3);
    let mut state = name.bytes().fold(0xcbf29ce484222325, hash);
    let mut next = || {
        state = state.wrapping_add(0x9e3779b97f4a7c15);
        let z: u64 = (state ^ (state >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
        ((z ^ (z >> 31)) >> 40) as f64 / (1 << 24) as f64
    };
    (0..n).map(|_| (scale * (next() - offset)) as f32).collect()
}

/// The last layer's weight or bias, as the golden script fitted it.
fn head(name: &str, part: &str) -> Vec<f32> {
    let tensors = load(&folder().join("heads.safetensors"));
    let bytes = &tensors[&format!("{name}.{part}")];
    if part == "bias" {
        return to_f32(bytes);
    }
    let exponent = tensors[&format!("{name}.exponent")][..4].try_into().unwrap();
    let scale = 2f32.powi(-i32::from_le_bytes(exponent));
    bytes.iter().map(|&byte| byte as i8 as f32 * scale).collect()
}

/// The script's `snapshot`, in the file that the trainer leaves.
fn write_snapshot(path: &Path, name: &str, network: &Network, epoch: usize) {
    let mut zip = Zip::create(path);
    zip.add("data.pkl", &gunzip(&format!("{name}.pkl.gz")));
    zip.add("byteorder", b"little");
    for (i, (key, shape)) in network.tensors.iter().enumerate() {
        let part = key.rsplit('.').next().unwrap();
        let entry = format!("data/{i}");
        if part == "num_batches_tracked" {
            zip.add(&entry, &(1000 * (epoch as i64 + 1)).to_le_bytes());
            continue;
        }
        let mut values = match key.split('.').next() {
            Some("fc" | "classifier") => head(name, part),
            _ => formula(key, shape),
        };
        if !part.starts_with("running_") {
            let other = formula(&format!("{key}#{epoch}"), shape);
            values.iter_mut().zip(other).for_each(|(value, other)| *value += other / 16.0);
        }
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        zip.add(&entry, &bytes);
    }
    for (i, &size) in network.momentum.iter().enumerate() {
        zip.add_hole(&format!("data/{}", network.tensors.len() + i), size);
    }
    zip.add("version", b"3\n");
    zip.finish();
}

/// `imagenet/train` and `imagenet/val` with some photographs.
fn write_tree(dir: &Path, files: &BTreeMap<String, String>) {
    for (path, source) in files {
        let path = dir.join("imagenet").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(fixtures().join("pixels").join(source), path).unwrap();
    }
}

fn document() -> String {
    fs::read_to_string(folder().join("../../docs/imagenet.md")).unwrap()
}

/// The blocks marked `sh`.
fn blocks() -> Vec<String> {
    let text = document();
    let blocks = text.split("\n```sh\n").skip(1);
    blocks.map(|block| block.split("\n```\n").next().unwrap().to_string()).collect()
}

/// Runs a block of the document as its reader would.
fn run(dir: &Path, name: &str, block: &str) -> String {
    let tools = Path::new(env!("CARGO_BIN_EXE_swa-eval")).parent().unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-euc", block])
        .current_dir(dir)
        .env("PATH", path)
        .env("NET", name)
        // Tests run beside each other: waiting threads must not spin.
        .env("OMP_WAIT_POLICY", "passive")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {block}\n{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_of_the_document_is_one_that_runs() {
    let run = blocks().join("\n");
    let mut fenced = false;
    let mut commands = 0;
    for line in document().lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if fenced
            && ["swa-avg ", "swa-bn-update ", "swa-eval "].iter().any(|t| line.contains(t))
        {
            assert!(run.lines().any(|other| other == line), "not in a block that runs: {line}");
            commands += 1;
        } else if line.starts_with("    swa-") {
            panic!("a command outside of the blocks that run: {line}");
        }
    }
    assert!(commands >= 12, "{commands}");
}

#[test]
fn resnet50() {
    recipe("resnet50");
}

#[test]
fn resnet152() {
    recipe("resnet152");
}

#[test]
fn densenet161() {
    recipe("densenet161");
}

fn recipe(name: &str) {
    let golden = golden();
    let dir = tempfile::tempdir().unwrap();
    write_tree(dir.path(), &golden.files);
    let networks: BTreeMap<String, Network> =
        serde_json::from_slice(&gunzip("networks.json.gz")).unwrap();
    let at = |file: &str| dir.path().join(name).join(file);
    fs::create_dir(dir.path().join(name)).unwrap();
    for epoch in EPOCHS {
        write_snapshot(&at(&format!("model_{epoch}.pth")), name, &networks[name], epoch);
    }
    // The trainer's copy of the last one.
    fs::hard_link(at("model_9.pth"), at("checkpoint.pth")).unwrap();
    for block in blocks() {
        run(dir.path(), name, &block);
    }
    let logits = at("logits.safetensors");
    let command = "swa-eval $NET/swa_bn_eval.pth $NET/model_9.pth --data imagenet/val \
                   --logits $NET/logits.safetensors --json --quiet";
    let report: Value = serde_json::from_str(&run(dir.path(), name, command)).unwrap();
    let found = to_f32(&load(&logits)["logits"]);
    let expected = load(&folder().join("logits.safetensors"));
    let images = golden.files.keys().filter(|path| path.starts_with("val/")).count();
    for (i, model) in ["swa_bn", "model_9"].into_iter().enumerate() {
        let key = format!("{name}.{model}");
        let (expected, counts) = (to_f32(&expected[&key]), &golden.models[&key]);
        let found = &found[i * expected.len()..][..expected.len()];
        let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let error = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        println!("{key}: logits off by {:.1e} of the largest", error / largest);
        assert!(error <= LOGITS * largest, "{key}: logits off by {error} of {largest}");
        assert_eq!(counts.near_ties, [0usize; 0], "{key}: choose other weights");
        let row = &report["models"][i];
        assert_eq!(
            (row["n"].as_u64(), row["correct"].as_u64()),
            (Some(images as u64), Some(counts.top1))
        );
        let top5 = row["top5"].as_f64().unwrap() / 100.0 * images as f64;
        assert!((top5 - counts.top5 as f64).abs() < 1e-6, "{key}: {top5}");
    }
    // Right on some images and wrong on others, or nothing was compared.
    assert!((1..images as u64).contains(&golden.models[&format!("{name}.swa_bn")].top1));

    // What the blocks left behind.
    let from_safetensors = load(&at("swa_bn.safetensors"));
    let record = metadata(&at("swa_bn.safetensors"));
    let record: Value = serde_json::from_str(&record["swa"]).unwrap();
    assert_eq!(record["bn_update"]["images"], images);
    assert_eq!(from_safetensors.len(), networks[name].tensors.len());
    let json: Value = serde_json::from_slice(&fs::read(at("eval.json")).unwrap()).unwrap();
    assert_eq!(json["models"].as_array().unwrap().len(), 1 + EPOCHS.len());
    assert_eq!(
        (&json["transform"]["preset"], &json["ensemble"]["n"]),
        (&"imagenet".into(), &images.into())
    );
    assert!(at("resume.pth").exists() && at("swa_5.pth").exists());
}
