//! `coco log`: the journal of what was reached and denied.

use std::fs;

use crate::world::World;

const LINES: &str = concat!(
    r#"{"time":"2026-01-01T00:00:01Z","tool":"probe","phase":"run","host":"b.example","port":null,"verdict":"denied","reason":"not granted"}"#,
    "\n",
    r#"{"time":"2026-01-01T00:00:00Z","tool":"probe","phase":"run","host":"a.example","port":443,"verdict":"allowed","sent":5,"received":7,"milliseconds":9}"#,
    "\n",
    "no JSON\n",
    r#"{"time":"2026-01-01T00:00:02Z","tool":"other","phase":"install","host":"c.example\u001b[2J","port":80,"verdict":"denied","reason":"x"}"#,
    "\n",
);

fn with_journal() -> World {
    let world = World::with_probe();
    fs::create_dir_all(world.path("state/coco/log")).unwrap();
    fs::write(world.path("state/coco/log/network.jsonl"), LINES).unwrap();
    world
}

#[test]
fn without_a_journal_there_is_nothing_to_print() {
    assert_eq!(World::with_probe().coco(["log"]).exits(0).text(), "");
}

#[test]
fn lines_are_chosen_by_tool_and_verdict() {
    let world = with_journal();
    let hosts = |arguments: &[&str]| -> Vec<String> {
        let ended = world.coco(arguments).exits(0);
        ended.text().lines().map(|line| line.split_whitespace().nth(4).unwrap().to_owned()).collect()
    };
    assert_eq!(hosts(&["log"]), ["a.example:443", "b.example", "c.example\\u{1b}[2J:80"]);
    assert_eq!(hosts(&["log", "probe"]), ["a.example:443", "b.example"]);
    assert_eq!(hosts(&["log", "--denied", "probe"]), ["b.example"]);
    assert_eq!(hosts(&["log", "nobody"]), Vec::<String>::new());
    assert_eq!(world.coco(["log", "nobody"]).stderr, "coco: the log has nothing about nobody\n");
    let row = world.coco(["log", "probe"]).exits(0).text().lines().next().unwrap().to_owned();
    assert!(
        row.starts_with("2026-01-01T00:00:00Z  probe  run  allowed") && row.ends_with("5 sent, 7 received"),
        "{row}"
    );
    world.coco(["log", "../x"]).fails(125, "not a valid tool name");
}

#[test]
fn json_is_the_lines_themselves() {
    let world = with_journal();
    let ended = world.coco(["log", "--json", "--denied"]).exits(0);
    let denied = LINES.lines().filter(|line| line.contains("denied"));
    assert_eq!(ended.text(), denied.map(|line| format!("{line}\n")).collect::<String>());
}

/// The file that was put aside comes first.
#[test]
fn the_older_file_is_read_too() {
    let world = with_journal();
    fs::write(
        world.path("state/coco/log/network.old.jsonl"),
        "{\"tool\":\"probe\",\"host\":\"old.example\",\"verdict\":\"denied\",\"reason\":\"x\"}\n",
    )
    .unwrap();
    assert!(world.coco(["log"]).exits(0).text().lines().next().unwrap().contains("old.example"));
}
