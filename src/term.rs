//! The only place that prints: standard output for data, standard error for notes.
//!
//! A closed pipe on standard output ends the output, not the program with a panic. Whatever comes
//! from outside (paths, names, an installer's words) passes through [`printable`], so that it can't
//! move the cursor or retitle the terminal.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Writes data to standard output. A reader that has gone away is no error (`coco list | head -1`).
pub fn out(text: &str) {
    let mut stdout = io::stdout().lock();
    // Nothing can be told to a reader that is gone, nor to a full disk through the same stream.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Writes one line, `coco: KIND: TEXT`, to standard error; the text is made printable.
pub fn note(kind: &str, text: &str) {
    let line = format!("coco: {kind}: {}\n", printable(text));
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Writes one line, `coco: TEXT`, to standard error.
pub fn say(text: &str) {
    let line = format!("coco: {}\n", printable(text));
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Asks a yes or no question on the terminal; everything but `y` and `yes` is no.
pub fn ask(question: &str) -> bool {
    // What was typed before the question was shown is no answer to it.
    let _ = nix::sys::termios::tcflush(io::stdin(), nix::sys::termios::FlushArg::TCIFLUSH);
    let text = format!("coco: {} [y/N] ", printable(question));
    let _ = io::stderr().lock().write_all(text.as_bytes());
    let mut answer = String::new();
    // A terminal's line is short; what is longer is no yes.
    let read = io::BufRead::read_line(&mut io::Read::take(io::stdin().lock(), 64), &mut answer);
    read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// Writes what another program printed to standard error: lines kept, other control characters made
/// visible.
pub fn relay(text: &str) {
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

/// The text with control characters and the Unicode marks that reorder a line made visible.
pub fn printable(text: &str) -> String {
    let hidden = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .flat_map(|letter| if hidden(letter) { letter.escape_default().collect::<Vec<_>>() } else { vec![letter] })
        .collect()
}

/// One argument quoted for a POSIX shell; only for people to read and copy, never executed by coco.
/// Bytes that no UTF-8 shell line can hold become `$'...'`, which bash, zsh and POSIX 2024 read.
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
