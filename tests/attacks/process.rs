//! P1, P3, P8, P11, and init beside the tool: what a process inside can see and do.

use std::fs;
use std::os::unix::net::UnixListener;

use serde_json::json;

use crate::support::pty::{Ends, Pty};
use crate::support::{Background, World, each_engine, marker, run};

each_engine!(
    p1_terminal_injection,
    p3_host_processes,
    p3_the_memory_of_init,
    p8_capabilities,
    p11_open_files,
    the_control_socket,
    setuid_programs,
);

/// A command line for the terminal of who started the tool.
fn p1_terminal_injection(world: &World) {
    world.python("inject", &json!({}));
    // TIOCSTI puts a character into a terminal's input as if it had been typed [CVE-2017-5226]; TIOCLINUX 3 pastes.
    let code = "
import fcntl, os, sys
line = os.environ.get('LINE', sys.argv[-1]) + chr(10)
for device in (0, 1, 2, '/dev/tty', '/dev/console', '/dev/pts/0', '/dev/pts/1', '/dev/tty0', '/proc/1/fd/0'):
    try:
        number = device if isinstance(device, int) else os.open(device, os.O_RDWR)
    except OSError as error:
        print(device, error.strerror)
        continue
    for request, data in [(0x541C, [bytes([3])]), (0x5412, [bytes([byte]) for byte in line.encode()])]:
        try:
            for argument in data:
                fcntl.ioctl(number, request, argument)
            print(device, hex(request), 'went through')
        except OSError as error:
            print(device, hex(request), error.strerror)
print('tried', flush=True)
";
    let in_a_shell = |command: &str, victim: &std::path::Path| {
        let mut shell = world.command("/bin/bash");
        shell.args(["--norc", "--noprofile", "--noediting", "-i"]).env("PS1", "prompt> ").env("CODE", code);
        shell.env("COCO", &world.coco).env("LINE", format!("touch {}", victim.display()));
        let mut pty = Pty::start(world, &shell, Ends::All);
        pty.wait_for("prompt> ");
        pty.type_in(&format!("{command}\n"));
        pty.wait_for("tried");
        pty.wait_for("prompt> ");
        pty.type_in("echo the $((40+2))\n");
        pty.wait_for("the 42");
        pty.type_in("exit\n");
        pty.ends();
        victim.exists()
    };
    let victims = world.project("inject");
    let inside = in_a_shell(r#""$COCO" run inject -c "$CODE" "$LINE""#, &victims.join("inside"));
    assert!(!inside, "what the tool typed was executed outside");
    // The control: a bare process can, where the kernel lets it at all.
    let kernel_allows = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").is_ok_and(|state| state.trim() == "1");
    if kernel_allows || world.owner().0 == 0 {
        let perl = r#"perl -e 'for (split //, "$ENV{LINE}\n") { my $c = $_; ioctl(STDIN, 0x5412, $c) or die } print "tried\n"'"#;
        assert!(in_a_shell(perl, &victims.join("outside")), "the control: injection works without a sandbox");
    }
}

fn p3_host_processes(world: &World) {
    let mark = marker("host-process");
    let mut sleeper = crate::support::command("/bin/sh");
    sleeper.args(["-c", "echo up; read line", &mark]);
    let mut sleeper = Background::start(&mut sleeper);
    assert_eq!(sleeper.line(), "up");
    let code = format!(
        "
import os
lines = {{}}
for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        lines[int(pid)] = open('/proc/' + pid + '/cmdline', 'rb').read()
    except OSError:
        pass
print(any(b'{}' + b'{}' in line for line in lines.values()), len(lines), sorted(lines)[0])
",
        mark.split_at(10).0,
        mark.split_at(10).1,
    );
    world.python("processes", &json!({}));
    // PID 1 is init, and the other is the tool itself.
    assert_eq!(world.says("processes", &code), "False 2 1");
    let granted = world.engine([
        "run",
        "--rm",
        "--pull=never",
        "--pid=host",
        "--network=none",
        "--entrypoint=python3",
        "localhost/coco:python",
        "-c",
        &code,
    ]);
    assert!(granted.succeeds().text().starts_with("True "), "the control: {granted:?}");
}

fn p3_the_memory_of_init(world: &World) {
    world.python("memory", &json!({"env_passthrough": ["SECRET"]}));
    let code = "
import ctypes, os
def tries(what, how):
    try:
        how()
        return what + ': open'
    except OSError as error:
        return what + ': ' + type(error).__name__
def probe(pid):
    result = [tries(name, lambda: open(f'/proc/{pid}/{name}', 'rb').read(1)) for name in ('mem', 'environ', 'maps', 'auxv')]
    result.append(tries('fd', lambda: [os.close(os.open(f'/proc/{pid}/fd/{number}', os.O_RDONLY)) for number in (0, 2)]))
    result += [tries(name, lambda: os.readlink(f'/proc/{pid}/{name}')) for name in ('exe', 'cwd', 'root')]
    libc = ctypes.CDLL(None, use_errno=True)
    def call(name, *arguments):
        if getattr(libc, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), name)
    if pid == 1:
        result.append(tries('attach', lambda: call('ptrace', 16, pid, None, None)))
        result.append(tries('seize', lambda: call('ptrace', 0x4206, pid, None, None)))
        pidfd = ctypes.CDLL(None).syscall(434, pid, 0)
        result.append(tries('pidfd', lambda: call('syscall', 438, pidfd, 0, 0)))
    return result
for line in probe(1):
    print(line)
print('itself', all(line.endswith('open') for line in probe(os.getpid()) if not line.startswith('mem')))
";
    let shown = world.says("memory", code);
    let (init, itself) = shown.rsplit_once('\n').unwrap();
    for line in init.lines() {
        assert!(line.ends_with("PermissionError"), "{shown}");
    }
    assert_eq!(init.lines().count(), 11, "{shown}");
    // The control: of its own, a process may read all that.
    assert_eq!(itself, "itself True");
}

