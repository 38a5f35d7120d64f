//! Checks the store with the program's own parsers and verifier, and writes it, compressed, to where `rust-embed` finds
//! it. A file that does not parse, verify or agree with the index fails the build.

#![expect(clippy::panic, reason = "a build script fails the build by panicking with the reason")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

#[path = "src/config/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "the build uses only the parser")]
mod config;
#[path = "src/store/index.rs"]
#[allow(dead_code, reason = "the build uses only the parser")]
mod index;
#[path = "src/json.rs"]
#[allow(dead_code, reason = "the build uses only the parser")]
mod json;
#[path = "src/names/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the build uses only the parser")]
mod names;
#[path = "src/rules/mod.rs"]
#[allow(dead_code, reason = "the build uses only the parser")]
mod rules;
#[path = "src/store/signature.rs"]
#[allow(dead_code, reason = "the build uses only the verifier")]
mod signature;

use index::Index;
use names::ToolName;
use signature::{Subject, Verified};

fn main() {
    println!("cargo::rerun-if-changed=store");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=COCO_DEFAULT_STORE_BASE");
    let store = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("store");
    let target = PathBuf::from(variable("OUT_DIR")).join("store");
    let key = signature::public_key(&String::from_utf8(read(&store.join("coco.pub"))).unwrap_or_default())
        .unwrap_or_else(|reason| fail(&store.join("coco.pub"), &reason));
    let verified = |name: &str, subject: &Subject| -> Verified {
        let path = store.join(name);
        let signature = read(&store.join(format!("{name}.minisig")));
        signature::verify(read(&path), &signature, std::slice::from_ref(&key), subject).unwrap_or_else(|reason| {
            fail(&path, &format!("invalid signature: {reason}; sign it with make sign KEY=..."))
        })
    };

    if target.exists() {
        fs::remove_dir_all(&target).unwrap_or_else(|error| fail(&target, &error.to_string()));
    }
    fs::create_dir_all(&target).unwrap_or_else(|error| fail(&target, &error.to_string()));
    let index_path = store.join("index.json");
    let index = Index::parse(&verified("index.json", &Subject::Index))
        .unwrap_or_else(|error| fail(&index_path, &format!("{}: {}", error.pointer, error.message)));
    let _: Verified = verified("Containerfile", &Subject::Containerfile);
    let mut names = vec!["index.json".to_owned(), "Containerfile".to_owned()];
    for tool in tools(&store) {
        let name = format!("{tool}.json");
        let path = store.join(&name);
        let bytes = verified(&name, &Subject::Config(tool.clone()));
        let file = config::parse(bytes.bytes())
            .unwrap_or_else(|error| fail(&path, &format!("{}: {} ({})", error.pointer, error.message, error.hint)));
        if let Some(error) = config::unfit_for_store(&file) {
            fail(&path, &format!("{}: {}", error.pointer, error.message));
        }
        let Some(entry) = index.entry(&tool) else { fail(&path, "the index does not list it; run make sign KEY=...") };
        let agrees = entry.revision == bytes.revision()
            && entry.tool == file.tool
            && Some(&entry.description) == file.description.as_ref();
        if !agrees {
            fail(&path, "the index differs from it; run make sign KEY=...");
        }
        names.push(name);
    }
    if names.len() != index.tools.len() + 2 {
        fail(&index_path, "it lists a tool that the store does not have");
    }
    for name in names {
        compress(&store.join(&name), &target.join(&name));
        compress(&store.join(format!("{name}.minisig")), &target.join(format!("{name}.minisig")));
    }
}

/// The tools of the store, by their files. Any other file there is a mistake.
fn tools(store: &Path) -> Vec<ToolName> {
    let mut tools = Vec::new();
    for entry in fs::read_dir(store).unwrap_or_else(|error| fail(store, &error.to_string())) {
        let path = entry.unwrap_or_else(|error| fail(store, &error.to_string())).path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            fail(&path, "not a valid file name in a store")
        };
        match name {
            "index.json" | "index.json.minisig" | "coco.pub" | "Containerfile" | "Containerfile.minisig" => continue,
            _ => {}
        }
        if let Some(tool) = name.strip_suffix(".json") {
            tools.push(ToolName::new(tool).unwrap_or_else(|reason| fail(&path, &reason)));
        } else if !name.strip_suffix(".minisig").is_some_and(|signed| store.join(signed).exists()) {
            fail(&path, "not a coco file and not the signature of one");
        }
    }
    tools.sort();
    tools
}

fn compress(from: &Path, to: &Path) {
    let file = fs::File::create(to).unwrap_or_else(|error| fail(to, &error.to_string()));
    let mut encoder = flate2::write::DeflateEncoder::new(file, flate2::Compression::best());
    let done = encoder.write_all(&read(from)).and_then(|()| encoder.finish().map(drop));
    done.unwrap_or_else(|error| fail(to, &error.to_string()));
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| fail(path, &error.to_string()))
}

fn variable(name: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "cargo passes values to build scripts in the environment")]
    std::env::var(name).unwrap_or_else(|_| panic!("cargo did not set {name}"))
}

fn fail(path: &Path, reason: &str) -> ! {
    panic!("{}: {reason}", path.display())
}
