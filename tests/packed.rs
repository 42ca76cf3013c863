//! Zip files whose members are compressed, as `zip -r` and other tools write them again: PyTorch reads them, and NumPy's
//! `savez_compressed` writes them. They give what the same files give as they were.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use swa_testing::*;

fn u16_at(bytes: &[u8], at: usize) -> usize {
    u16::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize
}

/// Names and bytes of the members of a zip file in which all are stored.
fn members(file: &[u8]) -> Vec<(String, Vec<u8>)> {
    let end = file.windows(4).rposition(|w| w == b"PK\x05\x06").unwrap();
    let (count, mut at) = (u16_at(file, end + 10), u32_at(file, end + 16));
    let mut all = vec![];
    for _ in 0..count {
        let (size, name) = (u32_at(file, at + 24), u16_at(file, at + 28));
        let local = u32_at(file, at + 42);
        let data = local + 30 + u16_at(file, local + 26) + u16_at(file, local + 28);
        let text = String::from_utf8(file[at + 46..at + 46 + name].to_vec()).unwrap();
        all.push((text, file[data..data + size].to_vec()));
        at += 46 + name + u16_at(file, at + 30) + u16_at(file, at + 32);
    }
    all
}

fn deflated(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(vec![], Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The same with members compressed, but for those that `stays` names.
fn pack(file: &[u8], level: u32, stays: impl Fn(&str) -> bool) -> Vec<u8> {
    pack_all(&members(file), level, stays)
}

/// A zip file of these members.
fn pack_all(all: &[(String, Vec<u8>)], level: u32, stays: impl Fn(&str) -> bool) -> Vec<u8> {
    let (mut out, mut directory) = (vec![], vec![]);
    for (name, bytes) in all {
        let (method, packed) = match stays(name) {
            true => (0u16, bytes.clone()),
            false => (8, deflated(bytes, level)),
        };
        let crc = crc32fast_of(bytes);
        let at = (out.len() as u32).to_le_bytes();
        let sizes = [crc, packed.len() as u32, bytes.len() as u32].map(u32::to_le_bytes).concat();
        let head = [&[20, 0, 0, 0][..], &method.to_le_bytes(), &[0; 4], &sizes].concat();
        let length = (name.len() as u16).to_le_bytes();
        let local = [b"PK\x03\x04", &head[..], &length, &[0; 2], name.as_bytes(), &packed].concat();
        out.extend(local);
        let central = [b"PK\x01\x02\x14\0", &head[..], &length, &[0; 12], &at, name.as_bytes()];
        directory.extend(central.concat());
    }
    let count = (all.len() as u16).to_le_bytes();
    let ends = [(directory.len() as u32).to_le_bytes(), (out.len() as u32).to_le_bytes()].concat();
    out.extend(directory);
    out.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &ends, &[0; 2]].concat());
    out
}

fn crc32fast_of(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

struct Run(tempfile::TempDir);

impl Run {
    /// Two PyTorch files: some values that repeat, some that do not, a tensor larger than several blocks.
    fn new() -> Self {
        let run = Run(tempfile::tempdir().unwrap());
        for n in 0..2u32 {
            let w: Vec<f32> = (0..700_000u32)
                .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(n) >> 9) as f32 * 1e-4)
                .collect();
            let flat: Vec<f32> = (0..90_000).map(|i| (i / 999) as f32 + n as f32).collect();
            let tensors = [f32s("w", &w), f32s("flat", &flat), i64s("n", &[7])];
            save(&run.path("x.safetensors"), &tensors);
            run.avg(&format!("x.safetensors -qo s_{n}.pth --force")).assert().success();
        }
        run
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn avg(&self, line: &str) -> assert_cmd::Command {
        let mut command = swa_avg();
        command.current_dir(self.0.path()).args(line.split(' '));
        command
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }
}

