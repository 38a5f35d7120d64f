//! What coco prints: data to standard output, notes to standard error. Nothing else prints but init inside the sandbox.
//!
//! A closed pipe on standard output ends the output; the program does not panic. Text from outside (paths, names, an
//! installer's output) passes through [`printable`], so that it can't move the cursor or change the terminal's title.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::names::is_invisible;

pub mod progress;

/// The longest message, in bytes: its subject may come from outside and have any length.
const MAX_MESSAGE: usize = 4096;

/// The longest word from outside that is shown whole, in characters.
const MAX_WORD: usize = 60;

/// Writes data to standard output. A reader that has gone away is not an error (`coco list | head -1`).
pub fn out(text: &str) {
    let mut stdout = io::stdout().lock();
    // There is no way to report this: the reader is gone, or the disk is full.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Writes one line, `coco: KIND: TEXT`, to standard error. The text is made printable, and shortened when it is long.
pub fn note(kind: &str, text: &str) {
    let line = format!("coco: {kind}: {}\n", message(text));
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Writes one line, `coco: TEXT`, to standard error.
pub fn say(text: &str) {
    let line = format!("coco: {}\n", message(text));
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Asks a yes or no question on the terminal. Everything but `y` and `yes` means no.
pub fn ask(question: &str) -> bool {
    // Input from before the question was shown is not an answer to it.
    let _ = rustix::termios::tcflush(io::stdin(), rustix::termios::QueueSelector::IFlush);
    let text = format!("coco: {} [y/N] ", message(question));
    let _ = io::stderr().lock().write_all(text.as_bytes());
    let mut answer = String::new();
    // A terminal's line is short, and a long one is not a yes.
    let read = io::BufRead::read_line(&mut io::Read::take(io::stdin().lock(), 64), &mut answer);
    read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// Writes lines to standard error, perhaps those of another program: control characters are made visible.
pub fn print_lines(text: &str) {
    let line = |line: &str| line.split('\t').map(printable).collect::<Vec<_>>().join("\t");
    let mut shown: String = text.split('\n').map(line).collect::<Vec<_>>().join("\n");
    if !shown.ends_with('\n') {
        shown.push('\n');
    }
    let _ = io::stderr().lock().write_all(shown.as_bytes());
}

/// A path for messages.
pub fn path(path: &Path) -> String {
    os(path.as_os_str())
}

/// An OS string for messages: invalid UTF-8 as `\xNN`.
pub fn os(text: &OsStr) -> String {
    let mut shown = String::new();
    for chunk in text.as_bytes().utf8_chunks() {
        shown.push_str(chunk.valid());
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    printable(&shown)
}

/// The text with control characters, and with Unicode marks that reorder a line or are not visible, made visible.
pub fn printable(text: &str) -> String {
    let shown = |letter: char| {
        if is_invisible(letter) { letter.escape_unicode().collect::<Vec<_>>() } else { vec![letter] }
    };
    text.chars().flat_map(shown).collect()
}

/// A message as it is written: printable, and at most [`MAX_MESSAGE`] bytes long. A long one loses its middle, because
/// what it says is at the ends.
fn message(text: &str) -> String {
    let shown = printable(text);
    if shown.len() <= MAX_MESSAGE {
        return shown;
    }
    let is_end = |end: &usize| shown.is_char_boundary(*end);
    let head = (0..=MAX_MESSAGE / 2).rev().find(is_end).and_then(|end| shown.get(..end));
    let tail = (shown.len() - MAX_MESSAGE / 2..shown.len()).find(is_end).and_then(|start| shown.get(start..));
    format!("{}\u{2026}{}", head.unwrap_or_default(), tail.unwrap_or_default())
}

/// A text from outside as part of a message: as it is, or as a [`word`] when it is long.
pub fn shortened(text: &str) -> String {
    if text.chars().count() <= MAX_WORD { text.to_owned() } else { word(text) }
}

/// A text from outside (a path, a value) as one word of a sentence. It is quoted unless every character is plain, so
/// that it can't continue the sentence. A long one loses its middle, so that it can't push other lines away.
pub fn word(text: &str) -> String {
    let letters: Vec<char> = printable(text).chars().collect();
    if letters.len() <= MAX_WORD {
        return quoted(letters);
    }
    let (head, tail) = (letters.iter().take(MAX_WORD - 20), letters.iter().skip(letters.len() - 17));
    let shown = head.chain(&['.', '.', '.']).chain(tail).copied();
    format!("{} ({} characters)", quoted(shown), thousands(text.chars().count()))
}

fn quoted(letters: impl IntoIterator<Item = char>) -> String {
    let text: String = letters.into_iter().collect();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=,@%+~".contains(letter);
    if !text.is_empty() && text.chars().all(plain) { text } else { shell_quote(OsStr::new(&text)) }
}

/// A number with a comma before each three digits.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One argument quoted for a POSIX shell, for people to read and copy; coco never executes it. Bytes that are not
/// UTF-8 become `$'...'`, which bash, zsh and POSIX 2024 read.
pub fn shell_quote(argument: &OsStr) -> String {
    let bytes = argument.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return bytes.iter().map(|byte| char::from(*byte)).collect();
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if text == printable(text) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => {
            let escaped: String = bytes
                .iter()
                .map(|byte| match byte {
                    b'\'' => r"\'".to_owned(),
                    b'\\' => r"\\".to_owned(),
                    0x20..=0x7e => char::from(*byte).to_string(),
                    _ => format!("\\x{byte:02x}"),
                })
                .collect();
            format!("$'{escaped}'")
        }
    }
}

/// Rows as columns, two spaces between them, no trailing blanks.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_stay_visible() {
        assert_eq!(printable("a\x1b]0;x\x07b\u{202e}"), "a\\u{1b}]0;x\\u{7}b\\u{202e}");
        assert_eq!(path(Path::new(OsStr::from_bytes(b"/a\xff"))), "/a\\xff");
    }

    #[test]
    fn what_is_not_seen_or_reorders_stays_visible() {
        for hidden in [
            '\u{ad}',
            '\u{61c}',
            '\u{200b}',
            '\u{200d}',
            '\u{2028}',
            '\u{2029}',
            '\u{2060}',
            '\u{2064}',
            '\u{2066}',
            '\u{feff}',
            '\u{fff9}',
            '\u{fffb}',
            '\u{e0000}',
            '\u{e0041}',
            '\u{e007f}',
            '\n',
            '\u{85}',
        ] {
            let text = format!("a{hidden}b");
            assert_eq!(printable(&text), format!("a\\u{{{:x}}}b", u32::from(hidden)));
        }
        assert_eq!(printable("né \u{5d0} 日"), "né \u{5d0} 日");
    }

    #[test]
    fn a_message_has_an_end() {
        let shown = message(&format!("a{}: unknown key", "é".repeat(40_000)));
        assert!(shown.len() <= MAX_MESSAGE + 3, "{}", shown.len());
        assert!(shown.starts_with("aé") && shown.contains("é\u{2026}é") && shown.ends_with("é: unknown key"));
        let whole = "x".repeat(MAX_MESSAGE);
        assert_eq!((message(&whole), message("short\n")), (whole.clone(), "short\\u{a}".to_owned()));
        assert_eq!(shortened("/env/A B"), "/env/A B");
        assert!(shortened(&"a b".repeat(99)).ends_with("' (297 characters)"));
    }

    #[test]
    fn a_word_is_one_and_short() {
        for (text, shown) in [
            ("~/.config/x", "~/.config/x"),
            ("A=1", "A=1"),
            ("", "''"),
            ("~/a; no network", "'~/a; no network'"),
            ("it's", r"'it'\''s'"),
            ("a\nb", r"'a\u{a}b'"),
            ("a\u{202e}b", r"'a\u{202e}b'"),
        ] {
            assert_eq!(word(text), shown);
        }
        let long = format!("A=/{}/the-end", "x".repeat(4000));
        let shown = format!("A=/{}...{}/the-end (4,011 characters)", "x".repeat(37), "x".repeat(9));
        assert_eq!(word(&long), shown);
        // The length as it is shown decides, and the real length is printed.
        assert!(word(&"\u{200b}".repeat(100)).len() < 100);
        assert!(word(&" ".repeat(1_234_567)).ends_with("' (1,234,567 characters)"));
        assert_eq!((thousands(0), thousands(999), thousands(1000)), ("0".into(), "999".into(), "1,000".into()));
    }

    #[test]
    fn shell_quoting() {
        for (argument, quoted) in [
            (&b"a-b"[..], "a-b"),
            (b"", "''"),
            (b"a b", "'a b'"),
            (b"it's", r"'it'\''s'"),
            (b"$(x)", "'$(x)'"),
            (b"a\nb", r"$'a\x0ab'"),
            (b"\xff'", r"$'\xff\''"),
        ] {
            assert_eq!(shell_quote(OsStr::from_bytes(argument)), quoted);
        }
    }
}
