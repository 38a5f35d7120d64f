//! `docs/threats.md` against the tests and the list of attacks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const IDS: &[(&str, &[u8])] = &[
    ("N", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25]),
    ("F", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]),
    ("P", &[1, 3, 4, 5, 6, 7, 8, 10, 11, 13]),
    ("C", &[1, 2, 3, 4]),
    ("S", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
    ("I", &[1, 2, 4]),
    ("K", &[1, 2, 3, 4, 5]),
    ("D", &[1, 2]),
    ("G", &[3, 8]),
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

/// The first cell of each row of each table: the words in backticks.
fn first_cells(text: &str) -> Vec<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")).filter_map(|row| row.split(" | ").next());
    rows.flat_map(in_backticks).collect()
}

/// What stands in backticks.
fn in_backticks(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The words that begin with `COCO_` and go on in capitals.
fn variables(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !(letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'));
    words.filter(|word| word.len() > 5 && word.starts_with("COCO_")).map(str::to_owned).collect()
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

#[test]
fn every_key_of_a_coco_file_is_documented() {
    let [readme, reference] = ["README.md", "docs/config.md"].map(document);
    let shown = first_cells(&readme);
    let headings: Vec<String> =
        reference.lines().filter(|line| line.starts_with("## ")).flat_map(in_backticks).collect();
    for key in coco::config::KEYS {
        assert!(shown.iter().any(|word| word == key), "README's table has no {key}");
        // What is for people and editors needs no section.
        let plain = ["description", "homepage", "$schema"].contains(key);
        assert!(plain || headings.iter().any(|word| word == key), "docs/config.md has no section about {key}");
    }
    for key in headings {
        assert!(
            coco::config::KEYS.contains(&key.as_str()),
            "docs/config.md has a section about {key}, which is not a key"
        );
    }
}

#[test]
fn every_command_is_documented() {
    let shown = first_cells(&document("README.md"));
    // `get NAME...` and `key list\|add\|remove`: the command is the first word.
    let commands: BTreeSet<&str> =
        shown.iter().filter_map(|cell| cell.strip_prefix("coco ")?.split_whitespace().next()).collect();
    for row in coco::cli::table::COMMANDS.iter().filter(|row| row.name != "help") {
        assert!(commands.contains(row.name), "README's table has no coco {}", row.name);
    }
    for command in commands {
        assert!(coco::cli::table::COMMANDS.iter().any(|row| row.name == command), "README: coco {command}");
    }
}

#[test]
fn every_variable_is_documented() {
    // The engine's clients get it, so that they can't start coco again; nobody is to set it.
    const INTERNAL: &[&str] = &["COCO_RECURSION_GUARD"];
    // Read when coco is built.
    const OF_THE_BUILD: &str = "COCO_DEFAULT_STORE_BASE";
    assert!(variables(&document("docs/config.md")).contains(OF_THE_BUILD));
    // Of the tests and the set-up of the machine: CONTRIBUTING.md and the scripts say what they do.
    let of_tests = |name: &String| {
        ["COCO_TEST_", "COCO_MACHINE_", "COCO_CLEAN_ROOM_", "COCO_DEMO_"].iter().any(|start| name.starts_with(start))
    };
    let mut code = String::new();
    sources(&root().join("src"), &mut code);
    // A variable is read by its name, so it stands there as a whole text.
    let read: BTreeSet<String> = code
        .split('"')
        .filter(|text| text.starts_with("COCO_"))
        .flat_map(|text| variables(text).into_iter().filter(move |name| name == text))
        .filter(|name| {
            !INTERNAL.contains(&name.as_str()) && !["COCO_BLESS", "COCO_X", OF_THE_BUILD].contains(&name.as_str())
        })
        .collect();
    assert!(read.len() >= 10, "{read:?}");
    let readme = document("README.md");
    let told = variables(readme.split("## Variables").nth(1).expect("README has a section about variables"));
    assert_eq!(told.iter().filter(|name| !of_tests(name)).cloned().collect::<BTreeSet<_>>(), read);
}

#[test]
fn every_file_that_the_documents_name_exists() {
    let mut named = 0;
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "docs/config.md",
        "docs/from-the-bash-coco.md",
        "docs/mutants.md",
        "docs/threats.md",
        "fuzz/README.md",
    ] {
        for word in in_backticks(&document(name)) {
            let is_path = [".rs", ".sh", ".md"].iter().any(|end| word.ends_with(end));
            if !is_path || word.contains([' ', '*']) || word.contains("NAME") {
                continue;
            }
            named += 1;
            let there = [word.clone(), format!("src/{word}"), format!("docs/{word}")];
            assert!(there.iter().any(|path| root().join(path).exists()), "{name} names {word}");
        }
    }
    assert!(named > 30, "{named}");
}

/// `file.rs` `function`, as docs/mutants.md writes them.
#[test]
fn every_function_that_the_mutants_name_exists() {
    let mut named = 0;
    for row in document("docs/mutants.md").lines().filter(|line| line.starts_with("| `")) {
        let words = in_backticks(row.split('|').nth(1).unwrap());
        let [file, function] = &words[..] else { continue };
        let name = function.rsplit("::").next().unwrap();
        if Path::new(file).extension().is_none_or(|end| end != "rs")
            || !name.starts_with(|letter: char| letter.is_ascii_lowercase())
        {
            continue;
        }
        named += 1;
        let source = document(&format!("src/{file}"));
        assert!(source.contains(&format!("fn {name}(")), "docs/mutants.md names {file} {name}");
    }
    assert!(named > 8, "{named}");
}
