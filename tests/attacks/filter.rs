//! F17, P1 and what else coco's own seccomp filter holds: system calls as they are, past every library's help.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::engine::by_wrapper;
use crate::support::probe::Answers;
use crate::support::{Background, World, command, does_not_apply, each_engine, run};

each_engine!(
    f17_setuid_files,
    calls_that_no_filter_sees_through,
    p1_terminal_requests,
    other_sets_of_system_calls,
    the_callers_processes,
    a_filter_that_can_not_be_applied,
);

/// What the probes here share: one line for each try, with the error's name.
pub const TRIES: &str = "
import ctypes, errno, fcntl, mmap, os, platform, stat, sys
LIBC = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == 'x86_64'
HERE = -100
def call(number, *arguments):
    result = LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(word) if type(word) is int else word for word in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), 'call')
    return result
def tries(what, how, *arguments, **options):
    try:
        how(*arguments, **options)
        ending = 'done'
    except OSError as error:
        ending = errno.errorcode[error.errno]
    print(f'{what}: {ending}', flush=True)
def new(name):
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644))
    return name
";

/// Runs a probe as a tool in a new project, and in a bare container of the engine: the control.
pub fn inside_and_bare(world: &World, tool: &str, probe: &str) -> ((Answers, PathBuf), (Answers, PathBuf)) {
    inside_and_bare_with(world, tool, probe, &[])
}

/// The same, with more options for the bare container.
pub fn inside_and_bare_with(
    world: &World,
    tool: &str,
    probe: &str,
    options: &[&str],
) -> ((Answers, PathBuf), (Answers, PathBuf)) {
    let code = format!("{TRIES}{probe}");
    let (project, control) = (world.project(tool), world.project("control"));
    world.python(tool, &json!({"mounts": [{"src": ".", "dst": "/workspace", "opts": "rw"}]}));
    let inside = Answers::of(&world.coco_in(&project, ["run", tool, "-c", &code]));
    let volume = format!("--volume={}:/workspace", control.display());
    let mut arguments = vec!["run", "--rm", "--pull=never", "--network=none", &volume, "--workdir=/workspace"];
    arguments.extend(options);
    arguments.extend(["--entrypoint=python3", "localhost/coco:python", "-c", &code]);
    let bare = Answers::of(&world.engine(arguments));
    ((inside, project), (bare, control))
}

/// The files in a directory that would run with their owner's or group's rights.
fn with_rights(directory: &Path) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| {
            let metadata = entry.metadata().unwrap();
            metadata.is_file() && metadata.permissions().mode() & 0o6000 != 0
        })
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    found.sort();
    found
}

fn f17_setuid_files(world: &World) {
    let probe = "
create, temporary = os.O_CREAT | os.O_WRONLY, os.O_TMPFILE | os.O_RDWR
def put(mode):
    number = os.open('.', temporary, mode)
    os.link(f'/proc/self/fd/{number}', f'temporary-{mode:o}', src_dir_fd=HERE, follow_symlinks=True)
directory = os.open('.', os.O_RDONLY)
tries('deny chmod', os.chmod, new('chmod'), 0o4755)
tries('deny fchmod', os.fchmod, os.open(new('fchmod'), os.O_RDWR), 0o4755)
tries('deny fchmodat', os.chmod, new('fchmodat'), 0o4755, dir_fd=directory)
tries('deny openat setuid', os.open, 'openat-setuid', create, 0o4755)
tries('deny openat setgid', os.open, 'openat-setgid', create, 0o2755)
tries('deny openat high half', call, 257 if X86 else 56, HERE, b'openat-high', create | 1 << 40, 0o4755 | 1 << 40)
tries('deny mknodat', os.mknod, 'mknodat', stat.S_IFREG | 0o4755)
tries('deny mknodat setgid', os.mknod, 'mknodat-setgid', stat.S_IFREG | 0o2755)
if X86:
    tries('deny old chmod', call, 90, new('old-chmod').encode(), 0o4755)
    tries('deny old open', call, 2, b'old-open', create, 0o4755)
    tries('deny old creat', call, 85, b'old-creat', 0o4755)
    tries('deny old mknod', call, 133, b'old-mknod', stat.S_IFREG | 0o4755, 0)
tries('newer fchmodat2', call, 452, HERE, new('fchmodat2').encode(), 0o4755, 0)
tries('newer O_TMPFILE', put, 0o4755)
tries('newer O_TMPFILE setgid', put, 0o2755)
os.mkdir('shared')
tries('allow chmod', os.chmod, new('program'), 0o755)
tries('allow setgid directory', os.chmod, 'shared', 0o2775)
print('shared:', oct(os.stat('shared').st_mode))
tries('allow sticky', os.chmod, 'shared', 0o3775)
tries('allow open', call, 257 if X86 else 56, HERE, b'program', os.O_RDONLY, 0o7777)
tries('allow open directory', call, 257 if X86 else 56, HERE, b'shared', os.O_RDONLY | os.O_DIRECTORY, 0o7777)
tries('allow create', os.open, 'plain', create, 0o755)
tries('allow temporary', put, 0o644)
tries('allow mknod', os.mknod, '/tmp/pipe', stat.S_IFIFO | 0o644)
";
    let ((inside, project), (bare, control)) = inside_and_bare(world, "setuid-files", probe);
    let denied = if cfg!(target_arch = "x86_64") { 12 } else { 8 };
    assert_eq!(inside.all("deny ", &["EPERM"]), denied);
    assert_eq!(inside.all("newer ", &["EPERM"]), 3);
    inside.all("allow ", &["done"]);
    inside.is("shared", "0o42775");
    assert_eq!(with_rights(&project), [""; 0], "{inside:?}");
    // The control: a bare container of the engine can do all of it; of what is newer, as far as engine and kernel know it.
    bare.all("deny ", &["done"]);
    bare.all("newer ", &["done", "ENOSYS", "EPERM", "EOPNOTSUPP"]);
    bare.all("allow ", &["done"]);
    assert!(with_rights(&control).len() >= denied, "{bare:?}");
    fs::remove_dir_all(control).unwrap();
}