#[test]
fn compressed_pytorch_files_give_the_same_mean() {
    let run = Run::new();
    run.avg("s_0.pth s_1.pth -qo expected.safetensors").assert().success();
    let expected = load(&run.path("expected.safetensors"));
    let is_small = |name: &str| !name.contains("/data/");
    let is_data = |name: &str| name.contains("/data/");
    let none = |_: &str| false;
    type Stays<'s> = &'s dyn Fn(&str) -> bool;
    let ways: [(u32, Stays); 4] = [(6, &none), (1, &none), (9, &is_small), (6, &is_data)];
    for (level, stays) in ways {
        for n in 0..2 {
            run.write(&format!("p_{n}.pth"), &pack(&run.read(&format!("s_{n}.pth")), level, stays));
        }
        for (line, threads) in
            [("p_0.pth p_1.pth", 1), ("p_0.pth s_1.pth", 4), ("s_0.pth p_1.pth", 2)]
        {
            let line = format!("{line} -qo out.safetensors --force --threads {threads}");
            run.avg(&line).assert().success();
            assert!(load(&run.path("out.safetensors")) == expected, "{line}, level {level}");
        }
        // The same weights count once, whatever their container.
        let notes = run.avg("p_0.pth s_0.pth s_1.pth -o out.safetensors --force").output().unwrap();
        let notes = String::from_utf8(notes.stderr).unwrap();
        assert!(notes.contains("has the same weights as"), "{notes}");
        assert!(load(&run.path("out.safetensors")) == expected);
        run.avg("--verify p_0.pth").assert().success();
        run.avg("--list p_0.pth").assert().success();
        run.avg("p_0.pth p_1.pth --state s -qo out.safetensors --force").assert().success();
        assert!(load(&run.path("out.safetensors")) == expected);
        std::fs::remove_file(run.path("s")).unwrap();
    }
}

#[test]
fn a_folder_of_a_compressed_file_and_arrays_are_read() {
    let run = Run::new();
    for n in 0..2 {
        std::fs::create_dir(run.path(&format!("checkpoint-{n}"))).unwrap();
        let packed = pack(&run.read(&format!("s_{n}.pth")), 6, |_| false);
        run.write(&format!("checkpoint-{n}/pytorch_model.bin"), &packed);
        run.write(&format!("checkpoint-{n}/config.json"), b"{}");
    }
    run.avg("s_0.pth s_1.pth -qo expected.safetensors").assert().success();
    run.avg("checkpoint-0 checkpoint-1 -qo averaged").assert().success();
    let expected = load(&run.path("expected.safetensors"));
    assert!(load(&run.path("averaged/model.safetensors")) == expected);
    // NumPy's `savez_compressed`, which the fixtures have stored.
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats/npz");
    let mut files: Vec<PathBuf> = std::fs::read_dir(fixture)
        .map(|all| all.map(|file| file.unwrap().path()).collect())
        .unwrap_or_default();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "npz"));
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        run.write("a.npz", &bytes);
        run.write("b.npz", &pack(&bytes, 6, |_| false));
        run.avg("a.npz -qo a.safetensors --force").assert().success();
        run.avg("b.npz -qo b.safetensors --force").assert().success();
        assert!(load(&run.path("a.safetensors")) == load(&run.path("b.safetensors")), "{file:?}");
    }
}

#[test]
fn a_pickle_that_grows_beyond_measure_is_refused() {
    let run = Run::new();
    let mut all = members(&run.read("s_0.pth"));
    let pickle = &mut all.iter_mut().find(|(name, _)| name.ends_with("/data.pkl")).unwrap().1;
    *pickle = [&b"\x80\x02("[..], &b"N2".repeat(1 << 20), b"t."].concat();
    run.write("bomb.pth", &pack_all(&all, 9, |_| false));
    let parts = ["bomb.pth", "its pickle grows from", "to 2097157 bytes", "torch.save"];
    fails(&mut run.avg("bomb.pth -o out.safetensors"), 6, &parts);
}

