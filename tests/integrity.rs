//! Digests: what the tools wrote is found damaged when it is. And folders of shards.

use safetensors::Dtype;
use swa_testing::*;

fn averaged() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("a"), &[f32s("w", &[1.0, 2.0, 3.0]), f32s("v", &[4.0]), i64s("n", &[7])]);
    swa_avg().current_dir(&dir).args(["a", "-o", "swa"]).assert().success();
    dir
}

#[test]
fn a_flip_of_any_bit_of_any_byte_is_found() {
    let dir = averaged();
    swa_avg().current_dir(&dir).args(["--verify", "swa"]).assert().success();
    let whole = std::fs::read(dir.path().join("swa")).unwrap();
    for at in 0..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(dir.path().join("bad"), bad).unwrap();
        let output = swa_avg().current_dir(&dir).args(["--verify", "bad"]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "byte {at}: {text}");
        assert!(text.contains("`bad`: "), "{text}");
    }
}

#[test]
fn a_damaged_input_stops_before_any_output() {
    let dir = averaged();
    let path = dir.path().join("swa");
    let mut bytes = std::fs::read(&path).unwrap();
    // The tensors end the file: n, v, w in the input's order.
    let at = bytes.len() - 1;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut command = swa_avg();
    command.current_dir(&dir).args(["swa", "a", "-o", "out"]);
    fails(&mut command, 3, &["`swa`: tensor `", "do not match their checksum", "--no-verify"]);
    assert_eq!(listing(dir.path()), ["a", "swa"]);
    command.arg("--no-verify").assert().success();
}

#[test]
fn a_file_of_many_blocks_is_verified_by_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let values: Vec<f32> = (0..700_001).map(|i| i as f32).collect();
    save(&dir.path().join("a"), &[f32s("w", &values), f32s("v", &values[..300_000])]);
    swa_avg().current_dir(&dir).args(["a", "-o", "one"]).assert().success();
    // Averages of averages, in another type, where blocks of input and output differ in size.
    for args in [&["--dtype", "bf16"][..], &["--dtype", "f64", "--threads", "1"], &[]] {
        let mut command = swa_avg();
        command
            .current_dir(&dir)
            .args(["one", "-o", "two", "--force"])
            .args(args)
            .assert()
            .success();
        swa_avg().current_dir(&dir).args(["--verify", "two"]).assert().success();
        command.assert().success();
    }
    let mut bytes = std::fs::read(dir.path().join("one")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 16;
    std::fs::write(dir.path().join("one"), bytes).unwrap();
    fails(swa_avg().current_dir(&dir).args(["one", "-o", "three"]), 3, &["tensor `w`"]);
}

#[test]
fn a_file_without_digests_says_so() {
    let dir = averaged();
    fails(swa_avg().current_dir(&dir).args(["--verify", "a"]), 3, &["`a`: holds no checksums"]);
    // Digests of another file's tensors.
    let mut text = metadata(&dir.path().join("swa"));
    let value = text.remove("swa.xxh3").unwrap();
    let bytes = 1f32.to_le_bytes();
    let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![1], &bytes).unwrap();
    let kept = Some([("swa.xxh3".to_string(), value)].into());
    std::fs::write(dir.path().join("b"), safetensors::serialize([("w", view)], kept).unwrap())
        .unwrap();
    fails(
        swa_avg().current_dir(&dir).args(["b", "-o", "out"]),
        3,
        &["does not have one digest per tensor"],
    );
}

/// A model of two shards in a folder, all values `x`.
fn sharded(dir: &std::path::Path, x: f32) {
    std::fs::create_dir(dir).unwrap();
    save(&dir.join("model-00001-of-00002.safetensors"), &[f32s("a", &[x; 4]), f32s("b", &[x; 4])]);
    save(&dir.join("model-00002-of-00002.safetensors"), &[f32s("c", &[x; 8])]);
    let map = r#"{"metadata":{"total_size":64},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00001-of-00002.safetensors","c":"model-00002-of-00002.safetensors"}}"#;
    std::fs::write(dir.join("model.safetensors.index.json"), map).unwrap();
    std::fs::write(dir.join("config.json"), format!("{{\"x\": {x}}}")).unwrap();
    std::fs::write(dir.join("optimizer.pt"), "large").unwrap();
}

fn two_sharded() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    sharded(&dir.path().join("checkpoint-9"), 1.0);
    sharded(&dir.path().join("checkpoint-10"), 4.0);
    dir
}

