//! `docs/threats.md` against the tests and the list of attacks.

use std::fs;
use std::path::Path;

const IDS: &[(&str, &[u8])] = &[
    ("N", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25]),
    ("F", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]),
    ("P", &[1, 3, 4, 5, 6, 7, 8, 10, 11, 13]),
    ("C", &[1, 2, 3, 4]),
    ("S", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
    ("I", &[1, 2, 4]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_attack_has_a_row() {
    let threats = fs::read_to_string(root().join("docs/threats.md")).unwrap();
    for (letter, numbers) in IDS {
        for number in *numbers {
            let row = format!("\n| {letter}{number} |");
            assert_eq!(threats.matches(&row).count(), 1, "{letter}{number}");
        }
    }
}

#[test]
fn every_test_that_the_threats_name_exists() {
    let threats = fs::read_to_string(root().join("docs/threats.md")).unwrap();
    let mut code = String::new();
    sources(&root().join("src"), &mut code);
    sources(&root().join("tests"), &mut code);
    let named: Vec<&str> = threats.split('`').filter(|word| word.contains("::") && !word.ends_with("::")).collect();
    assert!(named.len() > 50, "{}", named.len());
    for name in named {
        let function = name.rsplit("::").next().unwrap();
        assert!(code.contains(&format!("fn {function}(")), "{name}");
    }
}
