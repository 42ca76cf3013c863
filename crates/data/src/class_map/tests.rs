mod ways;

use swa_base::Kind;

use super::*;

/// Classes of two images each.
struct Data(Option<Vec<String>>, usize);

impl Dataset for Data {
    fn len(&self) -> usize {
        2 * self.1
    }

    fn classes(&self) -> Classes {
        if self.0.is_some() { Classes::Exactly(self.1) } else { Classes::AtLeast(self.1) }
    }

    fn class_names(&self) -> Option<&[String]> {
        self.0.as_deref()
    }

    fn label(&self, index: usize) -> usize {
        index / 2
    }

    fn name(&self, index: usize) -> String {
        format!("image {index}")
    }

    fn image(&self, _: usize) -> Result<Image> {
        Err(Error::input("no pixels"))
    }

    fn files(&self) -> usize {
        0
    }

    fn file(&self, place: usize) -> PathBuf {
        unreachable!("file {place} of none")
    }

    fn describe(&self) -> String {
        "data".into()
    }
}

fn named(names: &[&str]) -> Data {
    Data(Some(names.iter().map(|name| name.to_string()).collect()), names.len())
}

fn map(text: &str, data: &Data) -> Result<ClassMap> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("map");
    std::fs::write(&path, text).unwrap();
    ClassMap::read(&path, data)
}

fn refused(kind: Kind, text: &str, data: &Data, parts: &[&str]) {
    let error = map(text, data).unwrap_err();
    assert_eq!(error.kind(), kind);
    let error = error.to_string();
    assert!(error.contains("map`: "), "{error}");
    parts.iter().for_each(|part| assert!(error.contains(part), "{part} not in {error}"));
}

#[test]
fn every_form_says_the_same() {
    let data = named(&["cat", "dog", "red fox"]);
    for text in [
        r#"{"dog": 0, "red fox": 3, "cat": 4, "eel": 1}"#,
        r#"{"0": "dog", "1": "eel", "3": "red fox", "4": "cat"}"#,
        r#"{"dog": "0", "red fox": "3", "cat": "4"}"#,
        r#"{"model_type": "vit", "label2id": {"dog": 0, "red fox": 3, "cat": 4}, "id2label": {}}"#,
        r#"{"model_type": "vit", "id2label": {"0": "dog", "3": "red fox", "4": "cat"}}"#,
        r#"{"0": ["dog", "x"], "3": ["red fox", "y"], "4": ["cat"]}"#,
        r#"["dog", "eel", "ant", "red fox", "cat"]"#,
        "# mine\ndog 0\n\nred fox\t3\r\ncat, 4\n",
        "dog,0\nred fox,3\ncat,4",
        "dog\neel\nant\nred fox\ncat\n",
        "\u{feff}dog\neel\nant\nred fox\ncat",
    ] {
        assert_eq!(map(text, &data).unwrap().outputs(), [4, 0, 3], "{text}");
    }
}

#[test]
fn lists_with_more_than_classes_say_the_same() {
    let data = named(&["n01440764", "n01443537", "n01484850"]);
    for text in [
        // Kaggle's LOC_synset_mapping.txt, WordNet's words.txt.
        "n01484850 great white shark, white shark\nn01440764 tench, Tinca tinca\nn01443537 goldfish\n",
        "n01484850\tgreat white shark\nn01440764\ttench, Tinca tinca\nn01443537\tgoldfish\n",
        "n01484850,shark\nn01440764,\"tench, Tinca tinca\"\nn01443537,goldfish\n",
        "wnid,index\nn01440764,1\nn01443537,2\nn01484850,0\n",
        "\"index\",\"wnid\"\n1,n01440764\n2,n01443537\n0,n01484850\n",
        "1 n01440764 tench, Tinca tinca\n2 n01443537 goldfish\n0 n01484850 shark\n",
    ] {
        assert_eq!(map(text, &data).unwrap().outputs(), [1, 2, 0], "{text}");
    }
    let data = named(&["goldfish", "great \"white\"", "tench, Tinca tinca"]);
    for text in [
        "\"tench, Tinca tinca\",1\ngoldfish,2\n\"great \"\"white\"\"\",0\n",
        "class,output\n\"tench, Tinca tinca\",1\ngoldfish,2\n\"great \"\"white\"\"\",0\n",
        "1: tench, Tinca tinca\n2: goldfish\n0: great \"white\"\n",
        "index,name\n0,\"great \"\"white\"\"\"\n1,\"tench, Tinca tinca\"\n2,goldfish\n",
        "great \"white\"\ntench, Tinca tinca\ngoldfish\n",
    ] {
        assert_eq!(map(text, &data).unwrap().outputs(), [2, 0, 1], "{text}");
    }
    // A class may be called as a heading is.
    assert_eq!(map("name\ncat\n", &named(&["cat", "name"])).unwrap().outputs(), [1, 0]);
}

#[test]
fn numbers_that_are_no_outputs_are_refused() {
    use Kind::Input;
    let data = named(&["n02119789", "n02100735"]);
    let kit = "n02119789 1 kit_fox\nn02100735 2 English_setter\n";
    let what = "`n02119789 1 kit_fox`: numbers of its own, those of ImageNet's development kit";
    refused(Input, kit, &data, &[what]);
    refused(Input, "1 n02119789\n2 n02100735\n", &data, &["not those of outputs, from 0 on"]);
    let data = named(&["cat", "dog"]);
    refused(Input, "class\ncat\ndog\n", &data, &["`class` is a heading, no class; remove"]);
}

