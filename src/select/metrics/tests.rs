use super::*;
use crate::Kind;
use crate::select::{Criteria, Selection, select};

/// Checkpoints by name, and a file of results, in a folder of their own.
struct Run(tempfile::TempDir, Vec<PathBuf>);

impl Run {
    fn new(checkpoints: &[&str], results: &str) -> Self {
        let run = Run(tempfile::tempdir().unwrap(), vec![]);
        let path = |name: &&str| run.0.path().join(name);
        let paths: Vec<PathBuf> = checkpoints.iter().map(path).collect();
        for path in &paths {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, path.as_os_str().as_encoded_bytes()).unwrap();
        }
        std::fs::write(run.0.path().join("results"), results).unwrap();
        Run(run.0, paths)
    }

    fn epochs(range: std::ops::RangeInclusive<u64>, results: &str) -> Self {
        let names: Vec<String> = range.map(|n| format!("ckpt_{n:03}.pt")).collect();
        Run::new(&names.iter().map(String::as_str).collect::<Vec<_>>(), results)
    }

    fn by(&self, metric: &str, choice: Choice) -> ByResults {
        let file = self.0.path().join("results");
        ByResults { file, metric: metric.into(), choice, number_column: None }
    }

    fn select(&self, results: ByResults, criteria: Criteria) -> Result<Selection> {
        select(&self.1, &Criteria { results: Some(results), ..criteria })
    }

    fn top(&self, metric: &str, direction: Direction, count: usize) -> Selection {
        let by = self.by(metric, Choice::Top(direction, count));
        self.select(by, Criteria::default()).unwrap()
    }

    fn fails(&self, by: ByResults) -> (Kind, String) {
        let error = self.select(by, Criteria::default()).unwrap_err();
        let folder = format!("{}/", self.0.path().display());
        (error.kind(), error.to_string().replace(&folder, ""))
    }
}

fn names(selection: &Selection) -> Vec<String> {
    selection.paths.iter().map(|path| crate::select::base_name(path)).collect()
}

fn numbers(selection: &Selection) -> Vec<u64> {
    let chosen = selection.chosen.as_ref().unwrap();
    chosen.taken.iter().map(|checkpoint| checkpoint.number.unwrap()).collect()
}

/// As timm writes it.
const SUMMARY: &str = "\
epoch,train_loss,eval_loss,eval_top1,eval_top5,lr
0,6.1,5.0,10.5,30.0,0.1
1,5.1,4.0,20.5,40.0,0.1
2,4.1,3.0,30.5,50.0,0.1
3,4.0,3.5,29.5,50.0,0.1
";

#[test]
fn rows_may_count_from_0_and_names_from_1() {
    let log = "epoch,loss,val_accuracy\n0,4,.1\n1,3,.9\n2,2,.2\n3,1,.8\n4,1,.3\n";
    // Keras's CSVLogger and ModelCheckpoint.
    let run = Run::new(&["e_002.keras", "e_003.keras", "e_005.keras"], log);
    let best = run.top("val_accuracy", Direction::Max, 2);
    assert_eq!(numbers(&best), [2, 5]);
    assert!(best.notes[0].contains("its epoch 0 is that of number 1"), "{:?}", best.notes);
    // It is asked where that cannot be seen, and others are asked where it seems so.
    for (run, from) in [
        (Run::new(&["e_2.keras", "e_3.keras", "e_4.keras"], log), "2 to 4"),
        (Run::epochs(1..=5, log), "1 to 5"),
    ] {
        let mut by = run.by("val_accuracy", Choice::Top(Direction::Max, 2));
        let (kind, error) = run.fails(by.clone());
        let expected = format!(
            "`results`: `epoch` goes from 0 to 4, the checkpoints from {from}: do these count from 1, and `epoch` from \
             0?; if so, say `metrics_number` 'epoch+1', else `metrics_number` 'epoch'"
        );
        assert_eq!((kind, error.as_str()), (Kind::Usage, expected.as_str()));
        by.number_column = Some("epoch+1".into());
        assert_eq!(numbers(&run.select(by.clone(), Criteria::default()).unwrap()), [2, 4]);
        by.number_column = Some("epoch".into());
        let best = numbers(&run.select(by, Criteria::default()).unwrap());
        assert!(best.contains(&3), "{best:?}");
    }
    // Both from 0, the first deleted.
    assert_eq!(numbers(&Run::epochs(1..=4, log).top("val_accuracy", Direction::Max, 1)), [1]);
}

