//! Exported programs, as PyTorch of several versions wrote them: fixtures/programs has the scripts.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::path::Path;

use swa_testing::{fails, fixtures, swa_avg};
use swa_tools::Kind;
use swa_tools::programs::{Argument, BatchNorm, Node, Op, Output, Program};

/// The program that a fixture packs.
fn unpacked(name: &str) -> tempfile::NamedTempFile {
    let path = fixtures().join(format!("programs/{name}.pt2.gz"));
    let packed = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = vec![];
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    let mut file = tempfile::Builder::new().suffix(".pt2").tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    file
}

fn open(name: &str) -> Program {
    Program::open(unpacked(name).path()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn each_node<'a>(nodes: &'a [Node], visit: &mut dyn FnMut(&'a Node)) {
    for node in nodes {
        visit(node);
        if let Op::Autocast { nodes, .. } = &node.op {
            each_node(nodes, visit);
        }
    }
}

fn all_nodes(program: &Program) -> Vec<&Node> {
    let mut all = vec![];
    each_node(&program.graph().nodes, &mut |node| all.push(node));
    all
}

fn batch_norms(program: &Program) -> Vec<&BatchNorm> {
    all_nodes(program)
        .into_iter()
        .filter_map(|node| match &node.op {
            Op::BatchNorm(norm) => Some(norm),
            _ => None,
        })
        .collect()
}

fn names(program: &Program) -> Vec<&str> {
    let mut names: Vec<&str> = program.tensors().iter().map(|t| &t.name[..]).collect();
    names.sort();
    names
}

#[test]
fn every_version_of_pytorch_writes_the_same_program() {
    let versions = [
        ("_torch2.7.1", (8, 7)),
        ("_torch2.8.0", (8, 8)),
        ("", (8, 17)),
        ("_torch2.15.0", (8, 20)),
    ];
    for name in ["plain", "constants", "decomposed", "static-four", "tokens"] {
        let newest = open(name);
        for (version, schema) in versions {
            let program = open(&format!("{name}{version}"));
            assert_eq!(program.schema(), schema);
            assert_eq!(program.torch(), version.strip_prefix("_torch").unwrap_or("2.11.0"));
            assert_eq!(program.digest(), newest.digest(), "{name}{version}");
            assert_eq!(names(&program), names(&newest), "{name}{version}");
            assert_eq!(program.image(), newest.image());
            let constants = |program: &Program| -> Vec<(String, Vec<u8>)> {
                program.constants().iter().map(|c| (c.name.clone(), c.bytes.clone())).collect()
            };
            assert_eq!(constants(&program), constants(&newest), "{name}{version}");
        }
    }
    assert_ne!(open("plain").digest(), open("decomposed").digest());
    assert_ne!(open("plain").digest(), open("no-affine").digest());
}

#[test]
fn constants_have_their_values() {
    let program = open("constants");
    let values: BTreeMap<&str, (&[usize], &[u8])> =
        program.constants().iter().map(|c| (&c.name[..], (&c.shape[..], &c.bytes[..]))).collect();
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>();
    assert_eq!(values["mean"], (&[3, 1, 1][..], &bytes(&[0.1, 0.2, 0.3])[..]));
    let order: Vec<u8> = [2i64, 0, 1].iter().flat_map(|n| n.to_le_bytes()).collect();
    assert_eq!(values["order"], (&[3][..], &order[..]));
    assert_eq!(values["mask"], (&[16][..], &[1u8, 0].repeat(8)[..]));
    let factors: Vec<u8> = [1.0f64, 0.5, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(values["lifted_tensor_0"], (&[3][..], &factors[..]));
    // A buffer of the state dict is none.
    assert!(!values.contains_key("kept") && names(&program).contains(&"kept"));
}

/// Runs every program of the fixtures in thought: what a node uses is there and was not freed, and nothing is left.
#[test]
fn every_slot_is_defined_before_its_uses_and_freed_after_the_last() {
    let mut count = 0;
    for entry in std::fs::read_dir(fixtures().join("programs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".pt2.gz") else { continue };
        if ["branch", "two-images"].contains(&name) {
            continue; // refused
        }
        let program = open(name);
        let mut own: HashSet<usize> = program.constants().iter().map(|c| c.slot).collect();
        own.extend(program.tensors().iter().filter_map(|tensor| tensor.slot));
        let mut there = own.clone();
        assert!(there.insert(program.image().slot), "{name}");
        each_node(&program.graph().nodes, &mut |node| {
            let mut uses = |slot: usize| assert!(there.contains(&slot), "{name}: {}", node.name);
            node.inputs.iter().for_each(|(_, value)| value.each_slot(&mut uses));
            if let Op::BatchNorm(norm) = &node.op {
                let parts = [norm.weight, norm.bias].into_iter().flatten();
                parts.chain(norm.running.into_iter().flatten()).for_each(&mut uses);
                uses(norm.input);
            }
            let mut defined = vec![];
            node.outputs.iter().for_each(|output| output.each_slot(&mut |slot| defined.push(slot)));
            for slot in defined {
                assert!(
                    there.insert(slot) && slot < program.graph().slots,
                    "{name}: {}",
                    node.name
                );
            }
            node.free.iter().for_each(|slot| {
                assert!(there.remove(slot) && !own.contains(slot), "{name}: {}", node.name);
            });
        });
        let mut left: HashSet<usize> = there.difference(&own).copied().collect();
        program.graph().outputs.iter().for_each(|output| {
            output.each_slot(&mut |slot| assert!(there.contains(&slot), "{name}"));
            output.each_slot(&mut |slot| _ = left.remove(&slot));
        });
        assert!(left.is_empty(), "{name}: {left:?}");
        count += 1;
    }
    assert!(count > 60, "{count}");
}

#[test]
fn batchnorm_is_found_in_all_its_forms() {
    for (name, nodes, training) in [
        ("plain", 3, false),
        ("train", 3, true),
        ("decomposed", 3, false),
        ("train-decomposed", 3, true),
        ("no-momentum", 3, false),
        ("volume", 1, false),
        ("functional", 3, false),
        ("sync", 3, false),
        ("shared", 3, false),
        ("googlenet", 57, false),
    ] {
        let program = open(name);
        let norms = batch_norms(&program);
        assert_eq!((norms.len(), program.batchnorm_nodes()), (nodes, nodes), "{name}");
        assert_eq!(program.is_training(), training, "{name}");
        assert!(norms.iter().all(|norm| norm.running.is_some() && norm.depends_on_image), "{name}");
        assert!(norms.iter().all(|norm| norm.training == training), "{name}");
    }
    let eps: HashSet<u64> =
        batch_norms(&open("efficientnet-lite")).iter().map(|n| n.eps.to_bits()).collect();
    assert_eq!(eps, HashSet::from([1e-3f64.to_bits()]));
    assert!(batch_norms(&open("no-affine")).iter().any(|norm| norm.weight.is_none()));
    // Of the images, and of weights that a convolution standardises.
    let without = open("no-statistics");
    assert!(batch_norms(&without).iter().any(|n| n.running.is_none() && n.depends_on_image));
    let standardised = open("nf-regnet");
    let standardised = batch_norms(&standardised);
    assert!(standardised.iter().all(|norm| norm.running.is_none() && !norm.depends_on_image));
    assert_eq!(standardised.len(), 54);
}

#[test]
fn tied_tensors_know_the_first_of_them() {
    let program = open("tied");
    let tensors = program.tensors();
    let alias = |name: &str| {
        let tensor = tensors.iter().find(|tensor| tensor.name == name).unwrap();
        tensor.alias_of.map(|first| &tensors[first].name[..])
    };
    assert_eq!(alias("alias.running_mean"), Some("a.bn.running_mean"));
    assert_eq!(alias("b.conv.weight"), Some("a.conv.weight"));
    assert_eq!((alias("a.bn.running_mean"), alias("b.bn.weight")), (None, None));
    assert!(program.unreached_layers().is_empty());
}

#[test]
fn what_is_no_batchnorm_or_not_reached_is_said() {
    assert_eq!(open("googlenet").unreached_layers(), ["aux1.conv.bn", "aux2.conv.bn"]);
    let frozen = open("frozen");
    let unread: Vec<&str> =
        frozen.unread_statistics().iter().map(|&n| &frozen.tensors()[n].name[..]).collect();
    assert_eq!(unread.len(), 2);
    assert!(
        unread[0].ends_with("running_mean") && unread[1].ends_with("running_var"),
        "{unread:?}"
    );
    assert!(open("plain").unread_statistics().is_empty());
}

#[test]
fn dropout_of_an_export_in_training_mode_is_off_and_other_randomness_is_said() {
    let program = open("train");
    let dropout = all_nodes(&program).into_iter().find(|node| node.op.target().contains("dropout"));
    let train = dropout.unwrap().inputs.iter().find(|(name, _)| name == "train");
    assert_eq!(train.unwrap().1, Argument::Bool(false));
    assert!(program.random().is_empty());
    let random = open("drop-path");
    let random: Vec<(&str, usize)> =
        random.random().iter().map(|drawn| (&drawn.target[..], drawn.nodes)).collect();
    assert_eq!(random, [("aten.bernoulli_.float", 1)]);
    // The counters go nowhere.
    let counts = |node: &&Node| node.op.target().starts_with("aten.add_");
    assert_eq!(all_nodes(&program).into_iter().filter(counts).count(), 0);
}

#[test]
fn blocks_are_dissolved() {
    let program = open("autocast");
    let blocks: Vec<&Node> = all_nodes(&program)
        .into_iter()
        .filter(|node| matches!(node.op, Op::Autocast { .. }))
        .collect();
    assert!(!blocks.is_empty());
    let Op::Autocast { enabled, nodes, .. } = &blocks[0].op else { unreachable!() };
    assert!(!nodes.is_empty() && !enabled);
    let targets = |name: &str| -> Vec<String> {
        all_nodes(&open(name)).iter().map(|node| node.op.target()).collect()
    };
    assert!(targets("no-grad").iter().all(|target| !target.contains("grad")));
    // Assertions are left out.
    assert!(targets("constants").iter().all(|target| !target.contains("assert")));
}

#[test]
fn images_and_outputs_are_described() {
    let shape = |name: &str| open(name).image().shape.clone();
    assert_eq!(shape("plain"), [None, Some(3), Some(32), Some(32)]);
    assert_eq!(shape("any-size"), [None, Some(3), None, None]);
    assert_eq!(shape("grey"), [None, Some(1), Some(32), Some(32)]);
    assert_eq!(shape("static-four"), [Some(4), Some(3), Some(32), Some(32)]);
    assert_eq!(
        (open("upper").image().upper_batch, open("plain").image().upper_batch),
        (Some(4), None)
    );
    assert_eq!(open("dict").outputs(), ["features", "logits"]);
    assert_eq!(open("tuple").outputs(), ["0", "1"]);
    assert_eq!(open("plain").outputs(), [""]);
    let unused = |output: &Output| *output == Output::Unused;
    let program = open("decomposed");
    let norm = all_nodes(&program).into_iter().find(|node| matches!(node.op, Op::BatchNorm(_)));
    // Of its three results the first is used, and the others are left out.
    assert!(matches!(norm.unwrap().outputs[..], [Output::Slot(_)]));
    assert!(all_nodes(&program).iter().all(|node| !node.outputs.iter().all(unused)));
}

#[test]
fn a_node_knows_its_module() {
    let program = open("resnet18");
    let nodes = all_nodes(&program);
    let conv = nodes.iter().find(|node| node.op.target() == "aten.conv2d.default").unwrap();
    assert_eq!((&conv.name[..], &conv.module[..]), ("conv2d", "conv1"));
    assert!(nodes.iter().any(|node| node.module == "layer1.0.bn1"));
}

fn refused(path: &Path) -> (Kind, String) {
    let error = Program::open(path).unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn files_of_other_kinds_are_refused_as_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        std::fs::write(dir.path().join(name), bytes).unwrap();
        dir.path().join(name)
    };
    let pte = file("model.pte", b"\x1c\0\0\0ET12\0\0\0\0\0\0\0\0");
    let onnx = file("model.onnx", b"\x08\x08\x12\x07pytorch\x1a\x052.9.0");
    let text = file("notes.txt", b"nothing of the kind");
    let formats = fixtures().join("formats");
    for (path, part) in [
        (formats.join("hostile-torchscript/0.pt"), "a TorchScript file"),
        (formats.join("torch-root/ckpt_0000.pth"), "a checkpoint (PyTorch zip): weights without"),
        (formats.join("hostile-module/0.pt"), "a whole pickled `"),
        (pte, "an ExecuTorch program (.pte)"),
        (onnx, "an ONNX file"),
        (text, "not an exported program"),
    ] {
        let (kind, message) = refused(&path);
        assert_eq!(kind, Kind::Unsupported, "{message}");
        assert!(message.contains(part), "{message}");
        assert!(message.contains("torch.export.save(program, "), "{message}");
        assert_eq!(message.matches(&*path.to_string_lossy()).count(), 1, "{message}");
    }
    let (kind, message) = refused(unpacked("branch").path());
    assert_eq!(kind, Kind::Unsupported);
    assert!(message.contains("`cond` (a branch on data) cannot be run"), "{message}");
    let (_, message) = refused(unpacked("two-images").path());
    assert!(message.contains("it takes 2 inputs, `x`, `y`"), "{message}");
    assert_eq!(refused(&dir.path().join("none.pt2")).0, Kind::NoMatch);
}

#[test]
fn a_program_is_listed_and_never_averaged() {
    let program = unpacked("googlenet");
    let path = program.path();
    let listed = swa_avg().arg("--list").arg(path).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    for part in [
        "exported program (torch 2.11.0, schema 8.17), which --program takes",
        "images   batch × 3 × 96 × 96",
        "batchnorm 57 nodes",
        "does not reach: aux1.conv.bn, aux2.conv.bn",
        "conv1.bn.running_mean",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let output = path.with_extension("safetensors");
    let parts = ["an exported program (torch.export), not weights", "--program"];
    fails(swa_avg().arg(path).arg("-o").arg(&output), 3, &parts);
    assert!(!output.exists());
}
