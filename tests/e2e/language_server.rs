//! A real language server, started as an editor does it: by its name, over standard input and output, from somewhere
//! below the top of a project.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::ChildStdout;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{Background, World, each_engine, processes_with, until};

each_engine!(pyright, a_server_that_ignores_the_end_of_its_input);

/// The tool's name, and its program's.
const SERVER: &str = "pyright-langserver";
/// How long an answer may take: the server reads its own library first.
const ANSWER: Duration = Duration::from_secs(60);
/// Longer than servers wait until they look for the editor's process: every three seconds.
const IDLE: Duration = Duration::from_secs(7);
/// How long everything may take to be gone.
const GONE: Duration = Duration::from_secs(2);

/// One test for all of it: the installation is the longest part.
fn pyright(world: &World) {
    world.tool(
        SERVER,
        &json!({
            "tool": "npm:pyright", "command": SERVER, "mounts": [{"src": "@project", "opts": "rw"}], "workdir": "."
        }),
    );
    let link = world.up(SERVER);
    let monorepo = world.project("monorepo");
    world.make_directory(&monorepo.join(".git")).unwrap();
    a_session(world, &link, &monorepo);
    let main = world.project("main");
    let git = main.join(".git/worktrees/feature");
    let worktree = world.project("feature");
    world.write(git.join("gitdir"), format!("{}\n", worktree.join(".git").display()));
    world.write(git.join("commondir"), "../..\n");
    world.write(worktree.join(".git"), format!("gitdir: {}\n", git.display()));
    a_session(world, &link, &worktree);
    coco_is_killed(world, &link, &monorepo);
    the_input_ends(world, &link, &monorepo);
    the_editor_is_killed(world, &link, &monorepo);
}

/// Diagnostics for the host's own path, a pause, more of them, and a polite end.
fn a_session(world: &World, link: &Path, project: &Path) {
    let package = project.join("packages/app");
    let file = package.join("main.py");
    world.write(&file, "count: int = \"three\"\n");
    let uri = format!("file://{}", file.display());
    let mut server = Server::start(world, link, &package, project);
    let document = json!({"uri": uri, "languageId": "python", "version": 1, "text": "count: int = \"three\"\n"});
    server.notify("textDocument/didOpen", &json!({"textDocument": document}));
    assert_eq!(server.diagnostics(&uri), ["reportAssignmentType"]);
    // Not a wait for anything: the silence itself is what is tried.
    thread::sleep(IDLE);
    let place = json!({"textDocument": {"uri": uri}, "position": {"line": 0, "character": 1}});
    let hover = server.ask("textDocument/hover", &place);
    assert!(hover.to_string().contains("count: int"), "{hover}");
    let change = json!({
        "textDocument": {"uri": uri, "version": 2}, "contentChanges": [{"text": "count: int = missing\n"}]
    });
    server.notify("textDocument/didChange", &change);
    assert_eq!(server.diagnostics(&uri), ["reportUndefinedVariable"]);
    assert_eq!(server.ask("shutdown", &Value::Null), Value::Null);
    server.notify("exit", &Value::Null);
    assert_eq!(server.coco.ends(Duration::from_secs(10)), 0);
    all_gone(world, "after a polite end");
}

fn coco_is_killed(world: &World, link: &Path, project: &Path) {
    let mut server = Server::start(world, link, project, project);
    assert_eq!(world.containers(SERVER).len(), 1, "the control: it is seen while it is there");
    server.coco.send(Signal::SIGKILL);
    server.coco.ends(GONE);
    all_gone(world, "coco was killed");
}

fn the_input_ends(world: &World, link: &Path, project: &Path) {
    let mut server = Server::start(world, link, project, project);
    drop(server.coco.0.stdin.take());
    all_gone(world, "the input has ended");
    // As the bare server: an end without "exit" is its failure.
    assert_eq!(server.coco.ends(GONE), 1);
}

/// The editor's process is another here, which alone holds the other ends of the pipes.
fn the_editor_is_killed(world: &World, link: &Path, project: &Path) {
    let editor = r#"
coproc exec "$0" --stdio
request=${1/PROCESS/$$}
printf 'Content-Length: %d\r\n\r\n%s' ${#request} "$request" >&"${COPROC[1]}"
while IFS= read -r line; do
    case $line in Content-Length:*) echo answered ;; esac
done <&"${COPROC[0]}"
"#;
    let request = initialize(&json!("PROCESS"), project).to_string().replace("\"PROCESS\"", "PROCESS");
    let mut shell = world.command("/bin/bash");
    shell.args(["-c", editor]).arg(link).arg(request).current_dir(project);
    let mut shell = Background::start(&mut shell);
    assert_eq!(shell.line(), "answered");
    assert_eq!(world.containers(SERVER).len(), 1, "the control: it is seen while it is there");
    kill(Pid::from_raw(shell.0.id().cast_signed()), Signal::SIGKILL).unwrap();
    shell.ends(GONE);
    all_gone(world, "the editor was killed");
}

/// Starts the tool twice, both times with pipes whose other ends this shell alone holds, and waits to be killed.
const EDITOR: &str = r#"
coproc exec "$0" -c "$1"
read -r line <&"${COPROC[0]}"
echo "$line"
read -r order
exec {COPROC[1]}>&-
read -r order
"#;

