//! Finds the columns that hold the images and the labels, and the names of the classes.

use parquet::basic::{Compression, Type};
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::ColumnDescriptor;
use serde_json::Value;

use crate::conventions::flat::words;
use swa_base::text::printable;
use swa_base::{Error, Kind, Result, setting};

/// Names of label columns. Of several, the user has to choose.
const LABELS: [&str; 4] = ["label", "labels", "fine_label", "cls"];

/// Names of image columns that are preferred where there are several.
const IMAGES: [&str; 2] = ["image", "img"];

/// Numbers of leaf columns, and the names of the label's classes.
pub(super) struct Columns {
    pub image: usize,
    pub label: usize,
    /// Those that may say to which part of the data a row belongs.
    pub parts: Vec<PartColumn>,
    pub class_names: Option<Vec<String>>,
}

/// A column that may say to which part of the data a row belongs.
pub(super) struct PartColumn {
    pub column: usize,
    pub heading: String,
    /// Its heading says so; else its words have to.
    pub is_headed: bool,
    /// The words that its numbers stand for.
    pub names: Option<Vec<String>>,
}

impl Columns {
    pub fn find(metadata: &ParquetMetaData, asked: Option<&str>) -> Result<Self> {
        let schema = metadata.file_metadata().schema_descr();
        let columns: Vec<&ColumnDescriptor> = schema.columns().iter().map(|c| &**c).collect();
        let image = image(&columns)?;
        let features = features(metadata);
        let label = label(&columns, features.as_ref(), asked)?;
        let name = columns[label].path().string();
        let class_names = features.as_ref().and_then(|features| class_names(features.get(&name)?));
        let parts = part_columns(metadata, [image, label], features.as_ref())?;
        for column in [image, label] {
            check_codecs(metadata, column)?;
        }
        Ok(Columns { image, label, parts, class_names })
    }
}

/// The columns beside the images and the labels that may say of which part of the data a row is.
fn part_columns(
    metadata: &ParquetMetaData,
    taken: [usize; 2],
    features: Option<&Value>,
) -> Result<Vec<PartColumn>> {
    let mut found = vec![];
    let columns = metadata.file_metadata().schema_descr().columns();
    for (column, of) in columns.iter().enumerate() {
        let [heading] = of.path().parts() else { continue };
        if of.max_rep_level() > 0 || taken.contains(&column) {
            continue;
        }
        let names = features.and_then(|features| class_names(features.get(heading)?));
        let is_headed = words::is_part(heading) || words::bare_part(heading).is_some();
        let is_text = match of.physical_type() {
            Type::BYTE_ARRAY => true,
            Type::INT32 | Type::INT64 if names.is_some() => true,
            Type::BOOLEAN | Type::INT32 | Type::INT64 | Type::FLOAT | Type::DOUBLE => false,
            _ => continue,
        };
        match check_codecs(metadata, column) {
            _ if !is_headed && !is_text => continue,
            Err(error) if is_headed => return Err(error),
            Err(_) => continue,
            Ok(()) => {}
        }
        found.push(PartColumn { column, heading: heading.clone(), is_headed, names });
    }
    Ok(found)
}

