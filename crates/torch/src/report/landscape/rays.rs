//! The picture of rays: test error and training loss along each, and their means.

use super::LandscapeReport;
use crate::plot::{Curve, Curves, Panel, Stroke, series};

/// The training loss is shown up to so much above that of the models.
const ABOVE: f64 = 3.0;

/// A ray, and the mean of a model's rays.
const THIN: (f64, f64) = (1.0, 0.35);
const THICK: (f64, f64) = (2.6, 1.0);

impl LandscapeReport {
    pub(super) fn rays_svg(&self) -> String {
        let stroke = |model: usize, (width, opacity): (f64, f64)| Stroke {
            colour: series(model),
            width,
            opacity,
            dashes: "",
        };
        let points = |own: f64, values: &[f64]| -> Vec<[f64; 2]> {
            let rest = self.x.iter().zip(values).map(|(&x, &value)| [x, value]);
            std::iter::once([0.0, own]).chain(rest).collect()
        };
        let curves = |is_error: bool| {
            let mut thin = vec![];
            let mut thick = vec![];
            for (m, model) in self.models.iter().enumerate() {
                let own = if is_error { model.test_error } else { model.objective() };
                let mut mean = vec![0.0; self.x.len()];
                for ray in 0..self.rays {
                    let of = self.ray(m, ray);
                    let values: Vec<f64> = of
                        .map(|point| if is_error { point.error() } else { point.objective() })
                        .collect();
                    mean.iter_mut().zip(&values).for_each(|(m, v)| *m += v / self.rays as f64);
                    thin.push(Curve { points: points(own, &values), stroke: stroke(m, THIN) });
                }
                thick.push(Curve { points: points(own, &mean), stroke: stroke(m, THICK) });
            }
            thin.extend(thick);
            thin
        };
        let (errors, losses) = (curves(true), curves(false));
        let of_models = || self.models.iter().map(|model| model.objective());
        let highest = losses.iter().flat_map(|curve| &curve.points).map(|point| point[1]);
        let highest = highest.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let (low, high) =
            (of_models().fold(f64::INFINITY, f64::min), of_models().fold(0.0, f64::max));
        let highest = highest.min(high + ABOVE);
        let space = 0.05 * (highest - low);
        let x_label = match self.units.as_deref() {
            Some("norm") => "distance, in lengths of the weight vector",
            Some("filter") => "distance, in lengths of each filter",
            _ => "distance in weight space",
        };
        let panel = |title: String, curves: Vec<Curve>, y: Option<[f64; 2]>| Panel {
            title,
            x_label: x_label.into(),
            curves,
            y,
            ..Panel::default()
        };
        let mut legend: Vec<(String, Stroke)> = self
            .models
            .iter()
            .zip(self.names())
            .enumerate()
            .map(|(m, (model, name))| {
                (format!("{name}, ‖w‖ = {:.2}", model.norm), stroke(m, THICK))
            })
            .collect();
        let ray = Stroke { colour: "#777777", width: 1.0, opacity: 0.7, dashes: "" };
        legend.push((format!("each of {} directions, the same for all", self.rays), ray));
        Curves {
            panels: vec![
                panel("Test error, %".into(), errors, None),
                panel(self.objective(), losses, Some([low - space, highest + space])),
            ],
            legend,
            notes: vec![self.evaluated()],
        }
        .svg()
    }
}