/// Such a server finds out by looking for the editor's process, which it can't from inside.
fn a_server_that_ignores_the_end_of_its_input(world: &World) {
    const STAYS: &str = "stays";
    world.tool(STAYS, &json!({"tool": "python@system", "command": "python3"}));
    let link = world.up(STAYS);
    let project = world.project("p");
    let program = "import signal, sys, time; signal.signal(signal.SIGHUP, signal.SIG_IGN); print('up', flush=True); time.sleep(600)";
    // The image may have to be built first.
    world.coco(["run", STAYS, "-c", ""]).succeeds();
    let start = || {
        let mut shell = world.command("/bin/bash");
        shell.args(["-c", EDITOR]).arg(&link).arg(program).current_dir(&project);
        let mut shell = Background::start(&mut shell);
        assert_eq!(shell.line(), "up");
        shell
    };
    let gone = |what: &str| {
        let started = Instant::now();
        until(what, Duration::from_secs(20), || world.containers(STAYS).is_empty().then_some(()));
        // Half a second until it is looked for, one until the tool has had its time.
        assert!(started.elapsed() < GONE + Duration::from_millis(2500), "{what}: gone after {:?}", started.elapsed());
    };
    // The control: the editor is there, and has nothing more to say.
    let mut silent = start();
    writeln!(silent.0.stdin.as_mut().unwrap(), "close").unwrap();
    thread::sleep(Duration::from_secs(4));
    assert_eq!(world.containers(STAYS).len(), 1, "it was ended with its editor there");
    silent.send(Signal::SIGKILL);
    gone("the silent editor was killed");
    let mut busy = start();
    busy.send(Signal::SIGKILL);
    gone("the editor was killed");
    busy.ends(GONE);
    silent.ends(GONE);
    // And where only the starter has gone, while the pipes are held, the tool goes on.
    let mut starter = world.command("/bin/sh");
    starter
        .args(["-c", r#"exec 3<&0; "$0" -c "$1" <&3 & exec sleep 600"#])
        .arg(&link)
        .arg(program)
        .current_dir(&project);
    let mut starter = Background::start(&mut starter);
    assert_eq!(starter.line(), "up");
    starter.send(Signal::SIGKILL);
    drop(starter.0.stdin.take());
    thread::sleep(Duration::from_secs(4));
    assert_eq!(world.containers(STAYS).len(), 1, "somebody still reads what it prints");
    drop(starter.0.stdout.take());
    gone("nobody holds its pipes");
}

/// Insists that no container and no client of the engine is left, within the limit.
#[track_caller]
fn all_gone(world: &World, what: &str) {
    // The engine's client has its label and the world's own paths: the other engines' tests run beside this one.
    let client = format!("--label=coco.tool={SERVER}");
    let clients = || {
        let own = processes_with(world.root.to_str().unwrap());
        processes_with(&client).iter().any(|process| own.contains(process))
    };
    let started = Instant::now();
    until(what, Duration::from_secs(20), || (world.containers(SERVER).is_empty() && !clients()).then_some(()));
    // Asking the engine takes time itself.
    assert!(started.elapsed() < GONE + Duration::from_secs(1), "{what}: gone after {:?}", started.elapsed());
}

fn initialize(process: &Value, root: &Path) -> Value {
    let uri = format!("file://{}", root.display());
    let parameters = json!({
        "processId": process, "rootUri": uri, "capabilities": {},
        "workspaceFolders": [{"uri": uri, "name": "project"}],
    });
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": parameters})
}

/// A client of the Language Server Protocol, as small as can be.
struct Server {
    coco: Background,
    messages: Receiver<Value>,
    requests: u32,
}

impl Server {
    /// Starts the server and has it initialized.
    fn start(world: &World, link: &Path, directory: &Path, root: &Path) -> Server {
        let mut coco = Background::start(world.command(link).arg("--stdio").current_dir(directory));
        let mut output = BufReader::new(coco.0.stdout.take().unwrap());
        let (sender, messages) = channel();
        thread::spawn(move || {
            while let Some(message) = receive(&mut output) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut server = Server { coco, messages, requests: 0 };
        server.send(&initialize(&json!(std::process::id()), root));
        let answer = server.wait_for(|message| message["id"] == 0);
        assert!(answer["result"]["capabilities"].is_object(), "{answer}");
        server.notify("initialized", &json!({}));
        server
    }

    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        write!(self.coco.0.stdin.as_mut().unwrap(), "Content-Length: {}\r\n\r\n{text}", text.len()).unwrap();
    }

    fn notify(&mut self, method: &str, parameters: &Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": parameters}));
    }

    fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        self.requests += 1;
        let id = self.requests;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": parameters}));
        let answer = self.wait_for(|message| message["id"] == id && message.get("method").is_none());
        assert!(answer.get("error").is_none(), "{answer}");
        answer["result"].clone()
    }

    /// The rules that a file breaks; its first diagnostics may be of nothing yet.
    fn diagnostics(&mut self, uri: &str) -> Vec<String> {
        let told = self.wait_for(|message| {
            message["method"] == "textDocument/publishDiagnostics"
                && message["params"]["uri"] == uri
                && message["params"]["diagnostics"].as_array().is_some_and(|list| !list.is_empty())
        });
        let list = told["params"]["diagnostics"].as_array().unwrap();
        list.iter().map(|diagnostic| diagnostic["code"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Reads on; what the server itself asks is answered with nothing.
    #[track_caller]
    fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + ANSWER;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self.messages.recv_timeout(left).unwrap_or_else(|error| panic!("no answer: {error}"));
            if wanted(&message) {
                return message;
            }
            if message.get("method").is_some() && message.get("id").is_some() {
                self.send(&json!({"jsonrpc": "2.0", "id": message["id"], "result": null}));
            }
        }
    }
}

/// The next message; `None` at the end of the stream.
fn receive(output: &mut BufReader<ChildStdout>) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some(("Content-Length", value)) => length = value.parse().unwrap(),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    output.read_exact(&mut body).ok()?;
    Some(serde_json::from_slice(&body).unwrap())
}
