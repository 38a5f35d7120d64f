//! Which of an engine's options a coco file may give without the user's consent. Pure.

/// Options that can't open the sandbox whatever their value is; only in the spelling `--name=value`.
const HARMLESS: &[&str] = &["--shm-size", "--hostname", "--label", "--stop-timeout", "--stop-signal"];

/// Whether an engine argument can't open the sandbox.
pub fn is_harmless(argument: &str) -> bool {
    let Some((option, value)) = argument.split_once('=') else { return false };
    HARMLESS.contains(&option)
        && !value.is_empty()
        && value.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || b"._:+/-".contains(&byte) || (option == "--label" && byte == b'=')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_argument_is_harmless_in_one_spelling_alone() {
        for harmless in ["--shm-size=256m", "--hostname=a-b.example", "--label=org.example/x=1:2", "--stop-timeout=10"]
        {
            assert!(is_harmless(harmless), "{harmless}");
        }
        for other in ["", "=a", "-l=a", "--shm-size", "--shm-size=", "--label=", "--device=x", "--volume=a:b"] {
            assert!(!is_harmless(other), "{other:?}");
        }
        for other in ["--hostname=a=b", "--hostname=a b", "--hostname=a,b", "--label=a\"b", "--label=a\nb"] {
            assert!(!is_harmless(other), "{other:?}");
        }
    }
}
