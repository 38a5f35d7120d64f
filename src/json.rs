//! Strict JSON: bytes to a tree that remembers every key, duplicates included.
//!
//! serde_json's own map keeps the last of two equal keys, so a reader and a reviewer can see two
//! different files. Here a duplicate is an error, and so are deep nesting, a byte order mark and
//! more than the caller's limit of bytes. Shared with `build.rs`; must not use anything of the
//! program but the standard library and serde. Pure.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// How deeply arrays and objects may nest. Coco files need 3, install records 3.
const MAX_DEPTH: usize = 8;

/// A JSON value whose objects keep their order.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Any number that is written as a non-negative integer of up to 64 bits.
    Integer(u64),
    /// Any other number; `limits.cpus` takes one.
    Number(f64),
    /// A string.
    Text(String),
    /// An array.
    Array(Vec<Value>),
    /// An object; keys are unique, checked by [`parse`].
    Object(Vec<(String, Value)>),
}

impl Value {
    /// The type as a user would call it, for "expected a string, found an array".
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Integer(_) | Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        }
    }

    /// The member of an object, if this is one and it has the key.
    pub fn member(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => members.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a string value.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of an integer.
    pub fn integer(&self) -> Option<u64> {
        match self {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The items of an array, or nothing.
    pub fn items(&self) -> &[Value] {
        match self {
            Value::Array(items) => items,
            _ => &[],
        }
    }
}

/// What is wrong with a JSON text, and where: `pointer` is an RFC 6901 JSON pointer, empty for the
/// whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// RFC 6901 pointer to the place.
    pub pointer: String,
    /// What is wrong, lower case, no full stop.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl JsonError {
    /// An error at `pointer`.
    pub fn new(pointer: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        JsonError { pointer: pointer.to_owned(), message: message.into(), hint: hint.into() }
    }
}

/// Parses `bytes`, at most `limit` of them.
///
/// # Errors
/// Too long, a byte order mark, invalid UTF-8, broken JSON, nesting past [`MAX_DEPTH`], duplicate
/// keys, text after the value.
pub fn parse(bytes: &[u8], limit: usize) -> Result<Value, JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::new("", format!("the file has more than {limit} bytes"), "keep it small"));
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(JsonError::new("", "the file starts with a byte order mark", "save it as UTF-8 without BOM"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        JsonError::new("", format!("invalid UTF-8 at byte {}", error.valid_up_to()), "save the file as UTF-8")
    })?;
    let value: Value = serde_json::from_str(text).map_err(|error| {
        JsonError::new("", format!("not valid JSON: {error}"), "check commas, quotes and brackets there")
    })?;
    check(&value, "", 0)?;
    Ok(value)
}

fn check(value: &Value, pointer: &str, depth: usize) -> Result<(), JsonError> {
    if depth > MAX_DEPTH {
        return Err(JsonError::new(pointer, format!("nested more than {MAX_DEPTH} deep"), "no key of coco needs that"));
    }
    match value {
        Value::Array(items) => {
            for (position, item) in items.iter().enumerate() {
                check(item, &format!("{pointer}/{position}"), depth + 1)?;
            }
        }
        Value::Object(members) => {
            let mut seen = std::collections::HashSet::new();
            for (key, member) in members {
                let place = format!("{pointer}/{}", escape(key));
                if !seen.insert(key.as_str()) {
                    return Err(JsonError::new(&place, "this key appears twice", "keep one of the two"));
                }
                check(member, &place, depth + 1)?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Number(_) | Value::Text(_) => {}
    }
    Ok(())
}

/// A key as a JSON pointer token (RFC 6901, section 3), with control characters made visible.
pub fn escape(key: &str) -> String {
    let key: String = key.chars().flat_map(char::escape_debug).collect();
    key.replace('~', "~0").replace('/', "~1")
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        // Only negative integers arrive here. No key of coco takes one, so precision does not matter.
        #[expect(clippy::cast_precision_loss, reason = "the value is only ever named as 'a number'")]
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(text: &str) -> String {
        parse(text.as_bytes(), 4096).unwrap_err().pointer
    }

    #[test]
    fn a_duplicate_key_is_an_error_at_its_place() {
        assert_eq!(pointer(r#"{"a": {"x": 1, "x": 2}}"#), "/a/x");
        assert_eq!(pointer(r#"{"a~/": 1, "a~/": 2}"#), "/a~0~1");
    }

    #[test]
    fn the_same_key_in_two_objects_is_fine() {
        assert!(parse(br#"{"a": {"x": 1}, "b": {"x": 1}}"#, 4096).is_ok());
    }

    #[test]
    fn limits_hold() {
        assert!(parse(b"[[[[[[[[[[1]]]]]]]]]]", 4096).is_err());
        assert!(parse("[".repeat(60_000).as_bytes(), 65_536).is_err());
        assert!(parse(b"\"aaaa\"", 5).is_err());
        assert!(parse(b"\xef\xbb\xbf{}", 4096).unwrap_err().message.contains("byte order mark"));
        assert!(parse(b"\"\xff\"", 4096).unwrap_err().message.contains("UTF-8"));
        assert!(parse(b"{} {}", 4096).is_err());
        assert!(parse(b"", 4096).is_err());
    }
}
