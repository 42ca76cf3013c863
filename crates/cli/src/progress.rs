//! Progress on stderr: a bar on a terminal, or lines of JSON.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use schemars::JsonSchema;
use serde::Serialize;
use swa_base::{Progress, Unit, choices, panics};

use crate::Common;

choices! {
    /// How progress is shown.
    pub enum Shown {
        Bar = "bar": "A bar, if stderr is a terminal",
        Json = "json": "Lines of JSON, at most five a second: done, total, unit, stage",
        None = "none": "Not at all",
    }
}

/// A line of `--progress json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Line<'a> {
    /// How many are done.
    pub done: u64,
    /// How many there are in all.
    pub total: u64,
    /// What is counted: `bytes`, `images` or `files`.
    pub unit: &'static str,
    /// What is being done.
    pub stage: &'a str,
}

/// Between two lines of a stage. With its first and last line that makes at most five a second.
const PAUSE: Duration = Duration::from_millis(300);

/// Shows the progress of jobs, and prints their notes.
pub struct Terminal<'a> {
    common: &'a Common,
    stage: Mutex<Option<Stage>>,
}

enum Stage {
    Bar { bar: ProgressBar, name: String },
    Lines { done: u64, total: u64, unit: Unit, name: String, said: Instant },
}

impl<'a> Terminal<'a> {
    /// As the flags say.
    pub fn new(common: &'a Common) -> Self {
        Terminal { common, stage: Mutex::new(None) }
    }

    fn with(&self, act: impl FnOnce(&mut Stage)) {
        let mut stage = self.stage.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        stage.as_mut().map(act);
    }
}

impl Progress for Terminal<'_> {
    fn begin(&self, stage: &str, total: u64, done: u64, unit: Unit) {
        let shown = match self.common.progress {
            Shown::Json => {
                line(done, total, unit, stage);
                let (name, said) = (stage.to_string(), Instant::now());
                Some(Stage::Lines { done, total, unit, name, said })
            }
            Shown::Bar if !self.common.quiet && std::io::stderr().is_terminal() => {
                let bar = bar(total, unit).with_message(stage.to_string());
                bar.set_position(done);
                bar.reset_eta();
                Some(Stage::Bar { bar, name: stage.to_string() })
            }
            _ => None,
        };
        *self.stage.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = shown;
    }

    fn advance(&self, count: u64) {
        self.with(|stage| match stage {
            Stage::Bar { bar, .. } => bar.inc(count),
            Stage::Lines { done, total, unit, name, said } => {
                *done += count;
                if said.elapsed() >= PAUSE {
                    line(*done, *total, *unit, name);
                    *said = Instant::now();
                }
            }
        });
    }

    fn detail(&self, text: &str) {
        self.with(|stage| {
            if let Stage::Bar { bar, name } = stage {
                bar.set_message(format!("{name} ({text})"));
            }
        });
    }

    fn end(&self) {
        self.with(|stage| match stage {
            Stage::Bar { bar, .. } => bar.finish_and_clear(),
            Stage::Lines { done, total, unit, name, .. } => line(*done, *total, *unit, name),
        });
        *self.stage.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
    }

    fn note(&self, line: &str) {
        let stage = self.stage.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &*stage {
            Some(Stage::Bar { bar, .. }) => bar.suspend(|| self.common.note(line)),
            _ => self.common.note(line),
        }
    }
}

fn line(done: u64, total: u64, unit: Unit, stage: &str) {
    let line = Line { done, total, unit: unit.name(), stage };
    // Numbers and plain text always serialise.
    panics::stderr_line(&serde_json::to_string(&line).unwrap_or_default());
}

fn bar(total: u64, unit: Unit) -> ProgressBar {
    let counts = match unit {
        Unit::Bytes => "{bytes}/{total_bytes} {bytes_per_sec}".to_string(),
        _ => format!("{{human_pos}}/{{human_len}} {} {{rate}}", unit.name()),
    };
    let template = format!("{{msg}} [{{bar:30}}] {counts} {{eta}} left");
    let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        // If the terminal cannot be written to, nothing can be done about it.
        let _ = write!(out, "{:.0}/s", state.per_sec());
    };
    let style = ProgressStyle::with_template(&template).expect("the template is fixed");
    let style = style.with_key("rate", rate);
    ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10))
        .with_style(style.progress_chars("=> "))
}
