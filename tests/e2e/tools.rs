//! The main job: real tools from real registries, fetched, linked, and run by their own names on a good and a failing
//! input.

use std::path::{Path, PathBuf};

use crate::support::{Run, World, each_engine, run, run_with};

each_engine!(ruff, black, eslint, prettier, tsc, hexyl, interpreters);

/// Gets a tool from the bundled store and links it; gives the link.
fn linked(world: &World, tool: &str) -> PathBuf {
    world.coco(["get", tool]).succeeds();
    let verified = world.coco(["verify", tool]);
    assert!(verified.succeeds().text().contains("store"), "{verified:?}");
    world.up(tool)
}

/// Calls a tool by its own name, in a project.
fn call(world: &World, link: &Path, project: &Path, arguments: &[&str]) -> Run {
    run(world.command(link).args(arguments).current_dir(project))
}

fn ruff(world: &World) {
    let project = world.project("ruff");
    world.write(project.join("good.py"), "print(1)\n");
    world.write(project.join("bad.py"), "import os\n");
    let link = linked(world, "ruff");
    call(world, &link, &project, &["check", "good.py"]).succeeds();
    let found = call(world, &link, &project, &["check", "bad.py"]);
    assert!(found.exits(1).text().contains("F401"), "{found:?}");
    // The tool's own failure does not undo its installation.
    assert!(!call(world, &link, &project, &["check", "good.py"]).succeeds().errors().contains("installing"));
    call(world, &link, &project, &["check", "--fix", "bad.py"]).succeeds();
    assert_eq!(std::fs::read_to_string(project.join("bad.py")).unwrap(), "");
}

fn black(world: &World) {
    let project = world.project("black");
    world.write(project.join("good.py"), "x = {\"a\": 1}\n");
    world.write(project.join("bad.py"), "x = {  'a':1 }\n");
    let link = linked(world, "black");
    call(world, &link, &project, &["--check", "good.py"]).succeeds();
    call(world, &link, &project, &["--check", "bad.py"]).exits(1).complains("would reformat");
    call(world, &link, &project, &["bad.py"]).succeeds();
    assert_eq!(std::fs::read_to_string(project.join("bad.py")).unwrap(), "x = {\"a\": 1}\n");
}

fn eslint(world: &World) {
    let project = world.project("eslint");
    world.write(project.join("package.json"), r#"{"type": "module"}"#);
    world.write(project.join("eslint.config.js"), r#"export default [{ rules: { "no-unused-vars": "error" } }];"#);
    world.write(project.join("src/good.js"), "export const a = 1;\n");
    world.write(project.join("src/bad.js"), "const unused = 1;\n");
    let link = linked(world, "eslint");
    // The very first run finds something: it exits 1, and the tool stays installed.
    let first = call(world, &link, &project, &["src"]);
    assert!(first.exits(1).text().contains("no-unused-vars"), "{first:?}");
    first.complains("installed eslint");
    assert!(world.record("eslint").exists());
    let second = call(world, &link, &project, &["src/good.js"]);
    assert!(!second.succeeds().errors().contains("install"), "{second:?}");
}

fn prettier(world: &World) {
    let project = world.project("prettier");
    world.write(project.join("good.js"), "const a = 1;\n");
    world.write(project.join("bad.js"), "const   a=1\n");
    let link = linked(world, "prettier");
    call(world, &link, &project, &["--check", "good.js"]).succeeds();
    call(world, &link, &project, &["--check", "bad.js"]).exits(1);
    let piped =
        run_with(world.command(&link).args(["--stdin-filepath", "x.js"]).current_dir(&project), b"const   a=1\n");
    assert_eq!(piped.succeeds().stdout, b"const a = 1;\n");
}

fn tsc(world: &World) {
    let project = world.project("tsc");
    let link = linked(world, "tsc");
    world.write(
        project.join("good/tsconfig.json"),
        r#"{"compilerOptions": {"noEmit": true, "strict": true}, "files": ["a.ts"]}"#,
    );
    world.write(project.join("good/a.ts"), "export const a: number = 1;\n");
    world.write(
        project.join("bad/tsconfig.json"),
        r#"{"compilerOptions": {"noEmit": true, "strict": true}, "files": ["a.ts"]}"#,
    );
    world.write(project.join("bad/a.ts"), "export const a: number = 'x';\n");
    call(world, &link, &project.join("good"), &[]).succeeds();
    let found = call(world, &link, &project.join("bad"), &[]);
    // 2 until TypeScript 6, 1 since.
    assert!(matches!(found.code(), 1 | 2) && found.text().contains("TS2322"), "{found:?}");
}

fn hexyl(world: &World) {
    let project = world.project("hexyl");
    world.write(project.join("data"), b"\x00\x01\xffcoco");
    let link = linked(world, "hexyl");
    let shown = call(world, &link, &project, &["--plain", "data"]).succeeds().text();
    assert!(shown.contains("00 01 ff 63 6f 63 6f"), "{shown}");
    call(world, &link, &project, &["missing"]).exits(1).complains("No such file");
}

fn interpreters(world: &World) {
    let project = world.project("interpreters");
    let python = linked(world, "python3");
    assert_eq!(call(world, &python, &project, &["-c", "print(6*7)"]).succeeds().text(), "42");
    call(world, &python, &project, &["-c", "raise ValueError('no')"]).exits(1).complains("ValueError: no");
    let node = linked(world, "node");
    assert_eq!(call(world, &node, &project, &["-e", "console.log(6*7)"]).succeeds().text(), "42");
    call(world, &node, &project, &["-e", "throw new Error('no')"]).exits(1).complains("Error: no");
    // Nothing was installed for what the image has.
    assert!(!world.record("python3").exists() && !world.record("node").exists());
}