#[test]
fn the_best_of_timms_summary_are_taken_in_natural_order() {
    let run = Run::epochs(0..=3, SUMMARY);
    let best = run.top("eval_top1", Direction::Max, 2);
    assert_eq!((numbers(&best), best.left_out), (vec![2, 3], 2));
    assert_eq!(names(&best), ["ckpt_002.pt", "ckpt_003.pt"]);
    assert_eq!(numbers(&run.top("eval_loss", Direction::Min, 1)), [2]);
    assert_eq!(numbers(&run.top("eval_loss", Direction::Max, 1)), [0]);
    let chosen = best.chosen.unwrap();
    assert_eq!((chosen.column.as_str(), chosen.results), ("epoch", 4));
    assert_eq!(chosen.taken[1].value, Some(29.5));
    assert_eq!(best.notes.len(), 1, "{:?}", best.notes);
    assert!(best.notes[0].ends_with("rows are of checkpoints by `epoch`; 4 of 4 have one"));
}

#[test]
fn lightnings_sparse_rows_are_found_by_the_number_in_the_names() {
    let results = "\
epoch,step,train_loss,val_loss
0,49,2.0,
0,99,,1.5
1,149,1.8,
1,199,,1.2
2,249,1.1,
2,299,,1.4
";
    let files = ["epoch=0-step=100.ckpt", "epoch=1-step=200.ckpt", "epoch=2-step=300.ckpt"];
    let run = Run::new(&files, results);
    let by = run.by("val_loss", Choice::Top(Direction::Min, 2));
    let number = Some(regex::Regex::new(r"epoch=(\d+)").unwrap());
    let found = run.select(by.clone(), Criteria { number, ..Criteria::default() }).unwrap();
    assert_eq!(numbers(&found), [1, 2]);
    // Lightning counts a step less than its names do: said, not guessed.
    let number = Some(regex::Regex::new(r"step=(\d+)").unwrap());
    let error = run.select(by, Criteria { number, ..Criteria::default() }).unwrap_err();
    assert_eq!(error.kind(), Kind::NoMatch);
    let what = "no row is of any checkpoint: `epoch` has 0 to 2, `step` has 99 to 299, the checkpoints are 100 to 300;";
    assert!(error.to_string().contains(what), "{error}");
}

#[test]
fn the_steps_of_a_hugging_face_trainer_are_found() {
    let state = r#"{
        "best_metric": 0.5, "epoch": 3.0, "global_step": 1500,
        "log_history": [
            {"epoch": 1.0, "loss": NaN, "learning_rate": 5e-5, "step": 500},
            {"epoch": 1.0, "eval_loss": 0.61, "eval_accuracy": 0.7, "step": 500},
            {"epoch": 2.0, "eval_loss": 0.5, "eval_accuracy": 0.8, "step": 1000},
            {"epoch": 3.0, "eval_loss": 0.7, "eval_accuracy": 0.81, "step": 1500}
        ]
    }"#;
    let files = ["checkpoint-500", "checkpoint-1000", "checkpoint-1500"];
    let files = files.map(|name| format!("{name}/model.safetensors"));
    let run = Run::new(&files.each_ref().map(String::as_str), state);
    assert_eq!(numbers(&run.top("eval_loss", Direction::Min, 2)), [500, 1000]);
    let (kind, error) = run.fails(run.by("accuracy", Choice::Top(Direction::Max, 1)));
    assert_eq!(kind, Kind::Input);
    let list = ["epoch", "loss", "learning_rate", "step", "eval_loss", "eval_accuracy"];
    let list: String = list.iter().map(|name| format!("\n  `{name}`")).collect();
    assert_eq!(
        error,
        format!("`results`: has no results `accuracy`; name one of those that it has{list}")
    );
}

#[test]
fn the_models_of_swa_eval_are_found_by_their_files() {
    let json = r#"{"schema": 1, "models": [
        {"model": "elsewhere/a.pt", "top1": 50.0, "interval": [1, 2]},
        {"model": "b.pt", "top1": 70.0},
        {"model": "c.pt", "top1": 60.0},
        {"model": "gone.pt", "top1": 99.0}], "ensemble": null}"#;
    let run = Run::new(&["a.pt", "b.pt", "c.pt", "d.pt"], json);
    let best = run.top("top1", Direction::Max, 2);
    assert_eq!(names(&best), ["b.pt", "c.pt"]);
    assert_eq!(best.chosen.as_ref().unwrap().taken[0].number, None);
    let notes = best.notes.join("\n");
    assert!(notes.contains("by `model`; 3 of 4 have one"), "{notes}");
    assert!(notes.contains("1 row(s) have no file in `model`"), "{notes}");
    assert!(notes.contains("1 checkpoint(s) have no `top1` in it: d.pt"), "{notes}");
    // Files of one name are told apart by their paths.
    let run = Run::new(&["x/m.pt", "y/m.pt"], "");
    let csv = format!("model,acc\n{},1\n{},2\n", run.1[0].display(), run.1[1].display());
    std::fs::write(run.0.path().join("results"), csv).unwrap();
    assert_eq!(run.top("acc", Direction::Max, 1).paths, [run.1[1].clone()]);
}

