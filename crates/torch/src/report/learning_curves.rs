//! The logs of training runs as a picture: error and loss by epoch.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use swa_base::text_file;
use swa_tools::text::shell_word;
use swa_tools::{Error, Kind, Result, look};

use crate::plot::{Curve, Curves, Guide, Panel, Stroke, series};
use crate::train::EpochLine;

/// The log of a run.
#[derive(Debug, Clone)]
pub struct RunLog {
    /// What it is called in the picture.
    pub name: String,
    /// A line an epoch.
    pub lines: Vec<EpochLine>,
}

impl RunLog {
    /// Reads a log that swa-train writes: `log.jsonl`, or the folder of a run.
    ///
    /// # Errors
    /// `Damaged` for a line that is none, `Input` if it is empty; those of [`text_file::read`].
    pub fn read(path: &Path) -> Result<Self> {
        let log = path.join("results/log.jsonl");
        let file = if look::is_folder(path)? { log } else { path.to_path_buf() };
        let text = text_file::read(&file)?;
        let line = |(number, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|e| {
                let what = format!("line {} is no epoch of a run: {e}", number + 1);
                Error::new(Kind::Damaged, what).at(&file)
            })
        };
        let lines: Vec<EpochLine> = text.lines().enumerate().map(line).collect::<Result<_>>()?;
        if lines.is_empty() {
            return Err(Error::input("has no epoch yet").at(&file));
        }
        // RUN/results/log.jsonl is called RUN.
        let folder = file.ancestors().nth(if file.ends_with("results/log.jsonl") { 2 } else { 0 });
        let name = folder.and_then(Path::file_name).unwrap_or(file.as_os_str());
        Ok(RunLog { name: name.to_string_lossy().into_owned(), lines })
    }
}

/// What `swa-landscape curves` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CurvesReport<'a> {
    /// The picture.
    pub svg: &'a Path,
    /// What the runs are called in it.
    pub runs: Vec<&'a str>,
}

impl<'a> CurvesReport<'a> {
    /// Of a picture that was written.
    pub fn of(svg: &'a Path, runs: &'a [RunLog]) -> Self {
        CurvesReport { svg, runs: runs.iter().map(|run| &*run.name).collect() }
    }

    /// For people.
    pub fn text(&self) -> String {
        format!("wrote {}", shell_word(self.svg))
    }
}

/// The picture: the same bytes for the same logs. Of each run the model (thin), its average (thick), and the images it
/// trained on (dashed). The first tenth of the epochs may lie outside.
pub fn learning_curves_svg(runs: &[RunLog]) -> String {
    let panel = |title: &str, of: fn(f64, f64) -> f64| {
        let mut curves = vec![];
        for (number, run) in runs.iter().enumerate() {
            let stroke =
                |width, opacity, dashes| Stroke { colour: series(number), width, opacity, dashes };
            let train = run
                .lines
                .iter()
                .map(|line| (line.epoch, Some((line.train.loss, line.train.accuracy))));
            let model =
                run.lines.iter().map(|line| (line.epoch, line.model.map(|m| (m.loss, m.accuracy))));
            let swa =
                run.lines.iter().map(|line| (line.epoch, line.swa.map(|s| (s.loss, s.accuracy))));
            let points =
                |of_line: &mut dyn Iterator<Item = (usize, Option<(f64, f64)>)>| -> Vec<[f64; 2]> {
                    of_line
                        .filter_map(|(epoch, score)| {
                            score.map(|(loss, accuracy)| [epoch as f64, of(loss, accuracy)])
                        })
                        .collect()
                };
            curves.push(Curve { points: points(&mut { train }), stroke: stroke(1.0, 0.6, "3 3") });
            curves.push(Curve { points: points(&mut { model }), stroke: stroke(1.2, 0.9, "") });
            curves.push(Curve { points: points(&mut { swa }), stroke: stroke(2.8, 1.0, "") });
        }
        let last = curves.iter().flat_map(|curve| &curve.points).map(|p| p[0]).fold(1.0, f64::max);
        let shown = curves.iter().flat_map(|curve| &curve.points);
        let shown = shown.filter(|point| point[0] > last / 10.0).map(|point| point[1]);
        let (low, high) = shown
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        let space = 0.05 * (high - low);
        let y = (low < high).then_some([(low - space).max(0.0), high + space]);
        let begins =
            |run: &RunLog| run.lines.iter().find(|line| line.swa.is_some()).map(|line| line.epoch);
        let first = runs.iter().filter_map(begins).min();
        let guides = first.map(|epoch| Guide { x: epoch as f64, name: "averaging".into() });
        Panel {
            title: title.into(),
            x_label: "epoch".into(),
            curves,
            guides: guides.into_iter().collect(),
            x: Some([0.0, last]),
            y,
        }
    };
    let grey = |width, dashes| Stroke { colour: "#555555", width, opacity: 1.0, dashes };
    let mut legend: Vec<(String, Stroke)> = runs
        .iter()
        .enumerate()
        .map(|(number, run)| {
            (
                run.name.clone(),
                Stroke { colour: series(number), width: 2.8, opacity: 1.0, dashes: "" },
            )
        })
        .collect();
    legend.push(("its average".into(), grey(2.8, "")));
    legend.push(("the model".into(), grey(1.2, "")));
    legend.push(("on training images, augmented".into(), grey(1.0, "3 3")));
    Curves {
        panels: vec![
            panel("Error, %", |_, accuracy| 100.0 * (1.0 - accuracy)),
            panel("Loss (nll)", |loss, _| loss),
        ],
        legend,
        notes: vec![],
    }
    .svg()
}