#[test]
fn classes_without_names_go_by_number() {
    let data = Data(None, 3);
    for text in [r#"{"0": 5, "1": 2, "2": 0, "3": 7}"#, "0 5\n1 2\n2 0\n"] {
        assert_eq!(map(text, &data).unwrap().outputs(), [5, 2, 0]);
    }
    // Folders that are called by numbers: the names count, not the places.
    let folders = named(&["1", "10", "2"]);
    assert_eq!(map("1 7\n10 8\n2 9\n0 1", &folders).unwrap().outputs(), [7, 8, 9]);
    assert_eq!(map("0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10", &folders).unwrap().outputs(), [1, 10, 2]);
    // In quotation marks either may be the class.
    assert_eq!(map(r#"{"1": "1", "10": "2", "2": "10"}"#, &folders).unwrap().outputs(), [1, 2, 10]);
    let way = "`10` → `2`: either may be the class; write the output without quotation marks";
    refused(Kind::Input, r#"{"1": "1", "10": "2", "2": "3"}"#, &folders, &[way]);
    // Names, but the map has places.
    assert_eq!(map("0 7\n1 8", &named(&["a", "b"])).unwrap().outputs(), [7, 8]);
}

#[test]
fn classes_can_be_left_out() {
    let data = named(&["cat", "dog", "fox"]);
    for text in [r#"{"cat": 1, "dog": null, "fox": 0}"#, "cat 1\ndog -\nfox 0"] {
        let map = map(text, &data).unwrap();
        assert_eq!((map.outputs(), map.left_out()), (vec![1, 0], 1));
        assert_eq!(map.names().unwrap(), ["cat", "fox"]);
        let mapped = map.apply(Arc::new(named(&["cat", "dog", "fox"]))).unwrap();
        let labels: Vec<usize> = (0..mapped.len()).map(|i| mapped.label(i)).collect();
        assert_eq!((labels, mapped.name(2)), (vec![1, 1, 0, 0], "image 4".into()));
    }
    let none = map("cat -\ndog -\nfox -", &data).unwrap();
    assert!(none.apply(Arc::new(Data(None, 3))).is_err());
}

#[test]
fn faults_are_named() {
    use Kind::{Input, Mismatch};
    let data = named(&["cat", "dog"]);
    refused(
        Mismatch,
        r#"{"cat": 1}"#,
        &data,
        &["1 class(es) of the data have no entry", "  `dog`", "null"],
    );
    refused(Input, r#"{"cat": 1, "dog": 1}"#, &data, &["`cat` and `dog` both have the output 1"]);
    refused(Input, r#"{"cat": 1, "dog": 2, "cat": 3}"#, &data, &["two values of `cat`"]);
    refused(Input, "cat\ndog\ncat", &data, &["class `cat` has two entries"]);
    refused(
        Mismatch,
        r#"{"kat": 1, "dgo": 1}"#,
        &data,
        &["`kat` is not a class of the data", "`cat`, `dog`"],
    );
    refused(Input, r#"{"cat": -1, "dog": 0}"#, &data, &["`cat`: -1 is not"]);
    refused(Input, r#"{"cat": 1.5, "dog": 0}"#, &data, &["`cat`: 1.5 is not"]);
    refused(Input, r#"{"cat": 4294967296, "dog": 0}"#, &data, &["`cat`: 4294967296 is not"]);
    refused(Input, r#"{"cat": true}"#, &data, &["`cat`", "found true"]);
    refused(Input, r#"{"cat": "dog"}"#, &data, &["`cat` → `dog`"]);
    refused(Input, r#"{"cat": 1"#, &data, &["EOF"]);
    refused(Input, "[1, 2]", &data, &["invalid type"]);
    refused(Input, "cat 0\ndog 1\nfox\n", &data, &["`fox`: expected a class and the number"]);
    refused(Input, "", &data, &["it holds no classes"]);
    refused(Mismatch, "cat\n", &Data(None, 2), &["`cat` is not a class of the data", "`0`, `1`"]);
}

#[test]
fn outputs_beyond_the_head_are_named() {
    let map = map("cat 3\ndog 10", &named(&["cat", "dog"])).unwrap();
    assert!(map.check(11, Path::new("m")).is_ok());
    let error = map.check(10, Path::new("m")).unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
    let error = error.to_string();
    assert!(
        error.contains("class `dog`: output 10, but the head of `m` has 10, from 0"),
        "{error}"
    );
}

#[test]
fn a_list_has_an_entry_for_each_output() {
    let data = named(&["cat", "dog"]);
    for (list, numbered) in [
        (r#"["dog", "cat"]"#, r#"{"0": "dog", "1": "cat"}"#),
        ("dog\ncat", "0 dog\n1 cat"),
        ("dog\ncat", "dog 0\ncat 1"),
    ] {
        map(list, &data).unwrap().check(2, Path::new("m")).unwrap();
        let error = map(list, &data).unwrap().check(1000, Path::new("m")).unwrap_err();
        assert_eq!(error.kind(), Kind::Mismatch);
        let said = "it lists 2 classes in the order of the outputs, of which `m` has 1000";
        assert!(error.to_string().contains(said), "{error}");
        map(numbered, &data).unwrap().check(1000, Path::new("m")).unwrap();
    }
}

#[test]
fn what_is_no_text_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("map");
    std::fs::write(&path, [b'a', 0xff]).unwrap();
    let error = ClassMap::read(&path, &Data(None, 1)).unwrap_err().to_string();
    assert!(error.contains("UTF-8"), "{error}");
    let absent = ClassMap::read(&dir.path().join("absent"), &Data(None, 1)).unwrap_err();
    assert_eq!(absent.kind().exit_code(), 2);
}