/// The mode of openat2 is behind a pointer, and io_uring opens files without a system call.
fn calls_that_no_filter_sees_through(world: &World) {
    let probe = "
import struct
how = struct.pack('QQQ', os.O_CREAT | os.O_WRONLY, 0o4755, 0)
tries('openat2', call, 437, HERE, b'openat2', how, len(how))
tries('setup', call, 425, 1, ctypes.create_string_buffer(256))
tries('enter', call, 426, 0, 0, 0, 0, None, 0)
tries('register', call, 427, 0, 0, None, 0)
";
    let ((inside, project), (bare, control)) = inside_and_bare(world, "seen-through", probe);
    for what in ["openat2", "setup", "enter", "register"] {
        inside.is(what, "ENOSYS");
    }
    assert_eq!(with_rights(&project), [""; 0]);
    // The control; io_uring is closed in the filters of newer engines as well.
    bare.is("openat2", "done").is_one_of("setup", &["done", "EPERM", "ENOSYS"]);
    assert_eq!(with_rights(&control), ["openat2"]);
    fs::remove_dir_all(control).unwrap();
}

/// On a terminal of the probe's own, where the kernel would do it, and on what is none: the request itself is refused.
fn p1_terminal_requests(world: &World) {
    let probe = "
TIOCSTI, TIOCLINUX, IOCTL = 0x5412, 0x541C, 16 if X86 else 29
reading, writing = os.pipe()
master, slave = os.openpty()
if os.fork() == 0:
    os.setsid()
    fcntl.ioctl(slave, 0x540E, 0)
    tries('own terminal TIOCSTI', fcntl.ioctl, slave, TIOCSTI, b'x')
    tries('own terminal TIOCLINUX', fcntl.ioctl, slave, TIOCLINUX, bytes([3]))
    tries('own terminal size', fcntl.ioctl, slave, 0x5413, bytes(8))
    os._exit(0)
os.wait()
for name, request in [('TIOCSTI', TIOCSTI), ('TIOCLINUX', TIOCLINUX)]:
    tries('pipe ' + name, call, IOCTL, reading, request, b'x')
    # The kernel looks at the lower half of it.
    tries('pipe high half ' + name, call, IOCTL, reading, request | 1 << 32, b'x')
tries('other pipe', call, IOCTL, reading, 0x5413, bytes(8))
";
    let ((inside, _), (bare, _)) = inside_and_bare(world, "requests", probe);
    assert_eq!(inside.all("pipe ", &["EPERM"]), 4);
    inside.is("own terminal TIOCSTI", "EPERM").is("own terminal TIOCLINUX", "EPERM");
    inside.is("own terminal size", "done").is("other pipe", "ENOTTY");
    // The control: without coco the requests get as far as to what they are for.
    assert_eq!(bare.all("pipe ", &["ENOTTY"]), 4);
    let kernel_allows = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").is_ok_and(|state| state.trim() == "1");
    bare.is("own terminal TIOCSTI", if kernel_allows { "done" } else { "EIO" });
}