#[test]
fn lines_and_lists_of_objects_are_read() {
    let lines = "{\"mode\": \"train\", \"epoch\": 1, \"loss\": 2}\n{\"mode\": \"val\", \"epoch\": 1, \"val\": {\"acc\": 0.5}}\n";
    let more = "{\"mode\": \"val\", \"epoch\": 2, \"val\": {\"acc\": 0.4}}\n";
    let run = Run::epochs(1..=2, &format!("{lines}{more}"));
    assert_eq!(numbers(&run.top("val.acc", Direction::Max, 1)), [1]);
    let list = format!("[{}]", format!("{lines}{more}").trim_end().replace('\n', ","));
    assert_eq!(numbers(&Run::epochs(1..=2, &list).top("val.acc", Direction::Min, 1)), [2]);
}

#[test]
fn filters_come_first_and_positions_are_those_among_all() {
    let run = Run::epochs(0..=3, SUMMARY);
    let by = run.by("eval_top1", Choice::Top(Direction::Max, 1));
    let criteria = Criteria { range: Some(0..=1), ..Criteria::default() };
    let found = run.select(by.clone(), criteria).unwrap();
    assert_eq!((numbers(&found), found.left_out), (vec![1], 3));
    let notes = found.notes.join("\n");
    assert!(notes.contains("2 of 4 rows are of no checkpoint: 2, 3"), "{notes}");
    let last = std::num::NonZeroUsize::new(1);
    let criteria = Criteria { last, by_position: true, ..Criteria::default() };
    let error = run.select(by.clone(), criteria).unwrap_err().to_string();
    assert!(error.contains("the checkpoints are 4 to 4"), "{error}");
    let last = std::num::NonZeroUsize::new(2);
    let criteria = Criteria { last, by_position: true, ..Criteria::default() };
    assert_eq!(numbers(&run.select(by, criteria).unwrap()), [3]);
}

#[test]
fn equal_results_are_the_later_checkpoints() {
    let run = Run::epochs(1..=4, "epoch,acc\n1,5\n2,7\n3,5\n4,5\n");
    let best = run.top("acc", Direction::Max, 2);
    assert_eq!(numbers(&best), [2, 4]);
    assert!(best.notes.join("\n").contains("several checkpoints have `acc` 5: the later ones"));
    assert_eq!(numbers(&run.top("acc", Direction::Min, 2)), [3, 4]);
    // All of them: nothing to say.
    let all = run.top("acc", Direction::Min, 3);
    assert_eq!((numbers(&all), all.notes.len()), (vec![1, 3, 4], 1));
}

#[test]
fn of_several_rows_of_a_number_the_last_counts() {
    let run = Run::epochs(1..=2, "epoch,acc\n1,9\n2,5\n1,4\n");
    let best = run.top("acc", Direction::Max, 1);
    assert_eq!(numbers(&best), [2]);
    assert!(best.notes.join("\n").contains("1 row(s) repeat a `epoch` that has `acc` already"));
}

#[test]
fn results_that_are_not_finite_are_never_the_best() {
    let run = Run::epochs(1..=4, "epoch,acc\n1,nan\n2,inf\n3,5\n4,-inf\n");
    for direction in [Direction::Max, Direction::Min] {
        let best = run.top("acc", direction, 2);
        assert_eq!(numbers(&best), [3]);
        let notes = best.notes.join("\n");
        assert!(notes.contains("`acc` of 3 checkpoint(s) is not finite: not taken"), "{notes}");
        assert!(notes.contains("only 1 checkpoint(s) have a `acc` to choose 2 by"), "{notes}");
    }
    let run = Run::epochs(1..=1, "epoch,acc\n1,nan\n");
    assert_eq!(run.fails(run.by("acc", Choice::Top(Direction::Max, 1))).0, Kind::NoMatch);
}

