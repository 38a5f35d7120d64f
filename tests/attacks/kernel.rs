//! K1, K2, K4, K5: what of the kernel no sandbox needs, and rights that belong to a sandbox and not to whoever holds a
//! descriptor.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::json;

use super::filter::{TRIES, inside_and_bare, inside_and_bare_with};
use crate::support::probe::Answers;
use crate::support::{World, each_engine, ended};

each_engine!(
    k1_namespaces_and_mounts,
    k1_out_of_the_mounts,
    k2_descriptors_between_sandboxes,
    k2_no_place_to_meet,
    k4_keys_sockets_and_the_machine,
    k5_terminals_and_consoles,
    core_dumps,
);

/// What lets a bare container do what it can do without coco.
const OPEN: &[&str] = &["--security-opt=seccomp=unconfined"];

/// Each flag, each call, old and new; and the control: without a filter an unprivileged process gets a namespace.
fn k1_namespaces_and_mounts(world: &World) {
    let probe = "
FLAGS = dict(time=0x80, mount=0x20000, cgroup=0x2000000, uts=0x4000000, ipc=0x8000000, user=0x10000000, pid=0x20000000,
             net=0x40000000)
UNSHARE, CLONE, SETNS = (272, 56, 308) if X86 else (97, 220, 268)
def in_child(how):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            how()
            ending = 'done'
        except OSError as error:
            ending = errno.errorcode[error.errno]
        os.write(writing, ending.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    return os.read(reading, 99).decode()
def clones(flags):
    if call(CLONE, flags | 17, 0, 0, 0, 0) == 0:
        os._exit(0)
for name, flag in FLAGS.items():
    print(f'unshare {name}:', in_child(lambda: call(UNSHARE, flag)), flush=True)
    print(f'unshare high {name}:', in_child(lambda: call(UNSHARE, flag | 1 << 40)), flush=True)
    if name != 'time':
        print(f'clone {name}:', in_child(lambda: clones(flag)), flush=True)
print('unshare user and mount:', in_child(lambda: call(UNSHARE, 0x10020000)), flush=True)
tries('clone3', call, 435, ctypes.create_string_buffer(64), 64)
for name in ['user', 'mnt', 'net', 'pid']:
    tries('setns ' + name, call, SETNS, os.open('/proc/self/ns/' + name, os.O_RDONLY), 0)
MOUNTS = dict(mount=(165, 40), umount2=(166, 39), pivot_root=(155, 41), chroot=(161, 51), open_tree=(428, 428),
              move_mount=(429, 429), fsopen=(430, 430), fsconfig=(431, 431), fsmount=(432, 432), fspick=(433, 433),
              mount_setattr=(442, 442))
for name, (x86, arm) in MOUNTS.items():
    tries('mounts ' + name, call, x86 if X86 else arm, b'/tmp', b'/tmp', 0, 0, 0)
tries('open_tree_attr', call, 467, HERE, b'/tmp', 0, None, 0)
";
    let ((inside, _), (bare, _)) = inside_and_bare_with(world, "namespaces", probe, OPEN);
    assert_eq!(inside.all("unshare ", &["EPERM"]), 17);
    assert_eq!(inside.all("clone ", &["EPERM"]), 7);
    assert_eq!(inside.all("setns ", &["EPERM"]), 4);
    assert_eq!(inside.all("mounts ", &["EPERM"]), 11);
    inside.is("clone3", "ENOSYS").is("open_tree_attr", "ENOSYS");
    bare.is("unshare user", "done").is("unshare user and mount", "done").is("clone user", "done");
}

/// The whole way out: a namespace of one's own, in which no protection is a mount, and there the file is replaced.
fn k1_out_of_the_mounts(world: &World) {
    let probe = "
project, git = os.open('.', os.O_RDONLY), os.open('.git', os.O_RDONLY)
UNSHARE, MOUNT, PIVOT, UMOUNT = (272, 165, 155, 166) if X86 else (97, 40, 41, 39)
tries('1 namespace', call, UNSHARE, 0x10020000)
tries('2 mount', call, MOUNT, b'x', b'/tmp', b'tmpfs', 0, 0)
os.chdir('/tmp')
tries('3 pivot', call, PIVOT, b'.', b'.')
tries('4 detach', call, UMOUNT, b'.', 2)
def plants():
    os.rename('hooks', 'gone', src_dir_fd=git, dst_dir_fd=git)
    os.mkdir('hooks', dir_fd=git)
    os.write(os.open('hooks/post-checkout', os.O_CREAT | os.O_WRONLY, 0o755, dir_fd=git), b'#!/bin/sh\\n')
tries('5 hook', plants)
";
    let (project, control) = (world.project("way-out"), world.project("control"));
    for place in [&project, &control] {
        world.make_directory(&place.join(".git/hooks")).unwrap();
        world.write(place.join(".git/HEAD"), "ref: refs/heads/main\n");
        world.write(place.join(".git/config"), "[core]\n");
        world.make_directory(&place.join(".git/objects")).unwrap();
        world.make_directory(&place.join(".git/refs")).unwrap();
    }
    world.python("way-out", &json!({"mounts": [{"src": ".", "dst": "/workspace", "opts": "rw"}]}));
    let code = format!("{TRIES}{probe}");
    let inside = Answers::of(&world.coco_in(&project, ["run", "way-out", "-c", &code]));
    inside.is("1 namespace", "EPERM").is("2 mount", "EPERM").is("3 pivot", "EPERM").is("4 detach", "EPERM");
    inside.is_one_of("5 hook", &["EBUSY", "EROFS", "EACCES"]);
    assert!(!project.join(".git/hooks/post-checkout").exists());
    // The control: the same mounts by hand, and no filter.
    let volumes = ["", ".git/hooks"].map(|name| {
        format!("--volume={0}/{name}:/workspace/{name}{1}", control.display(), if name.is_empty() { "" } else { ":ro" })
    });
    let mut arguments = vec!["run", "--rm", "--pull=never", "--network=none", "--workdir=/workspace"];
    arguments.extend(OPEN);
    arguments.extend(volumes.iter().map(String::as_str));
    arguments.extend(["--tmpfs=/tmp", "--entrypoint=python3", "localhost/coco:python", "-c", &code]);
    let bare = Answers::of(&world.engine(arguments));
    bare.is("1 namespace", "done").is("5 hook", "done");
    assert!(control.join(".git/hooks/post-checkout").exists(), "{bare:?}");
    fs::remove_dir_all(control).unwrap();
}

/// One sandbox sends descriptors of its project by a socket that both were granted, and the other one goes by them.
fn k2_descriptors_between_sandboxes(world: &World) {
    let (from, to) = (world.project("from"), world.project("to"));
    world.write(from.join("read-only"), "of the project");
    world.write(from.join("victim"), "as it was");
    let meeting = world.home.join("meeting/place.sock");
    world.make_directory(meeting.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(&meeting).unwrap();
    fs::set_permissions(&meeting, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let socket = json!({"src": "~/meeting/place.sock", "dst": "/meeting.sock"});
    world.python("sender", &json!({"mounts": [{"src": ".", "dst": "/workspace", "opts": "rw"}, socket]}));
    world.python("receiver", &json!({"mounts": [{"src": ".", "dst": "/workspace", "opts": "rw"}, socket]}));
    for tool in ["sender", "receiver"] {
        world.coco(["allow", tool]).succeeds();
    }
    let sender_code = format!(
        "{TRIES}
import array, socket, time
with socket.socket(socket.AF_UNIX) as stream:
    stream.connect('/meeting.sock')
    numbers = [os.open('.', os.O_RDONLY), os.open('read-only', os.O_RDONLY)]
    stream.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', numbers))])
    stream.recv(1)
"
    );
    let receiver_code = format!(
        "{TRIES}
import array, socket
with socket.socket(socket.AF_UNIX) as stream:
    stream.connect('/meeting.sock')
    data, (ancillary,), flags, address = stream.recvmsg(1, socket.CMSG_SPACE(8))
    numbers = array.array('i', ancillary[2])
directory, readable = numbers
print('reads:', os.read(readable, 99).decode())
print('lists:', 'victim' in os.listdir(directory))
tries('deny open', os.open, 'victim', os.O_WRONLY, dir_fd=directory)
tries('deny truncate', os.open, 'victim', os.O_WRONLY | os.O_TRUNC, dir_fd=directory)
tries('deny create', os.open, 'new', os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=directory)
tries('deny mkdir', os.mkdir, 'new', dir_fd=directory)
tries('deny unlink', os.unlink, 'victim', dir_fd=directory)
tries('deny rename', os.rename, 'victim', 'moved', src_dir_fd=directory, dst_dir_fd=directory)
tries('deny link', os.link, 'victim', 'linked', src_dir_fd=directory, dst_dir_fd=directory)
tries('deny symlink', os.symlink, 'x', 'link', dir_fd=directory)
tries('deny reopen', os.open, f'/proc/self/fd/{{readable}}', os.O_WRONLY)
tries('deny reopen append', os.open, f'/proc/self/fd/{{readable}}', os.O_RDWR | os.O_APPEND)
tries('allow own', os.open, 'own', os.O_CREAT | os.O_WRONLY, 0o644)
"
    );
    let start = |tool: &str, project: &Path, code: &str| -> Child {
        let mut coco = world.command(&world.coco);
        coco.args(["run", tool, "-c", code]).current_dir(project);
        coco.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut sender = start("sender", &from, &sender_code);
    let (one, _) = listener.accept().unwrap();
    let mut receiver = start("receiver", &to, &receiver_code);
    let (mut other, _) = listener.accept().unwrap();
    let descriptors = passed_on(&one, &other);
    let lines: Vec<String> = BufReader::new(receiver.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    ended(&mut receiver, std::time::Duration::from_secs(20));
    let inside = Answers::of_lines(&lines);
    inside.is("reads", "of the project").is("lists", "True");
    assert_eq!(inside.all("deny ", &["EACCES"]), 10);
    inside.is("allow own", "done");
    assert_eq!(fs::read_to_string(from.join("victim")).unwrap(), "as it was");
    // The control: whoever is in no sandbox can do it by the very same descriptors.
    let made = rustix::fs::mkdirat(&descriptors[0], "by-the-control", rustix::fs::Mode::RWXU);
    assert!(made.is_ok() && from.join("by-the-control").is_dir(), "{made:?}");
    let _ = other.write_all(b"x");
    drop((one, other));
    ended(&mut sender, std::time::Duration::from_secs(20));
    fs::remove_dir(from.join("by-the-control")).unwrap();
}

/// Takes descriptors from one connection and passes them on to another one; keeps copies.
fn passed_on(from: &std::os::unix::net::UnixStream, to: &std::os::unix::net::UnixStream) -> Vec<std::os::fd::OwnedFd> {
    use std::io::{IoSlice, IoSliceMut};
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd;

    use rustix::net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    recvmsg(from, &mut [IoSliceMut::new(&mut [0])], &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    let descriptors: Vec<_> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors.collect::<Vec<_>>()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(descriptors.len(), 2);
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)));
    sendmsg(to, &[IoSlice::new(b"x")], &mut ancillary, SendFlags::empty()).unwrap();
    descriptors
}

/// Sockets and pipes are made where the sandbox ends, and nowhere that another one could see.
fn k2_no_place_to_meet(world: &World) {
    let probe = "
import socket
def listens(path):
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind(path)
for name in ['.', 'deep', '/root/.cache']:
    os.makedirs(name, exist_ok=True)
    tries(f'deny socket {name}', listens, name + '/s')
    tries(f'deny pipe {name}', os.mkfifo, name + '/p')
    tries(f'deny node {name}', os.mknod, name + '/n', stat.S_IFSOCK | 0o600)
for name in ['/tmp', '/var/tmp', '/dev/shm']:
    tries(f'allow socket {name}', listens, name + '/s')
    tries(f'allow pipe {name}', os.mkfifo, name + '/p')
def moves():
    os.rename('/tmp/s', 's')
tries('moved socket', moves)
os.makedirs('a/b', exist_ok=True)
new('a/file')
tries('allow rename across', os.rename, 'a/file', 'a/b/file')
tries('allow link across', os.link, 'a/b/file', 'linked')
";
    let ((inside, project), (bare, control)) = inside_and_bare(world, "meeting", probe);
    assert_eq!(inside.all("deny ", &["EACCES"]), 9);
    assert_eq!(inside.all("allow ", &["done"]), 8);
    inside.is_one_of("moved socket", &["EXDEV", "EACCES"]);
    assert!(!project.join("s").exists() && !project.join("deep/p").exists());
    bare.is("deny socket .", "done").is("deny pipe deep", "done");
    fs::remove_dir_all(control).unwrap();
}

/// What belongs to the caller or to the machine, and no namespace separates.
fn k4_keys_sockets_and_the_machine(world: &World) {
    let probe = "
import socket
ADD, REQUEST, KEYCTL = (248, 249, 250) if X86 else (217, 218, 219)
tries('keys add', call, ADD, b'user', b'x', b'x', 1, -3)
tries('keys request', call, REQUEST, b'user', b'x', None, 0)
tries('keys ask', call, KEYCTL, 0, -3, 0)
tries('keys join', call, KEYCTL, 1, None)
for name, family, kind, protocol in [('vsock', 40, 1, 0), ('alg', 38, 5, 0), ('qipcrtr', 42, 2, 0), ('packet', 17, 3, 0),
                                     ('bluetooth', 31, 3, 0), ('can', 29, 3, 1), ('tipc', 30, 5, 0), ('xdp', 44, 3, 0),
                                     ('netlink audit', 16, 3, 9), ('netlink netfilter', 16, 3, 12),
                                     ('netlink uevent', 16, 3, 15), ('netlink generic', 16, 3, 16)]:
    tries('family ' + name, lambda: socket.socket(family, kind, protocol).close())
for name, family, protocol in [('unix', 1, 0), ('inet', 2, 0), ('inet6', 10, 0), ('netlink route', 16, 0)]:
    tries('allow ' + name, lambda: socket.socket(family, 3 if family == 16 else 1, protocol).close())
MACHINE = dict(syslog=(103, 116), bpf=(321, 280), perf_event_open=(298, 241), fanotify_init=(300, 262),
               userfaultfd=(323, 282), kexec_load=(246, 104), init_module=(175, 105), open_by_handle_at=(304, 265),
               adjtimex=(159, 171), reboot=(169, 142), vmsplice=(278, 75), pidfd_getfd=(438, 438),
               process_madvise=(440, 440), quotactl=(179, 60), acct=(163, 89), swapon=(167, 224))
for name, (x86, arm) in MACHINE.items():
    tries('machine ' + name, call, x86 if X86 else arm, 10, None, 0, 0, 0)
tries('machine personality', call, 135 if X86 else 92, 0x40000)
tries('handle', call, 303 if X86 else 264, HERE, b'/tmp', ctypes.create_string_buffer(256), ctypes.create_string_buffer(8), 0)
tries('allow personality', call, 135 if X86 else 92, 0xFFFFFFFF)
";
    let ((inside, _), (bare, _)) = inside_and_bare_with(world, "machine", probe, OPEN);
    assert_eq!(inside.all("keys ", &["ENOSYS"]), 4);
    assert_eq!(inside.all("family ", &["EAFNOSUPPORT"]), 12);
    assert_eq!(inside.all("machine ", &["EPERM"]), 17);
    assert_eq!(inside.all("allow ", &["done"]), 5);
    inside.is("handle", "ENOSYS");
    // The control: without a filter a key is added, and a generic netlink socket is there.
    bare.is("keys add", "done").is("family netlink generic", "done").is("machine personality", "done");
    bare.all("allow ", &["done"]);
}

/// Requests that reach beyond the terminal's own bytes: on a terminal of the probe's own, and on what is none.
fn k5_terminals_and_consoles(world: &World) {
    let probe = "
REQUESTS = dict(TIOCSETD=0x5423, TIOCCONS=0x541D, KDSETMODE=0x4B3A, KDSKBENT=0x4B47, KDSKBSENT=0x4B49, KDFONTOP=0x4B72,
                PIO_FONT=0x4B61, VT_ACTIVATE=0x5606, VT_SETMODE=0x5602, VT_DISALLOCATE=0x5608, VT_LOCKSWITCH=0x560B)
IOCTL = 16 if X86 else 29
master, slave = os.openpty()
reading, writing = os.pipe()
for name, request in REQUESTS.items():
    tries('deny terminal ' + name, call, IOCTL, slave, request, ctypes.create_string_buffer(64))
    tries('deny pipe ' + name, call, IOCTL, reading, request, ctypes.create_string_buffer(64))
    tries('deny high ' + name, call, IOCTL, reading, request | 1 << 32, ctypes.create_string_buffer(64))
tries('allow attributes', call, IOCTL, slave, 0x5401, ctypes.create_string_buffer(64))
tries('allow size', call, IOCTL, slave, 0x5413, ctypes.create_string_buffer(64))
tries('allow waiting', call, IOCTL, reading, 0x541B, ctypes.create_string_buffer(64))
";
    let ((inside, _), (bare, _)) = inside_and_bare_with(world, "consoles", probe, OPEN);
    assert_eq!(inside.all("deny ", &["EPERM"]), 33);
    assert_eq!(inside.all("allow ", &["done"]), 3);
    // The control: a line discipline is set, and a pipe knows no such request.
    bare.is("deny terminal TIOCSETD", "done").is("deny pipe VT_ACTIVATE", "ENOTTY");
}

/// A dump has all that a tool had in memory. The kernel writes none where the limit is 1, neither into a file nor to the
/// program that `core_pattern` names; and nobody inside changes it.
fn core_dumps(world: &World) {
    let probe = "
import resource
print('limit:', resource.getrlimit(resource.RLIMIT_CORE))
def changes(number):
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, number))
    except ValueError:
        raise OSError(errno.EPERM, 'raised')
for number in [0, 4096, resource.RLIM_INFINITY]:
    tries(f'change to {number}', changes, number)
    print(f'limit then {number}:', resource.getrlimit(resource.RLIMIT_CORE))
child = os.fork()
if child == 0:
    os.abort()
print('dumped:', os.WCOREDUMP(os.waitpid(child, 0)[1]))
";
    let ((inside, project), (bare, control)) = inside_and_bare(world, "dumps", probe);
    inside.is("limit", "(1, 1)").is("dumped", "False");
    assert_eq!(inside.all("limit then ", &["(1, 1)"]), 3);
    // Who wants no dump is not told that there might be one.
    assert_eq!(inside.all("change to ", &["done"]), 3);
    assert_eq!(fs::read_dir(&project).unwrap().count(), 0);
    // The control: a bare container lowers it for good, to where the program of core_pattern is started.
    bare.is("limit then 0", "(0, 0)").is("change to 4096", "EPERM");
    fs::remove_dir_all(control).unwrap();
}
