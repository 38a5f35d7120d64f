//! The structure of `src/`: no circle of rooms, nothing impure where a module says that it is pure, no file and no
//! function that grew past its bound without a reason, and one library for each kind of system call. Tests may be longer:
//! a file of them is a list of cases.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The longest file and the longest function, in lines.
const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 60;

/// Files past [`MAX_FILE_LINES`], with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions past [`MAX_FUNCTION_LINES`], `file:function`, with the reason.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

/// A source file: its path below `src/`, and its text without the tests in it.
struct Source {
    path: String,
    text: String,
}

fn sources() -> Vec<Source> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    let code = found.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    code.map(|path| {
        (path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
    })
    .filter(|(path, _)| !path.split('/').any(|part| part == "tests" || part == "tests.rs"))
    .map(|(path, text)| Source { path, text: text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned() })
    .collect()
}

/// The room that a file is in: its first directory, or the file itself.
fn room(path: &str) -> &str {
    path.split('/').next().unwrap().trim_end_matches(".rs")
}

/// What a file takes from the crate's other rooms: the first name of each `crate::` path, also in `crate::{a, b::C}`.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    for after in code.split("crate::").skip(1) {
        let group = after.strip_prefix('{').map(|group| group.split_once(';').unwrap().0);
        match group {
            None => found.extend(first_word(after)),
            Some(group) => {
                let mut depth = 0;
                let mut words = vec![String::new()];
                for letter in group.chars() {
                    match letter {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => words.push(String::new()),
                        letter => words.last_mut().unwrap().push(letter),
                    }
                }
                found.extend(words.iter().filter_map(|word| first_word(word.trim_start())));
            }
        }
    }
    found
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '_').collect();
    (!word.is_empty()).then_some(word)
}

/// A circle in a graph, if there is one: its nodes in order, the first one again at the end.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        node: &str,
        graph: &BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = way.iter().position(|known| known == node) {
            return Some(way[start..].iter().cloned().chain([node.to_owned()]).collect());
        }
        if !done.insert(node.to_owned()) {
            return None;
        }
        way.push(node.to_owned());
        let found = graph.get(node).into_iter().flatten().find_map(|next| visit(next, graph, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|node| visit(node, graph, &mut Vec::new(), &mut done))
}

#[test]
fn a_circle_is_found() {
    let graph = |arrows: &[(&str, &str)]| {
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in arrows {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    };
    assert_eq!(circle(&graph(&[("a", "b"), ("a", "c"), ("b", "c"), ("c", "d")])), None);
    assert_eq!(circle(&graph(&[("a", "b"), ("b", "c"), ("c", "b")])).unwrap(), ["b", "c", "b"]);
    let text = "use crate::a::B;\nuse crate::{c, d::{E, f}, g::{self}};\n// crate::comment\nlet x = crate::h::i();\n";
    assert_eq!(imports(text).into_iter().collect::<Vec<_>>(), ["a", "c", "d", "g", "h"]);
}

#[test]
fn no_rooms_import_each_other_in_a_circle() {
    let sources = sources();
    let rooms: BTreeSet<String> = sources.iter().map(|source| room(&source.path).to_owned()).collect();
    assert!(rooms.len() > 20, "{rooms:?}");
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in &sources {
        let own = room(&source.path);
        let others = imports(&source.text).into_iter().filter(|other| rooms.contains(other) && other != own);
        graph.entry(own.to_owned()).or_default().extend(others);
    }
    assert!(graph["run"].contains("policy") && graph["policy"].contains("rules"), "{graph:?}");
    assert_eq!(circle(&graph), None);
}

/// What a pure module may not ask: the file system, the environment, processes, the clock.
const IMPURE: &[&str] = &[
    "fs::",
    "std::fs",
    "env::",
    "std::process",
    "process::Command",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "files::",
    "exec::",
    "std::time::Instant",
    "Instant::now",
    "SystemTime",
    "File::",
    "Command::new",
    ".exists()",
    ".is_file()",
    ".is_dir()",
    ".metadata()",
    ".symlink_metadata()",
    ".canonicalize()",
    ".read_dir()",
    ".read_link()",
    "nix::",
    "rustix::",
];

/// Whether code has this word, and not as the end of a longer one.
fn has_word(code: &str, word: &str) -> bool {
    let whole = |(at, _): (usize, &str)| {
        let longer = code.split_at(at).0.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
        word.starts_with('.') || !longer
    };
    code.match_indices(word).any(whole)
}

#[test]
fn modules_that_say_so_are_pure() {
    let is_pure = |source: &&Source| {
        let header: String = source.text.lines().take_while(|line| line.starts_with("//!")).collect();
        header.contains("Pure.") || header.contains("Pure:") || header.contains("Pure;")
    };
    let sources = sources();
    let pure: Vec<&Source> = sources.iter().filter(is_pure).collect();
    let rooms: BTreeSet<&str> = pure.iter().map(|source| room(&source.path)).collect();
    for wanted in ["names", "policy", "plan", "explain", "rules"] {
        assert!(rooms.contains(wanted), "no module of {wanted} says that it is pure");
    }
    for source in pure {
        let code = source.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n");
        for word in IMPURE {
            assert!(!has_word(&code, word), "src/{} says that it is pure, and has {word}", source.path);
        }
    }
}

#[test]
fn long_files_have_a_reason() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|source| source.text.lines().count() > MAX_FILE_LINES)
        .map(|source| source.path)
        .collect();
    assert_eq!(long, LONG_FILES.iter().map(|(path, _)| *path).collect::<Vec<_>>(), "split it, or give the reason here");
}

