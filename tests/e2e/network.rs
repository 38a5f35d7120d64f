//! Ports that a tool listens on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Background, World, each_engine, free_port, until};

each_engine!(a_published_port_answers_on_loopback);

fn a_published_port_answers_on_loopback(world: &World) {
    let project = world.project("ports");
    world.write(project.join("index.html"), "served");
    let port = free_port();
    world.python(
        "server",
        &json!({"network": "default", "ports": [format!("{port}:8000")], "mounts": [{"src": ".", "dst": "/workspace"}]}),
    );
    let mut tool = Background::start(
        world.command(&world.coco).args(["run", "server", "-m", "http.server", "8000"]).current_dir(&project),
    );
    let answer = until("an answer", Duration::from_secs(20), || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer).filter(|answer| !answer.is_empty())
    });
    assert!(answer.ends_with("served"), "{answer}");
    tool.send(Signal::SIGINT);
    tool.ends(Duration::from_secs(10));
}
