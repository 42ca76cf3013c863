//! The report as a table of points.

use std::io;

use super::LandscapeReport;

impl LandscapeReport {
    /// Writes `model,ray,x,y,off,norm,train_loss,train_error,train_regularised,test_loss,test_error`: a row for each model,
    /// then one for each point, of a plane or line without a model. Empty: not known.
    pub(super) fn write_csv(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record([
            "model",
            "ray",
            "x",
            "y",
            "off",
            "norm",
            "train_loss",
            "train_error",
            "train_regularised",
            "test_loss",
            "test_error",
        ])?;
        let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        for model in &self.models {
            csv.write_record([
                model.model.clone(),
                String::new(),
                number(model.x),
                number(model.y),
                number(model.off),
                number(Some(model.norm)),
                number(Some(model.train_loss)),
                number(Some(model.train_error)),
                number(model.train_regularised),
                number(Some(model.test_loss)),
                number(Some(model.test_error)),
            ])?;
        }
        for point in &self.points {
            let model = point.model.and_then(|model| self.models.get(model));
            csv.write_record([
                model.map_or(String::new(), |model| model.model.clone()),
                point.ray.map_or(String::new(), |ray| ray.to_string()),
                number(Some(point.x)),
                number(point.y),
                String::new(),
                number(Some(point.norm)),
                number(point.train_loss),
                number(point.train_error),
                number(point.train_regularised),
                number(point.test_loss),
                number(point.test_error),
            ])?;
        }
        csv.flush()
    }
}