/// The functions of a file and their lines, as rustfmt lays them out: the closing brace stands under the line that
/// begins the function.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let mut code = line.trim_start();
        let indent = line.len() - code.len();
        for word in ["pub(crate) ", "pub(super) ", "pub ", "const "] {
            code = code.strip_prefix(word).unwrap_or(code);
        }
        let Some(name) = code.strip_prefix("fn ") else { continue };
        let name: String = name.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
        let end = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[number..].iter().position(|line| *line == end) {
            found.push((name, length + 1));
        }
    }
    found
}

#[test]
fn long_functions_have_a_reason() {
    let example = "impl X {\n    pub fn short(&self) {\n        a();\n    }\n}\n\nfn one() -> u8 {\n    1\n}\n";
    assert_eq!(functions(example), [("short".to_owned(), 3), ("one".to_owned(), 3)]);
    let mut count = 0;
    let mut long = Vec::new();
    for source in sources() {
        for (name, lines) in functions(&source.text) {
            count += 1;
            if lines > MAX_FUNCTION_LINES {
                long.push(format!("{}:{name}", source.path));
            }
        }
    }
    assert!(count > 700, "{count} functions found");
    let reasoned: Vec<&str> = LONG_FUNCTIONS.iter().map(|(function, _)| *function).collect();
    assert_eq!(long, reasoned, "split it, or give the reason here");
}

/// What is taken from nix: signals, and what rustix has not. The rest is rustix's, which hands out owned descriptors.
const NIX: &[(&str, &str)] = &[
    ("nix::sys::signal", "signal masks without unsafe code, and signalfd"),
    ("nix::ifaddrs", "rustix has no getifaddrs"),
    ("nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid}", "of the whole process, not of one thread"),
    ("nix::unistd::Pid", "whom a signal is sent to"),
    ("nix::unistd::close", "descriptors that the caller left open belong to nobody here"),
    ("nix::libc", "the numbers of system calls and their arguments, for the seccomp filter"),
    ("nix::Result", "what these functions give"),
];

#[test]
fn nix_is_for_signals_and_what_rustix_has_not() {
    let mut used = BTreeSet::new();
    for Source { path, text } in sources() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            // A longer name can end so: `std::os::unix::`.
            for (before, _) in line.match_indices("nix::").map(|(at, _)| line.split_at(at)) {
                if before.ends_with(|letter: char| letter.is_alphanumeric()) {
                    continue;
                }
                let path_used = line.strip_prefix(before).unwrap();
                let known = NIX.iter().find(|(start, _)| path_used.starts_with(start));
                assert!(known.is_some(), "src/{path}: {}", line.trim());
                used.extend(known.map(|(start, _)| *start));
            }
        }
    }
    assert_eq!(used, NIX.iter().map(|(start, _)| *start).collect(), "what is not used any more goes from the list");
}
