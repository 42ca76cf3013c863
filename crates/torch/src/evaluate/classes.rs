//! The classes that a report is about, and the network outputs that stand for them.

use swa_base::text::printable;

/// The classes of the data, in their order.
#[derive(Debug, Clone)]
pub struct ClassList {
    /// The output of each class.
    outputs: Vec<u32>,
    names: Option<Vec<String>>,
    /// The class of each output.
    classes: Vec<Option<usize>>,
}

impl ClassList {
    /// `outputs`: the output of each class, below `heads`, the number of outputs. `names`: the name of each class, if
    /// the data have names.
    pub fn new(outputs: Vec<u32>, names: Option<Vec<String>>, heads: usize) -> Self {
        let mut classes = vec![None; heads];
        outputs.iter().enumerate().for_each(|(class, &o)| classes[o as usize] = Some(class));
        let names = names.map(|names| names.iter().map(|name| printable(name)).collect());
        ClassList { outputs, names, classes }
    }

    /// How many classes the data have.
    pub fn len(&self) -> usize {
        self.outputs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }

    /// The output that stands for a class.
    pub fn output(&self, class: usize) -> u32 {
        self.outputs[class]
    }

    /// The class that an output stands for, if any.
    pub fn of_output(&self, output: u32) -> Option<usize> {
        self.classes[output as usize]
    }

    /// Whether every output stands for a class.
    pub fn has_all_outputs(&self) -> bool {
        self.classes.iter().all(Option::is_some)
    }

    /// A class's name, if the data have names.
    pub fn name(&self, class: usize) -> Option<&str> {
        self.names.as_ref()?.get(class).map(String::as_str)
    }

    /// A class's name, or else its number.
    pub fn title(&self, class: usize) -> String {
        self.name(class).map_or_else(|| class.to_string(), str::to_string)
    }

    /// The title of the class that an output stands for; else `output 17`.
    pub fn output_title(&self, output: u32) -> String {
        match self.of_output(output) {
            Some(class) => self.title(class),
            None => format!("output {output}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_outputs_lead_to_each_other() {
        let names = vec!["cat".to_string(), "a\nb".to_string()];
        let list = ClassList::new(vec![2, 0], Some(names), 3);
        assert_eq!(
            (list.of_output(0), list.of_output(1), list.of_output(2)),
            (Some(1), None, Some(0))
        );
        assert_eq!((list.output(0), list.has_all_outputs()), (2, false));
        assert_eq!((list.title(0), list.title(1)), ("cat".into(), "a\\nb".into()));
        assert_eq!(list.output_title(1), "output 1");
        let plain = ClassList::new(vec![0, 1], None, 2);
        assert_eq!(
            (plain.title(1), plain.name(1), plain.has_all_outputs()),
            ("1".into(), None, true)
        );
    }
}