#[test]
fn a_column_that_could_be_another_is_asked_for() {
    let results = "epoch,step,acc\n1,3,0.1\n2,2,0.2\n3,1,0.3\n";
    let run = Run::epochs(1..=3, results);
    let mut by = run.by("acc", Choice::Top(Direction::Max, 1));
    let (kind, error) = run.fails(by.clone());
    assert_eq!(kind, Kind::Usage);
    assert!(
        error.contains("`epoch`, `step` could all be the checkpoints' numbers; name"),
        "{error}"
    );
    by.number_column = Some("step".into());
    assert_eq!(numbers(&run.select(by.clone(), Criteria::default()).unwrap()), [1]);
    by.number_column = Some("steps".into());
    assert_eq!(run.fails(by).0, Kind::Input);
    // The one with more of them is taken; a fraction is no number.
    let run = Run::epochs(1..=3, "epoch,trainer/global_step,acc\n0.5,1,0.1\n1,2,0.2\n1.5,3,0.3\n");
    let chosen = run.top("acc", Direction::Min, 1).chosen.unwrap();
    assert_eq!((chosen.column.as_str(), chosen.taken[0].number), ("trainer/global_step", Some(1)));
}

#[test]
fn files_that_hold_no_results_are_refused() {
    for (text, kind, what) in [
        ("", Kind::Input, "holds no results"),
        ("epoch,acc\n", Kind::Input, "holds no results"),
        ("epoch,acc\n1,bad\n", Kind::Input, "`acc` holds no number"),
        (
            "{\"acc\": [0.5, 0.6]}",
            Kind::Input,
            "has no results `acc`; give CSV with a line of names",
        ),
        ("acc\n1\n", Kind::NoMatch, "no column counts epochs or steps, or names the checkpoints"),
        ("{\"a\": ", Kind::Input, "is no JSON: EOF while parsing a value at line 1 column "),
        ("[1]", Kind::Input, "item 1 of its list is no object"),
        ("epoch,acc\n1,2,3\n", Kind::Input, "line 2 has 3 values"),
    ] {
        let run = Run::epochs(1..=1, text);
        let (found, error) = run.fails(run.by("acc", Choice::Top(Direction::Max, 1)));
        assert!(found == kind && error.contains(what), "{text}: {error}");
    }
    let run = Run::epochs(1..=1, "");
    std::fs::write(run.0.path().join("results"), b"epoch,\xff\n").unwrap();
    assert!(run.fails(run.by("acc", Choice::Top(Direction::Max, 1))).1.contains("not a text file"));
    let mut by = run.by("acc", Choice::Top(Direction::Max, 1));
    by.file = run.0.path().join("gone");
    assert_eq!(run.fails(by).0, Kind::Usage);
}

fn swad(losses: &[f64]) -> String {
    let rows = losses.iter().enumerate().map(|(i, loss)| format!("{},{loss}\n", 10 * (i + 1)));
    format!("step,val_loss\n{}", rows.collect::<String>())
}

/// The losses are those of the hand-worked case in `swad`: rows 40 to 90 are averaged, and so are the checkpoints
/// between these that have no row.
#[test]
fn swad_takes_what_lies_in_the_valley() {
    let losses = [9.0, 7.0, 5.0, 3.0, 4.0, 5.0, 6.0, 6.0, 5.1, 6.0, 5.3, 7.0, 8.0, 9.0, 5.21, 1.0];
    let files: Vec<String> = (1..=32).map(|n| format!("step_{}.pt", 5 * n)).collect();
    let run = Run::new(&files.iter().map(String::as_str).collect::<Vec<_>>(), &swad(&losses));
    let by = run.by("val_loss", Choice::Swad(Swad::default()));
    let found = run.select(by.clone(), Criteria::default()).unwrap();
    assert_eq!(numbers(&found), (8..=18).map(|n| 5 * n).collect::<Vec<_>>());
    let chosen = found.chosen.unwrap();
    assert_eq!((chosen.taken[0].value, chosen.taken[1].value), (Some(3.0), None));
    let Reason::Swad { start, end, level, left, .. } = chosen.reason else { panic!() };
    assert_eq!((start.as_str(), end.as_str(), level, left), ("40", "90", 4.0, true));
    // Rows before the first checkpoint that is left take no part.
    let found = run.select(by, Criteria { start: Some(100), ..Criteria::default() }).unwrap();
    // 5.3 is the least of [5.3, 7, 8]; level 6.77, threshold 8.8: never left.
    assert_eq!(numbers(&found)[0], 110);
    assert_eq!(numbers(&found).last(), Some(&160));
}