/// PyTorch looks for members without regard to capital letters, and takes another one.
#[test]
fn members_that_differ_by_capital_letters_are_refused() {
    let run = Run::new();
    for (member, capital, why) in [
        ("data.pkl", "DATA.pkl", "which is read as `data.pkl`"),
        ("data/0", "Data/0", "twice, but for capital letters"),
    ] {
        let mut all = members(&run.read("s_0.pth"));
        let twice = all.iter().find(|(name, _)| name.ends_with(member)).unwrap().clone();
        all.push((twice.0.replace(member, capital), twice.1));
        run.write("case.pth", &pack_all(&all, 0, |_| true));
        let parts = ["case.pth", capital, why];
        fails(&mut run.avg("case.pth -o out.safetensors"), 3, &parts);
    }
}

#[test]
fn what_is_wrong_with_compressed_bytes_is_named() {
    let run = Run::new();
    let whole = pack(&run.read("s_0.pth"), 6, |_| false);
    let place = places(&whole, 2_800_000);
    // A flipped bit somewhere in the values: the stream breaks, or its checksum does.
    for step in 1..12 {
        let mut bytes = whole.clone();
        bytes[place.0 + place.1 * step / 12] ^= 4;
        run.write("bad.pth", &bytes);
        let error = fails(&mut run.avg("bad.pth -o out.safetensors"), 3, &["bad.pth"]);
        assert!(error.contains("compressed bytes") || error.contains("do not match"), "{error}");
    }
    // Sizes that lie: a little, and as a bomb does.
    for (size, part) in [
        (2_800_001u32, "end before the size"),
        (2_799_999, "hold more"),
        (u32::MAX - 1, "cannot become"),
    ] {
        let mut bytes = whole.clone();
        for at in [place.2 + 24, place.3 + 22] {
            bytes[at..at + 4].copy_from_slice(&size.to_le_bytes());
        }
        run.write("bad.pth", &bytes);
        let message = fails(&mut run.avg("bad.pth -o out.safetensors"), 3, &["bad.pth"]);
        assert!(message.contains(part) || message.contains("storage"), "{size}: {message}");
    }
    // Another method, and a copy with other values.
    let mut bytes = whole.clone();
    for at in [place.2 + 10, place.3 + 8] {
        bytes[at] = 12;
    }
    run.write("bad.pth", &bytes);
    let parts = ["compressed by a method that is not read", "without compression"];
    fails(&mut run.avg("bad.pth -o out.safetensors"), 3, &parts);
    run.write("p.pth", &whole);
    let parts = ["--like", "compressed", "without compression"];
    fails(&mut run.avg("s_0.pth s_1.pth --like p.pth -o out.pth"), 3, &parts);
}

/// Of the member that has so many bytes: where its bytes are, how many, and where its entries in the directory and before it are.
fn places(file: &[u8], size: usize) -> (usize, usize, usize, usize) {
    let end = file.windows(4).rposition(|w| w == b"PK\x05\x06").unwrap();
    let mut at = u32_at(file, end + 16);
    loop {
        let name = u16_at(file, at + 28);
        if u32_at(file, at + 24) == size {
            let local = u32_at(file, at + 42);
            let data = local + 30 + u16_at(file, local + 26) + u16_at(file, local + 28);
            return (data, u32_at(file, at + 20), at, local);
        }
        at += 46 + name + u16_at(file, at + 30) + u16_at(file, at + 32);
    }
}

#[test]
fn a_file_that_shrinks_or_cannot_be_mapped_is_read_or_named() {
    let run = Run::new();
    for n in 0..2 {
        run.write(&format!("p_{n}.pth"), &pack(&run.read(&format!("s_{n}.pth")), 6, |_| false));
    }
    run.avg("p_0.pth p_1.pth -qo a.safetensors").assert().success();
    // Followers map nothing.
    let line = "--follow p_*.pth --until 2 --poll 0.01 -qo b.safetensors";
    run.avg(line).assert().success();
    assert!(load(&run.path("a.safetensors")) == load(&run.path("b.safetensors")));
    let bytes = run.read("p_0.pth");
    for part in 1..8 {
        run.write("cut.pth", &bytes[..bytes.len() * part / 8]);
        fails(&mut run.avg("cut.pth -o out.safetensors"), 3, &["cut.pth"]);
    }
}
