//! The Xauthority file format: one display's cookie, usable under the sandbox's own host name.
//!
//! A record is a family (`u16`, big endian) and four counted strings: address, display number,
//! protocol name, cookie (libXau, `Xauth.h`). Family 0xffff is `FamilyWild`: any address. Pure.

const FAMILY_WILD: u16 = 0xffff;

/// The records of `file` for the display `:N`, with the address made wild. Everything else in the
/// caller's file stays outside.
pub fn for_display(file: &[u8], display: &str) -> Vec<u8> {
    let number = display.trim_start_matches(':').as_bytes();
    let mut kept = Vec::new();
    let mut rest = file;
    while let Some((record, tail)) = record(rest) {
        rest = tail;
        if record.number.is_empty() || record.number == number {
            kept.extend_from_slice(&FAMILY_WILD.to_be_bytes());
            for field in [&b""[..], number, record.protocol, record.cookie] {
                kept.extend_from_slice(&u16::try_from(field.len()).unwrap_or(0).to_be_bytes());
                kept.extend_from_slice(field);
            }
        }
    }
    kept
}

struct Record<'a> {
    number: &'a [u8],
    protocol: &'a [u8],
    cookie: &'a [u8],
}

fn record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (_family, rest) = bytes.split_first_chunk::<2>()?;
    let (_address, rest) = counted(rest)?;
    let (number, rest) = counted(rest)?;
    let (protocol, rest) = counted(rest)?;
    let (cookie, rest) = counted(rest)?;
    Some((Record { number, protocol, cookie }, rest))
}

fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(family: u16, fields: [&[u8]; 4]) -> Vec<u8> {
        let mut bytes = family.to_be_bytes().to_vec();
        for field in fields {
            bytes.extend_from_slice(&u16::try_from(field.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(field);
        }
        bytes
    }

    #[test]
    fn only_the_displays_own_cookie_goes_in() {
        let mut file = entry(256, [b"host", b"0", b"MIT-MAGIC-COOKIE-1", b"secret0"]);
        file.extend(entry(256, [b"host", b"1", b"MIT-MAGIC-COOKIE-1", b"secret1"]));
        assert_eq!(for_display(&file, ":1"), entry(0xffff, [b"", b"1", b"MIT-MAGIC-COOKIE-1", b"secret1"]));
    }

    #[test]
    fn a_cut_off_file_is_read_as_far_as_it_goes() {
        let file = entry(256, [b"host", b"0", b"P", b"cookie"]);
        for cut in 0..file.len() {
            assert!(for_display(&file[..cut], ":0").is_empty());
        }
    }
}
