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

/// Nor is there a row that is in no list of attacks.
#[test]
fn every_row_is_an_attack() {
    let threats = fs::read_to_string(root().join("docs/threats.md")).unwrap();
    let listed: Vec<String> = IDS
        .iter()
        .flat_map(|(letter, numbers)| numbers.iter().map(move |number| format!("{letter}{number}")))
        .collect();
    let ids = threats.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |")).map(|(id, _)| id);
    let is_id = |id: &&str| {
        id.strip_prefix(|first: char| first.is_ascii_uppercase()).is_some_and(|number| number.parse::<u8>().is_ok())
    };
    let unlisted: Vec<&str> = ids.filter(is_id).filter(|id| !listed.contains(&(*id).to_owned())).collect();
    assert_eq!(unlisted, [""; 0]);
}

#[test]
fn every_fuzz_target_is_in_the_makefile() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let line = makefile.lines().find_map(|line| line.strip_prefix("FUZZ_TARGETS ?= ")).unwrap();
    let mut listed: Vec<&str> = line.split(' ').collect();
    let files = fs::read_dir(root().join("fuzz/fuzz_targets")).unwrap();
    let mut targets: Vec<String> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    listed.sort_unstable();
    targets.sort();
    assert_eq!(listed, targets);
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
