//! What is sent arrives as it was. What is truncated or too long is refused.

use std::os::unix::ffi::OsStringExt;

use super::*;
use crate::names::HostPattern;
use proptest::prelude::*;

fn launch() -> Launch {
    Launch {
        expect: Expect {
            owner: 1000,
            enclosure: Enclosure::Closed,
            network: Interfaces::LoopbackOnly,
            mounts: vec!["/workspace".into()],
            trees: vec!["/p".into()],
            namespaces: vec!["pid:[1]".into()],
            identities: vec![("/p".into(), 1, u64::MAX)],
            empty: vec!["/p/.ssh".into()],
        },
        umask: 0o022,
        workdir: "/workspace".into(),
        environment: vec![("A".into(), OsString::from_vec(b"\xff\n".to_vec()))],
        path: vec!["/coco/data/bin".into()],
        ancestors: vec![4242, u32::MAX],
        writable: vec!["/workspace".into()],
        network_role: NetworkRole::Names(Reach::Hosts(vec![HostPattern::new("*.example.com:8443").unwrap()])),
        task: Task::Run {
            program: "x".into(),
            arguments: vec!["".into(), OsString::from_vec(vec![1, 255])],
            terminal: Streams::Terminal,
        },
    }
}

#[test]
fn what_is_sent_arrives() {
    let mut wire = Vec::new();
    send(&mut wire, &launch().encode()).unwrap();
    assert_eq!(receive_launch(&mut wire.as_slice()).unwrap(), launch());
    for message in [
        Message::Stopped,
        Message::Exited(255),
        Message::Refused { message: "a".into(), hint: "b".into() },
        Message::Installed(Installed {
            version: "1".into(),
            path: vec!["/x".into()],
            environment: vec![("A".into(), "b".into())],
        }),
    ] {
        let mut wire = Vec::new();
        send(&mut wire, &message.encode()).unwrap();
        assert_eq!(receive_message(&mut wire.as_slice()).unwrap(), message);
    }
}

#[test]
fn an_endless_frame_is_refused_before_it_is_read() {
    assert!(receive_message(&mut [0xff; 64].as_slice()).is_err());
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = Message::decode(&bytes);
        let _ = Launch::decode(&bytes);
    }

    #[test]
    fn a_truncated_launch_is_refused(cut in 0..100usize) {
        let frame = launch().encode();
        prop_assert!(Launch::decode(&frame[..cut.min(frame.len() - 1)]).is_none());
    }
}
