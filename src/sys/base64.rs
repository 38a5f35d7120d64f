//! Base 64 with the standard alphabet and padding (RFC 4648, section 4).

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The text of any bytes.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().chain([&0, &0]).take(3).fold(0_u32, |group, byte| group << 8 | u32::from(*byte));
        for position in 0..4 {
            let index = usize::try_from(group >> (18 - 6 * position) & 63).unwrap_or(0);
            let letter = ALPHABET.get(index).copied().unwrap_or(b'=');
            text.push(if position > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

/// The bytes of a text; `None` for what [`encode`] does not write.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for group in text.chunks(4) {
        let letters: Vec<u8> = group.iter().copied().take_while(|letter| *letter != b'=').collect();
        let count = letters.len();
        let mut bits = 0_u32;
        for letter in letters {
            let value = ALPHABET.iter().position(|known| *known == letter)?;
            bits = bits << 6 | u32::try_from(value).ok()?;
        }
        // Two letters are one byte and four bits of padding, three are two bytes and two bits.
        let [_, high, middle, low] = (bits << (6 * (4 - count))).to_be_bytes();
        bytes.extend_from_slice([high, middle, low].get(..count.checked_sub(1)?)?);
    }
    // Whatever is left over, in the wrong place or not zero has another text.
    (encode(&bytes).as_bytes() == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(encode(bytes.as_bytes()), text);
        }
        let bytes: Vec<u8> = (0..=255).collect();
        for length in 0..=bytes.len() {
            let part = &bytes[..length];
            assert_eq!(decode(encode(part).as_bytes()).as_deref(), Some(part));
        }
    }

    #[test]
    fn only_what_is_written_is_read() {
        for text in
            ["Z", "Zg", "Zg=", "Zm8", "Zm9vY", "Zh==", "Zm9=", "Zg==Zg==", "====", "=Zg=", "Zm9v\n", "Zm-_", "Zm 9v"]
        {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }
}
