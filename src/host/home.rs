//! Where the caller's home is when `HOME` does not say it.
//!
//! Not by the C library's getpwuid: in a static program it loads name service modules that were built for another
//! C library, and crashes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::error::Error;
use crate::sys::files::read_limited;

/// The most that is read of the user database, in bytes.
const MAX_PASSWD: usize = 4 << 20;

/// The home of a user: `HOME`, else by `/etc/passwd`, else by what `ask` says, which is asked for a line of that file.
pub fn home_of(home: Option<&OsStr>, uid: u32, ask: impl FnOnce(u32) -> Option<Vec<u8>>) -> Result<PathBuf, Error> {
    let problem = |message: &str| Error::Environment {
        name: "HOME",
        message: message.to_owned(),
        hint: "set HOME to your home directory, as in HOME=/home/you coco list".to_owned(),
    };
    if let Some(home) = home {
        let home = PathBuf::from(home);
        return if home.is_absolute() { Ok(home) } else { Err(problem("is not set to an absolute path")) };
    }
    let passwd = read_limited("/etc/passwd".as_ref(), MAX_PASSWD).ok().flatten().unwrap_or_default();
    home_in(&passwd, uid)
        .or_else(|| home_in(&ask(uid)?, uid))
        .ok_or_else(|| problem(&format!("is not set, and this machine knows no user with the id {uid}")))
}

/// The home in the first line of that user (passwd(5)): the third field is the id, the sixth the home.
fn home_in(passwd: &[u8], uid: u32) -> Option<PathBuf> {
    let id = uid.to_string();
    let mut homes = passwd.split(|byte| *byte == b'\n').filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        match fields.as_slice() {
            // A name that starts so is an order to the name services, and no user.
            [[b'+' | b'-' | b'#', ..], ..] => None,
            [_, _, number, _, _, home, _] if *number == id.as_bytes() => Some(PathBuf::from(OsStr::from_bytes(home))),
            _ => None,
        }
    });
    homes.next().filter(|home| home.is_absolute())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_first_line_of_the_user_counts() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\n\
            broken:x:7\n\
            +nis:x:1000:1000::/evil:/bin/sh\n\
            -nis:x:1000:1000::/evil:/bin/sh\n\
            #old:x:1000:1000::/evil:/bin/sh\n\
            many:x:1000:1000::/evil:/bin/sh:more\n\
            other:x:10000:1000::/home/other:/bin/sh\n\
            group:x:5:1000::/home/group:/bin/sh\n\
            me:x:1000:1000:Me, Myself:/home/\xff:\n\
            again:x:1000:1000::/home/again:/bin/sh\n\
            relative:x:8:8::home:/bin/sh\n\
            none:x:9:9:::";
        assert_eq!(home_in(passwd, 0).as_deref(), Some(Path::new("/root")));
        assert_eq!(home_in(passwd, 1000).as_deref(), Some(Path::new(OsStr::from_bytes(b"/home/\xff"))));
        assert_eq!(home_in(passwd, 10_000).as_deref(), Some(Path::new("/home/other")));
        for none in [7, 8, 9, 12_345] {
            assert_eq!(home_in(passwd, none), None, "{none}");
        }
        assert_eq!(home_in(b"", 0), None);
    }

    #[test]
    fn home_comes_first_and_who_is_asked_last() {
        let nobody = |_: u32| -> Option<Vec<u8>> { panic!("nobody is asked") };
        assert_eq!(home_of(Some(OsStr::new("/h")), 12_345, nobody).unwrap(), Path::new("/h"));
        for bad in ["", "h", "./h"] {
            assert!(home_of(Some(OsStr::new(bad)), 12_345, nobody).is_err(), "{bad}");
        }
        // Every machine's /etc/passwd has root.
        assert_eq!(home_of(None, 0, nobody).unwrap(), Path::new("/root"));
        let line = |uid: u32| Some(format!("x:x:{uid}:1::/home/x:/bin/sh\n").into_bytes());
        assert_eq!(home_of(None, 4_000_000_123, line).unwrap(), Path::new("/home/x"));
        for answer in [None, Some(Vec::new()), Some(b"x:x:1:1::/home/x:/bin/sh\n".to_vec())] {
            let error = home_of(None, 4_000_000_123, |_| answer).unwrap_err();
            assert!(error.to_string().contains("knows no user with the id 4000000123"), "{error}");
            assert!(error.hint().contains("HOME="), "{}", error.hint());
        }
    }
}
