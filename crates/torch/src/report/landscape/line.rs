//! The picture of a line: test error and training loss along it.

use super::{LandscapePoint, LandscapeReport};
use crate::plot::{Curve, Curves, Guide, Panel, Stroke, series};

impl LandscapeReport {
    pub(super) fn line_svg(&self) -> String {
        let names = self.names();
        let guides: Vec<Guide> = self
            .models
            .iter()
            .zip(&names)
            .filter_map(|(model, name)| Some(Guide { x: model.x?, name: name.clone() }))
            .collect();
        let panel = |title: String, of: &dyn Fn(&LandscapePoint) -> f64, number: usize| {
            let points = self.points.iter().map(|point| [point.x, of(point)]).collect();
            let stroke = Stroke { colour: series(number), width: 2.2, opacity: 1.0, dashes: "" };
            Panel {
                title,
                x_label: "distance in weight space".into(),
                curves: vec![Curve { points, stroke }],
                guides: guides.clone(),
                ..Panel::default()
            }
        };
        let about = |(model, name): (&super::LandscapeModel, &String)| {
            format!(
                "{name}: error {:.2} ± {:.2} %, loss {:.4}, ‖w‖ = {:.2}",
                model.test_error,
                model.test_error_uncertainty,
                model.objective(),
                model.norm
            )
        };
        let mut notes: Vec<String> = self.models.iter().zip(&names).map(about).collect();
        notes.push(self.evaluated());
        Curves {
            panels: vec![
                panel("Test error, %".into(), &LandscapePoint::error, 0),
                panel(self.objective(), &LandscapePoint::objective, 1),
            ],
            legend: vec![],
            notes,
        }
        .svg()
    }
}