const STATUS: &str = "
for line in open('/proc/self/status'):
    name, value = line.split(':')
    if name in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'):
        print(name, int(value, 16))
    if name in ('NoNewPrivs', 'Seccomp'):
        print(name, int(value))
";

fn p8_capabilities(world: &World) {
    let closed = "CapInh 0\nCapPrm 0\nCapEff 0\nCapBnd 0\nCapAmb 0\nNoNewPrivs 1\nSeccomp 2";
    world.python("status", &json!({}));
    assert_eq!(world.says("status", STATUS), closed);
    // The same with every grant that needs no consent.
    world.python(
        "status-granted",
        &json!({"network": "default", "data": "rw", "mounts": [{"src": world.project("granted"), "opts": "rw"}]}),
    );
    assert_eq!(world.says("status-granted", STATUS), closed);
    // The control: with consent, there is one.
    world.python("status-consent", &json!({"podman_args": ["--cap-add=NET_RAW"]}));
    world.coco(["run", "status-consent", "-c", STATUS]).exits(125).complains("--cap-add=NET_RAW");
    world.coco(["allow", "status-consent"]).succeeds();
    assert!(world.says("status-consent", STATUS).contains(&format!("CapBnd {}", 1 << 13)));
}

fn p11_open_files(world: &World) {
    world.python("files", &json!({}));
    let secret = world.project("files").join("secret");
    world.write(&secret, "secret");
    let code = "
import os
print(sorted(int(name) for name in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + name)))
for number in range(3, 200):
    try:
        print(number, os.pread(number, 9, 0))
    except OSError:
        pass
";
    let line = r#"exec 5<"$SECRET" 6<"$SECRET" 9<"$SECRET"; exec "$@""#;
    let mut shell = world.command("/bin/bash");
    shell.env("SECRET", &secret).args(["-c", line, "bash"]).arg(&world.coco).args(["run", "files", "-c", code]);
    assert_eq!(run(&mut shell).succeeds().text(), "[0, 1, 2]");
    // The control: a bare program has them.
    let mut shell = world.command("/bin/bash");
    shell.env("SECRET", &secret).args(["-c", line, "bash", "/bin/sh", "-c", "cat <&5; cat <&6; cat <&9"]);
    assert_eq!(run(&mut shell).succeeds().text(), "secretsecretsecret");
}

/// The connection to coco decides about the sandbox's life: no tool may have it.
fn the_control_socket(world: &World) {
    let project = world.project("socket");
    let path = project.join("other.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (uid, gid) = world.owner();
    std::os::unix::fs::chown(&path, Some(uid), Some(gid)).unwrap();
    // A name of its own: what is agreed to here is no other test's.
    world.python("control-socket", &json!({"mounts": [{"src": path, "dst": "/other.sock"}]}));
    world.coco(["allow", "control-socket"]).succeeds();
    let code = "
import os, socket
def tries(path):
    try:
        socket.socket(socket.AF_UNIX).connect(path)
        return 'connected'
    except OSError as error:
        return type(error).__name__
print(tries('/other.sock'), tries('/run/coco/control.sock'))
print(sorted(os.listdir('/run/coco')), [name for name in os.environ if name.startswith('COCO')])
for name in ('coco-init', 'control.sock', 'new'):
    try:
        open('/run/coco/' + name, 'w')
        print('written')
    except OSError as error:
        print(type(error).__name__)
";
    let shown = world.coco_in(&project, ["run", "control-socket", "-c", code]).succeeds().text();
    drop(listener);
    let lines: Vec<&str> = shown.lines().collect();
    // The first is the control: a socket that was granted is reachable.
    assert!(matches!(lines[0], "connected ConnectionRefusedError" | "connected FileNotFoundError"), "{shown}");
    assert!(lines[1].ends_with(" []"), "{shown}");
    assert!(!lines[2..].contains(&"written"), "{shown}");
}

fn setuid_programs(world: &World) {
    let project = world.project("setuid");
    world.python("setuid", &json!({"mounts": [{"src": ".", "dst": "/workspace", "opts": "rw"}]}));
    // F17: what a tool plants is neither a setuid file nor a device.
    let code = "
import os, shutil, stat, subprocess
shutil.copy('/usr/bin/id', 'planted')
try:
    os.chmod('planted', 0o4755)
    print('setuid')
except OSError as error:
    print(type(error).__name__)
for kind in (stat.S_IFCHR, stat.S_IFBLK):
    try:
        os.mknod('device', kind | 0o666, os.makedev(1, 1))
        print('made')
    except OSError as error:
        print(type(error).__name__)
try:
    os.chown('planted', 4242, 4242)
    print('given away')
except OSError as error:
    print(type(error).__name__)
try:
    os.setuid(4242)
    print('another user')
except OSError as error:
    print(type(error).__name__)
";
    let shown = world.coco_in(&project, ["run", "setuid", "-c", code]).succeeds().text();
    assert_eq!(shown, ["PermissionError"; 5].join("\n"));
    let (owner, _, mode) = crate::support::owner_and_mode(&project.join("planted"));
    assert_eq!((owner, mode & 0o6000), (world.owner().0, 0));
}
