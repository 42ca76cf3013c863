//! The picture of a plane: the test error and the training loss as filled contours.

use super::{LandscapeModel, LandscapeReport};
use crate::plot::{Levels, Mark, Plane, Shape, Surface};

/// As in the SWA authors' pictures: where values are clipped, and the logarithm of the first level's distance from the
/// least value.
const ERROR: (f64, f64) = (40.0, -1.0);
const LOSS: (f64, f64) = (5.0, -5.0);

/// Up to so many projected models each have a marker and a name.
const NAMED: usize = 3;

/// Models that define a plane.
const DEFINING: usize = 3;

impl LandscapeReport {
    pub(super) fn plane_svg(&self) -> String {
        let surface = |title: String, values: Vec<f64>, (most, first): (f64, f64)| {
            let levels = Levels::of(&values, most, first);
            Surface { title, values, levels }
        };
        let errors = self.points.iter().map(|point| point.error()).collect();
        let losses = self.points.iter().map(|point| point.objective()).collect();
        let others = self.models.get(DEFINING..).unwrap_or_default();
        let mut notes = vec![];
        if others.len() > NAMED {
            let off = others.iter().filter_map(|model| model.off);
            let (low, high) =
                off.fold((f64::INFINITY, 0.0f64), |(low, high), off| (low.min(off), high.max(off)));
            let n = others.len();
            notes.push(format!(
                "● {n} models projected onto the plane in their order; {low:.2} to {high:.2} away from it"
            ));
        }
        notes.push(self.evaluated());
        let path = match others.len() > NAMED {
            true => others.iter().map(place).collect(),
            false => vec![],
        };
        Plane {
            x: self.x.clone(),
            y: self.y.clone(),
            axis: "distance in weight space".into(),
            surfaces: vec![
                surface("Test error, %".into(), errors, ERROR),
                surface(self.objective(), losses, LOSS),
            ],
            marks: self.marks(),
            path,
            notes,
        }
        .svg()
    }

    fn marks(&self) -> Vec<Mark> {
        let all = self.models.len();
        let names = self.names();
        let mark = |(i, model): (usize, &LandscapeModel)| {
            let is_one_of_many = i >= DEFINING && all > DEFINING + NAMED;
            let is_end = i == DEFINING || i + 1 == all;
            let LandscapeModel { test_error, test_error_uncertainty: error, .. } = model;
            let mut about = format!(
                "{}: error {test_error:.2} ± {error:.2} %, loss {:.3}",
                names[i],
                model.objective()
            );
            if let Some(off) = model.off.filter(|_| i >= DEFINING) {
                about += &format!(", {off:.2} off the plane");
            }
            Mark {
                at: place(model),
                name: if is_one_of_many && !is_end { String::new() } else { names[i].clone() },
                about: if is_one_of_many { String::new() } else { about },
                shape: if is_one_of_many { Shape::Dot } else { Shape::numbered(i) },
            }
        };
        self.models.iter().enumerate().map(mark).collect()
    }
}

fn place(model: &LandscapeModel) -> [f64; 2] {
    [model.x.unwrap_or_default(), model.y.unwrap_or_default()]
}
