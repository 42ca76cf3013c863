//! What the tools share: flags, exit codes, progress, output.

#[cfg(feature = "torch")]
pub mod compare;
#[cfg(feature = "torch")]
pub mod data;
#[cfg(feature = "torch")]
pub mod evaluation;
#[cfg(feature = "torch")]
pub mod evaluation_files;
pub mod list;
#[cfg(feature = "torch")]
pub mod pace;
#[cfg(feature = "torch")]
pub mod parts;
#[cfg(feature = "torch")]
pub mod statistics;
pub mod take;

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::error::{Kind, printable};
use crate::{Error, Result, checkpoint, output, panics};

/// Flags of every tool.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// Print one JSON object instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Print nothing but errors (and JSON, with --json)
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,

    /// Number of threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

impl Common {
    /// To be called once, before any work.
    pub fn start(&self) -> Result<()> {
        let mut pool = rayon::ThreadPoolBuilder::new();
        if let Some(threads) = self.threads {
            pool = pool.num_threads(threads.into());
        }
        pool.build_global().map_err(|e| Error::limit(format!("cannot start threads: {e}")))
    }

    /// A line for people, on stdout; silent with --quiet or --json.
    pub fn say(&self, line: impl Display) -> Result<()> {
        if self.quiet || self.json {
            return Ok(());
        }
        let text = line.to_string();
        print(text.lines().map(printable).collect::<Vec<_>>().join("\n"))
    }

    /// A remark about what is going on, on stderr; silent with --quiet.
    pub fn note(&self, line: impl Display) {
        if !self.quiet {
            panics::stderr_line(&printable(&line.to_string()));
        }
    }

    /// The result for machines, if asked for.
    pub fn json(&self, value: serde_json::Value) -> Result<()> {
        if self.json { print(value) } else { Ok(()) }
    }

    /// A progress bar on stderr, on a terminal only. `unit` is "bytes" or what is counted.
    pub fn progress(&self, total: u64, unit: &str) -> ProgressBar {
        if self.quiet || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let counts = match unit {
            "bytes" => "{bytes}/{total_bytes} {bytes_per_sec}".to_string(),
            _ => format!("{{human_pos}}/{{human_len}} {unit} {{rate}}"),
        };
        let template = format!("{{msg}} [{{bar:30}}] {counts} {{eta}} left");
        let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            // Nothing to do about a terminal that cannot be written to.
            let _ = write!(out, "{:.0}/s", state.per_sec());
        };
        let style = ProgressStyle::with_template(&template).expect("the template is fixed");
        let style = style.with_key("rate", rate);
        ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10))
            .with_style(style.progress_chars("=> "))
    }
}

/// Prints a line on stdout.
pub fn print(line: impl Display) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|e| Error::io(Path::new("stdout"), "write", e))
}

/// Runs a tool: prints its error as one line and answers with its exit code.
pub fn run(tool: impl FnOnce() -> Result<()>) -> ExitCode {
    panics::in_one_line();
    let started = output::signals::remove_temporary_files_on_signals()
        .and_then(|()| checkpoint::sigbus::install())
        .map_err(|e| Error::limit(format!("cannot watch for signals: {e}")));
    match started.and_then(|()| tool()) {
        Ok(()) => ExitCode::SUCCESS,
        // Who closed the pipe has read enough.
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            panics::stderr_line(&format!("error: {error}"));
            ExitCode::from(error.kind().exit_code())
        }
    }
}

impl Error {
    fn is_closed_pipe(&self) -> bool {
        use std::error::Error as _;
        let source = self.source().and_then(|e| e.downcast_ref::<std::io::Error>());
        self.kind() == Kind::Io
            && source.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

/// A table: the first column left, numbers right.
pub fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

/// A size as people read it, in powers of ten.
pub fn megabytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// 5GB, 500MB, 1000: in powers of ten, as Hugging Face counts; GiB and MiB in powers of two.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits =
        text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, unit) = text.split_at(digits);
    let unit: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1048576.0,
        "gib" => 1073741824.0,
        other => return Err(format!("`{other}` is no unit: KB, MB, GB, KiB, MiB, GiB")),
    };
    let size = number.parse::<f64>().map_err(|_| format!("`{number}` is not a number"))? * unit;
    if size >= 1.0 { Ok(size as u64) } else { Err("expected a byte at least".into()) }
}

/// A path as it can be typed into a shell.
pub fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// The name of an output derived from an input's: `swa.safetensors` → `swa_bn.safetensors`, and timm's
/// `swa.pth.tar` → `swa_bn.pth.tar`.
pub fn with_suffix(path: &Path, suffix: &str) -> std::path::PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bare =
        name.strip_suffix(".tar").filter(|bare| bare.ends_with(".pth") || bare.ends_with(".pt"));
    let stem = Path::new(bare.unwrap_or(&name)).file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}{suffix}{}", &name[stem.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_comes_before_the_ending() {
        for (from, to) in [
            ("a/swa.safetensors", "a/swa_bn.safetensors"),
            ("epoch=3.ckpt", "epoch=3_bn.ckpt"),
            ("model_best.pth.tar", "model_best_bn.pth.tar"),
            ("v1.5.pt", "v1.5_bn.pt"),
            ("folder", "folder_bn"),
        ] {
            assert_eq!(with_suffix(Path::new(from), "_bn"), Path::new(to));
        }
    }
}