#[test]
fn swad_without_a_valley_says_so() {
    let run = Run::epochs(1..=5, "epoch,loss\n1,5\n2,4\n3,3\n4,2\n5,1\n");
    let (kind, error) = run.fails(run.by("loss", Choice::Swad(Swad::default())));
    assert_eq!(kind, Kind::Input);
    assert!(
        error.contains("no `loss` of 5 is the least of 3 in a row: it falls to the end; train on"),
        "{error}"
    );
    let run = Run::epochs(1..=3, "epoch,elbo\n1,-5\n2,-4\n3,-3\n");
    let (_, error) = run.fails(run.by("elbo", Choice::Swad(Swad::default())));
    assert!(error.contains("SWAD takes a loss, which is not below zero"), "{error}");
    // Rows that no checkpoint of the valley has.
    let run = Run::epochs(1..=2, "epoch,loss\n1,5\n2,4\n3,3\n");
    assert_eq!(run.fails(run.by("loss", Choice::Swad(Swad::default()))).0, Kind::Input);
}

#[test]
fn a_column_that_is_there_twice_is_refused_where_its_values_differ() {
    let by = |run: &Run| run.by("acc", Choice::Top(Direction::Max, 1));
    let run = Run::epochs(1..=2, "epoch,acc,acc\n1,0.5,0.9\n2,0.6,0.6\n");
    let (kind, error) = run.fails(by(&run));
    assert_eq!(kind, Kind::Input);
    assert!(error.contains("two columns are called `acc`: a row has 0.5 and 0.9; give"), "{error}");
    let run = Run::epochs(1..=2, "epoch,acc,epoch\n1,0.5,1\n2,0.6,3\n");
    assert!(run.fails(by(&run)).1.contains("two columns are called `epoch`: a row has 2 and 3"));
    // The same, and others: no matter.
    let run = Run::epochs(1..=2, "epoch,acc,acc,x,x\n1,0.5,0.5,1,2\n2,nan,nan,a,b\n");
    let chosen = run.select(by(&run), Criteria::default()).unwrap();
    assert_eq!(numbers(&chosen), [1]);
}

#[test]
fn two_values_of_one_name_in_an_object_are_refused() {
    let (one, two) = (r#"{"epoch": 1, "acc": 0.5}"#, r#"{"epoch": 2, "acc": NaN, "acc": 0.6}"#);
    for (text, line) in [
        (format!("{one}\n{two}\n"), 2),
        (format!("[{one},\n{two}]"), 2),
        (format!("{{\"log_history\": [\n{one},\n{two}]}}"), 3),
    ] {
        let run = Run::epochs(1..=2, &text);
        let (kind, error) = run.fails(run.by("acc", Choice::Top(Direction::Max, 1)));
        assert_eq!(kind, Kind::Input);
        let expected = format!("two values of `acc` in one object at line {line} column ");
        assert!(error.contains(&expected), "{error}");
        // The same twice has one meaning.
        let run = Run::epochs(1..=2, &text.replace("NaN, \"acc\": 0.6", "0.6, \"acc\": 0.6"));
        let chosen = run.select(run.by("acc", Choice::Top(Direction::Max, 1)), Criteria::default());
        assert_eq!(numbers(&chosen.unwrap()), [2]);
    }
}

#[test]
fn results_that_are_no_numbers_are_not_passed_over() {
    for (text, value) in [
        ("epoch;loss\n1;2\n2;1,5\n3;1\n", "1,5"),
        ("epoch,loss\n1,900\n2,\"1,100\"\n", "1,100"),
        ("epoch,loss\n1,7\n2,90%\n", "90%"),
        ("epoch,loss\n1,tensor(0.5)\n", "tensor(0.5)"),
    ] {
        let run = Run::epochs(1..=3, text);
        let (kind, error) = run.fails(run.by("loss", Choice::Top(Direction::Min, 1)));
        assert_eq!(kind, Kind::Input);
        let expected = format!("`loss` has a value `{value}`, which is no number; write numbers");
        assert!(error.contains(&expected), "{error}");
    }
    // No result at all.
    let run = Run::epochs(1..=3, "epoch,loss\n1,2\n2,n/a\n3,1\n");
    let chosen = run.select(run.by("loss", Choice::Top(Direction::Min, 1)), Criteria::default());
    assert_eq!(numbers(&chosen.unwrap()), [3]);
}
