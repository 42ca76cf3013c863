//! Flags of how a label file is read.

use swa_data::LabelForm;

#[derive(Debug, clap::Args)]
pub struct LabelArgs {
    /// The column of --labels (or of a parquet file) that holds the labels: its heading, or its number from 1;
    /// several: one column a class, 1 where an image is of it [default: known from the file, else an error]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "Data")]
    pub label_column: Vec<String>,

    /// The column of --labels that holds the images' names [default: found by them]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub image_column: Option<String>,

    /// What number the first class has in --labels, 0 or 1 [default: 0, unless the numbers may be meant otherwise]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1), help_heading = "Data")]
    pub first_label: Option<u32>,
}

impl LabelArgs {
    /// The options that they give.
    pub fn form(&self) -> LabelForm {
        LabelForm {
            label: self.label_column.clone(),
            image: self.image_column.clone(),
            first: self.first_label,
        }
    }
}