fn listed(columns: &[&ColumnDescriptor]) -> String {
    let names: Vec<String> =
        columns.iter().take(12).map(|column| format!("`{}`", column.path().string())).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// The column of images: a struct with `bytes`, or plain bytes with a usual name.
fn image(columns: &[&ColumnDescriptor]) -> Result<usize> {
    let is_image = |column: &ColumnDescriptor| match column.path().parts() {
        _ if column.physical_type() != Type::BYTE_ARRAY || column.max_rep_level() > 0 => false,
        [_, field] => field == "bytes",
        [name] => IMAGES.contains(&name.as_str()) && column.logical_type_ref().is_none(),
        _ => false,
    };
    let found: Vec<usize> = (0..columns.len()).filter(|&i| is_image(columns[i])).collect();
    let named = |&&i: &&usize| IMAGES.contains(&columns[i].path().parts()[0].as_str());
    match found[..] {
        [only] => Ok(only),
        [] => Err(Error::input(format!(
            "no column of images (a struct with `bytes`) among {}",
            listed(columns)
        ))),
        _ => found.iter().find(named).copied().ok_or_else(|| {
            Error::input(format!("several columns of images among {}", listed(columns)))
                .remedy("rename the right one to `image`")
        }),
    }
}

/// The column of labels, integers: the one that was asked for; else the one with a usual name; else the only one that
/// `datasets` calls a class label.
fn label(
    columns: &[&ColumnDescriptor],
    features: Option<&Value>,
    asked: Option<&str>,
) -> Result<usize> {
    let named = |name: &str| {
        let is = |column: &&ColumnDescriptor| column.path().parts() == [name];
        columns.iter().position(is)
    };
    let by_name = || {
        let found: Vec<&str> = LABELS.into_iter().filter(|name| named(name).is_some()).collect();
        match found[..] {
            [a, b, ..] => {
                let what = format!("several columns may be the label: `{a}`, `{b}`");
                Err(Error::input(what)
                    .remedy(concat!("choose with ", setting!("label_column", "NAME"))))
            }
            _ => Ok(found.first().and_then(|name| named(name))),
        }
    };
    let by_feature = || {
        let features = features?.as_object()?.iter();
        let mut labels = features.filter(|(_, feature)| feature["_type"] == "ClassLabel");
        match (labels.next(), labels.next()) {
            (Some((name, _)), None) => named(name),
            _ => None,
        }
    };
    let found = match asked {
        Some(name) => named(name).ok_or_else(|| {
            Error::input(format!("no column `{}` among {}", printable(name), listed(columns)))
        })?,
        None => by_name()?.or_else(by_feature).ok_or_else(|| {
            let usual = LABELS.map(|name| format!("`{name}`")).join(", ");
            let name = setting!("label_column", "NAME");
            Error::input(format!("no column of labels among {}", listed(columns)))
                .remedy(format!("rename it to one of {usual}, or give its name: {name}"))
        })?,
    };
    let column = columns[found];
    match column.physical_type() {
        Type::INT32 | Type::INT64 => Ok(found),
        other => {
            let name = printable(&column.path().string());
            let what = format!("the column `{name}` is {other}, expected whole numbers");
            // Encoded as classes, numbers are sorted as text: 10 comes before 2.
            let cast = format!("`dataset.cast_column(\"{name}\", datasets.Value(\"int64\"))`");
            let remedy = match other {
                Type::BYTE_ARRAY => format!(
                    "if it holds numbers, cast it: {cast}; if words, encode it: `dataset.class_encode_column(\"{name}\")`"
                ),
                _ => format!("cast it: {cast}"),
            };
            Err(Error::new(Kind::Unsupported, what).remedy(remedy))
        }
    }
}

/// What `datasets` records about each column.
fn features(metadata: &ParquetMetaData) -> Option<Value> {
    let entries = metadata.file_metadata().key_value_metadata()?;
    let text = entries.iter().find(|entry| entry.key == "huggingface")?.value.as_ref()?;
    let mut value: Value = serde_json::from_str(text).ok()?;
    Some(value.get_mut("info")?.get_mut("features")?.take())
}

fn class_names(feature: &Value) -> Option<Vec<String>> {
    let names = feature.get("names")?.as_array()?;
    names.iter().map(|name| name.as_str().map(str::to_string)).collect()
}

/// Refuses codecs that are not built in: those that need a C compiler, or that nobody uses.
fn check_codecs(metadata: &ParquetMetaData, column: usize) -> Result<()> {
    for group in metadata.row_groups() {
        let chunk = group.column(column);
        match chunk.compression() {
            Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_) => {}
            other => {
                let name = chunk.column_path().string();
                let codec = other.to_string().split('(').next().unwrap_or_default().to_string();
                let what = format!("the column `{name}` is compressed with {codec}");
                return Err(Error::new(Kind::Unsupported, format!("{what}, expected none, snappy or gzip")).remedy(
                    "write it again: `pq.write_table(pq.read_table(FILE), NEW, compression=\"none\")`",
                ));
            }
        }
    }
    Ok(())
}
