//! The report for people.

use swa_tools::report::table;

use super::LandscapeReport;

impl LandscapeReport {
    /// A table of the models, and what was evaluated.
    pub fn text(&self) -> String {
        let is_rays = self.kind == "rays";
        let mut header = vec!["model"];
        header.extend(match is_rays {
            true => &["‖w‖", "50 % error at"][..],
            false => &["x", "y", "off", "‖w‖"][..],
        });
        header.extend(["train loss", "test loss", "vs first", "test error %", "vs first"]);
        let optional = |value: Option<f64>, digits: usize| {
            value.map_or(String::new(), |value| format!("{value:.digits$}"))
        };
        let pair = |value: Option<f64>, error: Option<f64>, digits: usize| match (value, error) {
            (Some(value), Some(error)) => format!("{value:+.digits$} ± {error:.digits$}"),
            (value, _) => value.map_or(String::new(), |value| format!("{value:+.digits$}")),
        };
        let rows = self.models.iter().zip(self.names()).map(|(model, name)| {
            let mut row = vec![name];
            row.extend(match is_rays {
                true => vec![
                    format!("{:.3}", model.norm),
                    match (model.half, model.half_deviation) {
                        (None, _) => "beyond the rays".into(),
                        (Some(half), None) => format!("{half:.3}"),
                        (Some(half), Some(deviation)) => format!("{half:.3} ± {deviation:.3}"),
                    },
                ],
                false => vec![
                    optional(model.x, 3),
                    optional(model.y, 3),
                    optional(model.off, 3),
                    format!("{:.3}", model.norm),
                ],
            });
            row.extend([
                format!("{:.4}", model.objective()),
                format!("{:.4}", model.test_loss),
                pair(model.loss_difference, model.loss_difference_uncertainty, 4),
                format!("{:.2} ± {:.2}", model.test_error, model.test_error_uncertainty),
                pair(model.error_difference, model.error_difference_uncertainty, 2),
            ]);
            row
        });
        let mut lines = vec![table(&header, rows)];
        if let Some(decay) = self.weight_decay {
            lines.push(format!("train loss: nll + ½·{decay}·‖w‖²"));
        }
        let n = self.points.len();
        let time = self.seconds.map_or(String::new(), |seconds| format!(" in {seconds:.1} s"));
        lines.push(format!("{n} points{time}; {}", self.evaluated()));
        lines.join("\n")
    }
}