/// Numbers that mean other calls: those of 32-bit programs, and x32's.
fn other_sets_of_system_calls(world: &World) {
    if cfg!(not(target_arch = "x86_64")) {
        does_not_apply("only x86_64 has other sets of system calls");
    }
    let probe = "
tries('x32', call, 0x40000000 | 90, new('x32').encode(), 0o4755)
# int 0x80 with chmod of 32-bit programs: push rbx; mov eax, 15; mov ebx, path; mov ecx, mode; int 0x80; pop rbx; ret
page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40, prot=7)
place = ctypes.addressof(ctypes.c_char.from_buffer(page))
word = lambda number: number.to_bytes(4, 'little')
code = bytes([0x53, 0xb8]) + word(15) + bytes([0xbb]) + word(place + 256) + bytes([0xb9]) + word(0o4755)
code += bytes([0xcd, 0x80, 0x5b, 0xc3])
page[:len(code)] = code
page[256:265] = b'int-0x80' + bytes(1)
new('int-0x80')
child = os.fork()
if child == 0:
    os._exit(ctypes.CFUNCTYPE(ctypes.c_int)(place)() & 0xff)
print('int 0x80:', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";
    let ((inside, project), (bare, control)) = inside_and_bare(world, "other-numbers", probe);
    // By SIGSYS.
    inside.is("x32", "ENOSYS").is("int 0x80", "-31");
    assert_eq!(with_rights(&project), [""; 0]);
    // The control; not every kernel has the 32-bit calls, and hardly one has x32.
    let outcome = bare.get("int 0x80");
    assert!(matches!(outcome, "0" | "-11"), "{bare:?}");
    assert_eq!(with_rights(&control).contains(&"int-0x80".to_owned()), outcome == "0");
    fs::remove_dir_all(control).unwrap();
}

/// The processes above coco are said to be alive, and no signal reaches them; of all others nothing is known.
fn the_callers_processes(world: &World) {
    let probe = "
named = dict(zip(['parent', 'grandparent', 'neighbour'], map(int, sys.argv[1:])))
for name, process in named.items():
    tries(name + ' asked', os.kill, process, 0)
    for number in (9, 15, 18):
        tries(f'{name} signal {number}', os.kill, process, number)
    tries(name + ' group', os.kill, -process, 0)
    tries(name + ' thread', call, 234 if X86 else 131, process, process, 0)
tries('itself', os.kill, os.getpid(), 0)
tries('nobody', os.kill, 4194303, 0)
";
    let code = format!("{TRIES}{probe}");
    world.python("callers", &json!({}));
    let mut neighbour = Background::start(command("/bin/sh").args(["-c", "echo up; read line"]));
    assert_eq!(neighbour.line(), "up");
    let (own, neighbour) = (std::process::id().to_string(), neighbour.0.id().to_string());
    let mut shell = world.command("/bin/sh");
    shell.args(["-c", r#""$@" $$ "$OWN" "$NEIGHBOUR"; exit $?"#, "sh"]).arg(&world.coco);
    shell.args(["run", "callers", "-c", &code]).env("OWN", &own).env("NEIGHBOUR", &neighbour);
    let inside = Answers::of(&run(&mut shell));
    inside.is("parent asked", "done").is("grandparent asked", "done").is("neighbour asked", "ESRCH");
    for name in ["parent", "grandparent", "neighbour"] {
        assert_eq!(inside.all(&format!("{name} signal"), &["ESRCH"]), 3);
        inside.is(&format!("{name} group"), "ESRCH").is(&format!("{name} thread"), "ESRCH");
    }
    inside.is("itself", "done").is("nobody", "ESRCH");
    // The control: a bare container of the engine knows none of them.
    let mut arguments = vec!["run", "--rm", "--pull=never", "--network=none", "--entrypoint=python3"];
    arguments.extend(["localhost/coco:python", "-c", &code, &own, &own, &neighbour]);
    let bare = Answers::of(&world.engine(&arguments));
    bare.is("parent asked", "ESRCH").is("itself", "done");
}

/// An engine's profile is there, so that all looks as it should, and takes away the call that adds another.
fn a_filter_that_can_not_be_applied(world: &World) {
    world.python("open", &json!({}));
    let profile = world.project("profile").join("profile.json");
    let with = |names: &[&str]| {
        let rule = json!({"names": names, "action": "SCMP_ACT_ERRNO"});
        let all = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
        world.write(&profile, all.to_string());
        by_wrapper(world, "", &format!("--security-opt=seccomp={}", profile.display()))
    };
    let refused = with(&["seccomp"]);
    refused.exits(125).complains("coco's own seccomp filter can't be applied");
    assert!(refused.stdout.is_empty(), "{refused:?}");
    // The control: a profile that takes away something else.
    assert_eq!(with(&["acct"]).succeeds().text(), "ran");
}
