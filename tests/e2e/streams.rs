//! Pipes and files: every byte as it is, in both directions.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::support::{World, each_engine, run, run_with, until};

each_engine!(
    every_byte_goes_through,
    a_big_pipe_goes_through,
    closed_and_empty_input,
    output_and_errors_stay_apart,
    a_reader_that_leaves,
);

fn every_byte_goes_through(world: &World) {
    world.python("bytes", &json!({}));
    let input: Vec<u8> = (0..1_048_576_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())";
    let echoed = run_with(world.command(&world.coco).args(["run", "bytes", "-c", code]), &input);
    assert!(echoed.succeeds().stdout == input, "{} bytes came back, and not the same", echoed.stdout.len());
    // Line ends stay as they are, and nothing is added.
    let lines = world.coco(["run", "bytes", "-c", r"import sys; sys.stdout.write('a\nb\r\nc')"]);
    assert_eq!(lines.succeeds().stdout, b"a\nb\r\nc");
}

fn a_big_pipe_goes_through(world: &World) {
    world.python("pipe", &json!({"command": "cat"}));
    let block: Vec<u8> = (0..65_521_u32).flat_map(|number| (number ^ 0x5a5a_5a5a).to_le_bytes()).collect();
    let input: Vec<u8> = block.iter().copied().cycle().take(64 << 20).collect();
    let echoed = run_with(world.command(&world.coco).args(["run", "pipe"]), &input);
    assert!(echoed.succeeds().stdout == input, "{} bytes came back, and not the same", echoed.stdout.len());
}

fn closed_and_empty_input(world: &World) {
    world.python("closed", &json!({}));
    let code = "import os\ntry:\n    print(os.read(0, 9))\nexcept OSError as error:\n    print(error.errno)";
    let empty = run(world.command(&world.coco).args(["run", "closed", "-c", code]).stdin(Stdio::null()));
    assert_eq!(empty.succeeds().text(), "b''");
    let mut shell = world.command("/bin/sh");
    shell.args(["-c", r#"exec "$@" <&-"#, "sh"]).arg(&world.coco).args(["run", "closed", "-c", code]);
    let closed = run(&mut shell);
    assert_eq!(closed.succeeds().text(), "b''");
}

fn output_and_errors_stay_apart(world: &World) {
    world.python("apart", &json!({}));
    let both = world.coco(["run", "apart", "-c", "import sys; print('out'); print('err', file=sys.stderr)"]);
    both.succeeds();
    assert_eq!((both.stdout.as_slice(), both.stderr.as_slice()), (b"out\n".as_slice(), b"err\n".as_slice()));
}

/// `tool | head` ends when head does, and leaves nothing behind.
fn a_reader_that_leaves(world: &World) {
    world.python("yes", &json!({"command": "yes"}));
    let mut shell = world.command("/bin/bash");
    shell.args(["-c", r#"set -o pipefail; timeout 20 "$@" | head -n 1"#, "bash"]).arg(&world.coco).args(["run", "yes"]);
    let ended = run(&mut shell);
    assert_eq!(ended.text(), "y", "{ended:?}");
    // As the bare tool: by SIGPIPE.
    ended.exits(141);
    until("the container's end", Duration::from_secs(2), || world.containers("yes").is_empty().then_some(()));
}
