//! Files in `tests/golden`, with which tests compare what they made. `COCO_BLESS=1` writes them anew; what then changes is
//! read in the difference before it is committed.

use std::fs;
use std::path::Path;

/// Compares with a golden file, or writes it.
#[track_caller]
pub(crate) fn compare(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
    #[expect(clippy::disallowed_methods, reason = "the one switch of these tests")]
    if std::env::var_os("COCO_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if found == expected {
        return;
    }
    let line = found.lines().zip(expected.lines()).take_while(|(found, expected)| found == expected).count();
    panic!(
        "{} differs from line {}:\nexpected {:?}\nfound    {:?}\nif that is meant: COCO_BLESS=1 make quick",
        path.display(),
        line + 1,
        expected.lines().nth(line),
        found.lines().nth(line),
    );
}
