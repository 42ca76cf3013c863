//! Text for people and for shells.

use std::path::Path;

/// Escapes control characters. Names come from files, and such characters could control a terminal.
pub fn printable(text: &str) -> String {
    let control = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if control(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A number of things: `1 tensor`, `2 tensors`.
pub fn counted(n: usize, thing: &str) -> String {
    match n {
        1 => format!("1 {thing}"),
        n => format!("{n} {thing}s"),
    }
}

/// Spells a setting, given its name (lower case, words joined by underscores) and its value, if there is one.
pub type SettingStyle<'a> = dyn Fn(&str, Option<&str>) -> String + 'a;

/// A setting within a message: `setting!("batch_size")`, or `setting!("keys", "union")` with a value. Libraries name
/// settings; the program that shows the message spells them as its users write them (`--batch-size`).
///
/// It stands between a zero byte, which no path has, and U+0001.
#[macro_export]
macro_rules! setting {
    ($name:literal) => {
        concat!("\0", $name, "\u{1}")
    };
    ($name:literal, $value:literal) => {
        concat!("\0", $name, "=", $value, "\u{1}")
    };
}

/// A setting as libraries spell it: its name in backquotes, and its value.
pub fn in_quotes(name: &str, value: Option<&str>) -> String {
    match value {
        None => format!("`{name}`"),
        Some(value) => format!("`{name}` {value}"),
    }
}

/// A setting as [`setting!`] marks it, for a message that is handed on to whoever spells it.
pub fn marked(name: &str, value: Option<&str>) -> String {
    match value {
        None => format!("\0{name}\u{1}"),
        Some(value) => format!("\0{name}={value}\u{1}"),
    }
}

/// The text as it is shown: every [`setting!`] in it is spelled by `write`, the rest is [`printable`].
pub fn shown(text: &str, write: &SettingStyle) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\0') {
        out += &printable(before);
        let setting = after.split_once('\u{1}').map(|(setting, after)| {
            let (name, value) = match setting.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (setting, None),
            };
            (name, value, after)
        });
        // A zero byte in a name from a file is no mark.
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b))
        };
        match setting {
            Some((name, value, after)) if is_name(name) => {
                out += &write(name, value);
                rest = after;
            }
            _ => {
                out += &printable("\0");
                rest = after;
            }
        }
    }
    out + &printable(rest)
}

/// A size for people, in powers of ten.
pub fn megabytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// A path, quoted for a shell if need be.
pub fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else if printable(&text) != text {
        // What would move the cursor or begin a line, as bash, zsh and ksh read it.
        let escaped = |c: char| match c {
            '\'' | '\\' => format!("\\{c}"),
            c if printable(c.encode_utf8(&mut [0; 4])) == c.to_string() => c.into(),
            c => c.encode_utf8(&mut [0; 4]).bytes().map(|b| format!("\\x{b:02x}")).collect(),
        };
        format!("$'{}'", text.chars().map(escaped).collect::<String>())
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// The path with a suffix before the ending of its name: `swa.safetensors` → `swa_bn.safetensors`, and timm's
/// `swa.pth.tar` → `swa_bn.pth.tar`.
pub fn with_suffix(path: &Path, suffix: &str) -> std::path::PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bare =
        name.strip_suffix(".tar").filter(|bare| bare.ends_with(".pth") || bare.ends_with(".pt"));
    let stem = Path::new(bare.unwrap_or(&name)).file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}{suffix}{}", &name[stem.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_spelled_as_they_are_written() {
        let text = concat!("choose ", setting!("keys", "union"), " or ", setting!("force"), "!");
        let flags = |name: &str, value: Option<&str>| format!("--{name} {}", value.unwrap_or("-"));
        assert_eq!(shown(text, &flags), "choose --keys union or --force -!");
        // Names from files may hold anything.
        assert_eq!(shown("a\0b\n\u{1}c\u{1b}", &flags), "a\\u{0}b\\n\\u{1}c\\u{1b}");
        // What is handed on is spelled later, and what was escaped stays as it is.
        let handed_on = shown(&format!("\n{text}"), &marked);
        assert_eq!(shown(&handed_on, &flags), "\\nchoose --keys union or --force -!");
    }

    #[test]
    fn a_suffix_comes_before_the_ending() {
        for (from, to) in [
            ("a/swa.safetensors", "a/swa_bn.safetensors"),
            ("epoch=3.ckpt", "epoch=3_bn.ckpt"),
            ("model_best.pth.tar", "model_best_bn.pth.tar"),
            ("v1.5.pt", "v1.5_bn.pt"),
            ("folder", "folder_bn"),
        ] {
            assert_eq!(with_suffix(Path::new(from), "_bn"), Path::new(to));
        }
    }

    #[test]
    fn a_word_for_a_shell_is_a_line() {
        for (name, word) in [
            ("a/b-1.pth", "a/b-1.pth"),
            ("it's", r"'it'\''s'"),
            ("a\nb", r"$'a\x0ab'"),
            ("a'\\\u{1b}é", r"$'a\'\\\x1bé'"),
            ("\u{202e}x", r"$'\xe2\x80\xaex'"),
        ] {
            assert_eq!(shell_word(Path::new(name)), word);
        }
    }
}