#[test]
fn folders_average_to_a_folder_with_the_same_shards() {
    let dir = two_sharded();
    // What Sentence Transformers keep beside it is of the model; logs are not.
    for (folder, file) in
        [("1_Pooling", "config.json"), ("runs", "events.out"), (".cache", "x.json")]
    {
        let folder = dir.path().join("checkpoint-10").join(folder);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(file), "{}").unwrap();
    }
    // A second model of Accelerate's; the index is the first one's.
    save(&dir.path().join("checkpoint-10/model_1.safetensors"), &[f32s("a", &[1.0])]);
    let mut command = swa_avg();
    let said = command.current_dir(&dir).args(["checkpoint-*", "-o", "swa"]).output().unwrap();
    let said = String::from_utf8(said.stderr).unwrap();
    let expected =
        "note: 1 folder(s) in `checkpoint-10`, such as `1_Pooling`, are not copied: files are";
    assert!(said.contains(expected), "{said}");
    let expected =
        "note: `checkpoint-10` holds `model_1.safetensors` as well, which is not averaged";
    assert!(said.contains(expected), "{said}");
    std::fs::remove_file(dir.path().join("checkpoint-10/model_1.safetensors")).unwrap();
    let out = dir.path().join("swa");
    assert_eq!(
        listing(&out),
        [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json"
        ]
    );
    assert_eq!(std::fs::read_to_string(out.join("config.json")).unwrap(), "{\"x\": 4}");
    assert_eq!(to_f32(&load(&out.join("model-00001-of-00002.safetensors"))["b"]), [2.5; 4]);
    assert_eq!(to_f32(&load(&out.join("model-00002-of-00002.safetensors"))["c"]), [2.5; 8]);
    let index = std::fs::read(out.join("model.safetensors.index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(index["metadata"]["total_size"], 64);
    assert_eq!(index["weight_map"]["c"], "model-00002-of-00002.safetensors");
    swa_avg().current_dir(&dir).args(["--verify", "swa"]).assert().success();
    // And again over itself: as a whole.
    swa_avg().current_dir(&dir).args(["checkpoint-*", "-o", "swa", "--force"]).assert().success();
    assert_eq!(listing(dir.path()), ["checkpoint-10", "checkpoint-9", "swa"]);
}

#[test]
fn shards_can_have_another_size_or_become_one_file() {
    let dir = two_sharded();
    let args = ["checkpoint-*", "-o", "swa", "--max-shard-size", "20B"];
    swa_avg().current_dir(&dir).args(args).assert().success();
    let shards = listing(&dir.path().join("swa"));
    assert!(shards.contains(&"model-00003-of-00003.safetensors".to_string()), "{shards:?}");
    swa_avg()
        .current_dir(&dir)
        .args(["swa", "checkpoint-9", "-o", "x.safetensors"])
        .assert()
        .success();
    assert_eq!(to_f32(&load(&dir.path().join("x.safetensors"))["c"]), [1.75; 8]);
    let args = ["x.safetensors", "-o", "x", "--max-shard-size", "20B"];
    swa_avg().current_dir(&dir).args(args).assert().success();
    assert_eq!(listing(&dir.path().join("x")).len(), 4);
}

#[test]
fn a_shard_that_is_missing_or_foreign_is_named() {
    let dir = two_sharded();
    let shard = dir.path().join("checkpoint-9/model-00002-of-00002.safetensors");
    std::fs::remove_file(&shard).unwrap();
    let mut command = swa_avg();
    command.current_dir(&dir).args(["checkpoint-*", "-o", "swa"]);
    fails(&mut command, 3, &["checkpoint-9`: shard `model-00002-of-00002.safetensors` is missing"]);
    save(&shard, &[f32s("d", &[1.0; 8])]);
    fails(&mut command, 3, &["tensor `c`", "does not have it"]);
    let index = dir.path().join("checkpoint-9/model.safetensors.index.json");
    std::fs::write(index, r#"{"weight_map":{"a":"../../etc/passwd"}}"#).unwrap();
    fails(&mut command, 3, &["which is not a file name"]);
    assert_eq!(listing(dir.path()), ["checkpoint-10", "checkpoint-9"]);
}

#[test]
fn a_folder_that_holds_other_things_is_not_replaced() {
    let dir = two_sharded();
    std::fs::create_dir(dir.path().join("mine")).unwrap();
    std::fs::write(dir.path().join("mine/thesis.tex"), "years").unwrap();
    let mut command = swa_avg();
    command.current_dir(&dir).args(["checkpoint-*", "-o", "mine"]);
    fails(&mut command, 2, &["`mine`: exists already"]);
    fails(command.arg("--force"), 2, &["holds more than one model's files"]);
    assert_eq!(listing(&dir.path().join("mine")), ["thesis.tex"]);
    let mut command = swa_avg();
    command.current_dir(&dir).args(["checkpoint-*", "-o", "checkpoint-9", "--force"]);
    let text = fails(&mut command, 2, &["checkpoint-9"]);
    assert!(text.contains("input"), "{text}");
}

/// A file may have checksums for some of its tensors alone: nothing is promised of the others.
#[test]
fn tensors_without_a_checksum_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(fixtures().join("formats/torch-model/ckpt_0000.pth")).unwrap();
    // In the directory at the end: a signature, 42 bytes, the name. The CRC stands 16 bytes in, in the local header
    // 14 bytes in, or behind the data; 0 means that it was not computed.
    let name = b"/data/0";
    let ends =
        |at: &usize| bytes[*at..].starts_with(name) && !bytes[at + name.len()].is_ascii_digit();
    let at = (0..bytes.len() - name.len()).rfind(ends).unwrap();
    let entry = (0..at).rfind(|&at| bytes[at..].starts_with(b"PK\x01\x02")).unwrap();
    let crc: [u8; 4] = bytes[entry + 16..entry + 20].try_into().unwrap();
    assert_ne!(crc, [0; 4]);
    for at in 0..bytes.len() - 4 {
        if bytes[at..at + 4] == crc {
            bytes[at..at + 4].fill(0);
        }
    }
    std::fs::write(dir.path().join("part.pth"), bytes).unwrap();
    let verified = text(swa_avg().current_dir(&dir).args(["--verify", "part.pth"]));
    assert!(verified.contains("are as they were written; 1 have no checksum"), "{verified}");
    let json = text(swa_avg().current_dir(&dir).args(["--verify", "part.pth", "--json"]));
    assert!(json.contains("\"without_checksum\":[1]"), "{json}");
}
