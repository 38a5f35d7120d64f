//! `/proc/self/mountinfo` (proc(5)): a line for each mount, in which space, tab, newline and backslash stand as octal
//! escapes.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Which part of the file system is mounted.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
    /// The type of the file system.
    pub kind: String,
    /// The options of this mount, not those of the file system, separated by commas.
    options: Vec<u8>,
}

impl Mount {
    /// Whether nothing can be written through this mount.
    pub fn is_read_only(&self) -> bool {
        self.options.split(|byte| *byte == b',').any(|option| option == b"ro")
    }

    fn parse(line: &[u8]) -> Option<Mount> {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        // A varying number of fields stands before the dash.
        let dash = fields.iter().position(|field| *field == b"-")?;
        Some(Mount {
            root: unescape_octal(fields.get(3)?),
            point: unescape_octal(fields.get(4)?),
            kind: std::str::from_utf8(fields.get(dash + 1)?).ok()?.to_owned(),
            options: (*fields.get(5)?).to_owned(),
        })
    }
}

/// All mounts of this process, in the kernel's order.
///
/// # Errors
/// An unreadable table, or a line that is not understood.
pub fn mounts() -> io::Result<Vec<Mount>> {
    let table = fs::read("/proc/self/mountinfo")?;
    lines(&table).map(|line| Mount::parse(line).ok_or_else(|| io::ErrorKind::InvalidData.into())).collect()
}

/// Where something is mounted; nothing that is not understood keeps the rest from being told.
pub fn mount_points() -> Vec<PathBuf> {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    lines(&table).filter_map(|line| line.split(|byte| *byte == b' ').nth(4)).map(unescape_octal).collect()
}

fn lines(table: &[u8]) -> impl Iterator<Item = &[u8]> {
    table.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// Undoes the octal escapes.
pub fn unescape_octal(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) = (first, tail) {
            bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn octal_escapes() {
        assert_eq!(unescape_octal(br"/a\040b\134c\011"), Path::new("/a b\\c\t"));
        assert_eq!(unescape_octal(br"/a\9\04"), Path::new(r"/a\9\04"));
    }

    #[test]
    fn a_line_of_the_table() {
        let mount =
            Mount::parse(br"36 35 98:0 /mnt1 /a\040b rw,noatime master:1 shared:2 - ext3 /dev/root ro,x").unwrap();
        assert_eq!((mount.root.as_path(), mount.point.as_path()), (Path::new("/mnt1"), Path::new("/a b")));
        assert_eq!(mount.kind, "ext3");
        assert!(!mount.is_read_only(), "the file system's own options come later");
        assert!(Mount::parse(b"36 35 98:0 / / ro,nosuid - ext3 x rw").unwrap().is_read_only());
        assert!(!Mount::parse(b"36 35 98:0 / / rw,proto - ext3 x rw").unwrap().is_read_only());
        for bad in [&b"36 35 98:0 / /x rw ext3 x rw"[..], b"- ext3", b"36 35 98:0 / /x rw -", b"1 2 3 4 5 6 - \xff"] {
            assert_eq!(Mount::parse(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn every_mount_of_this_process_is_understood() {
        let points: Vec<PathBuf> = mounts().unwrap().into_iter().map(|mount| mount.point).collect();
        assert!(points.contains(&PathBuf::from("/proc")), "{points:?}");
        assert_eq!(points, mount_points());
    }
}
