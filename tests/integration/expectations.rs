//! What the proxy answers an HTTP client that it does not serve: 417 for what the client can ask in another way, 403 for
//! what it can't have. The proxy's own code serves a connection here, and the test takes the place of init.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use coco::names::HostPattern;
use coco::network::denial::Denial;
use coco::network::log::Summary;
use coco::network::orders::Orders;
use coco::network::proxy::{Proxy, bind_all};
use coco::network::upstream::Upstream;
use coco::protocol::network::{InitEvent, send_event};
use coco::rules::egress::Reach;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

const HOST: &str = "api.example.com";

/// A proxy that grants [`HOST`], and the sockets of the init that hands connections over.
struct Served {
    proxy: Proxy,
    address: std::net::SocketAddr,
    asked: Arc<AtomicUsize>,
    _channel: std::os::fd::OwnedFd,
    _directory: tempfile::TempDir,
}

fn serve() -> Served {
    let directory = tempfile::tempdir().unwrap();
    let orders = Orders {
        reach: Reach::Hosts(vec![HostPattern::new(HOST).unwrap()]),
        ports: Vec::new(),
        upstream: Upstream::Direct,
        program: PathBuf::from("/nonexistent"),
        getent: None,
        journal: directory.path().join("journal"),
        tool: "probe".to_owned(),
        phase: "run",
    };
    let socket = directory.path().join("network.sock");
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let resolve = move |_: &str| {
        counted.fetch_add(1, Ordering::SeqCst);
        Err(std::io::Error::other("no such name"))
    };
    let proxy = bind_all(&orders, &socket).unwrap().serve(&orders, Arc::new(resolve)).unwrap();
    let channel = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    connect(&channel, &SocketAddrUnix::new(&socket).unwrap()).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let message = InitEvent::Listen { host: HOST.to_owned(), port: 80 };
    send_event(&channel, &message, Some(listener.as_fd())).unwrap();
    Served { proxy, address, asked, _channel: channel, _directory: directory }
}

/// What a client is answered that sends this, and what the proxy reports of it at the end.
fn answered(request: &str) -> (String, Summary, usize) {
    let served = serve();
    let mut client = TcpStream::connect(served.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // What can't be reached ends by a reset.
    let _ = client.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    (answer, served.proxy.finish(), served.asked.load(Ordering::SeqCst))
}

fn denials(summary: Summary) -> Vec<Denial> {
    summary.denied.into_iter().map(|denied| denied.denial).collect()
}

#[test]
fn a_client_that_waits_for_a_word_is_told_to_ask_without() {
    for header in ["Expect: 100-continue", "expect:100-continue", "Expect: anything"] {
        let (answer, summary, asked) =
            answered(&format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\n{header}\r\nContent-Length: 5\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 417 Expectation Failed\r\n"), "{header}: {answer}");
        assert!(answer.ends_with("\r\n\r\ncoco: denied: an Expect header in plain HTTP\n"), "{header}: {answer}");
        assert_eq!(denials(summary), [Denial::Expectation], "{header}");
        assert_eq!(asked, 0, "nothing is dialled before a request is judged");
    }
}

#[test]
fn what_a_client_can_not_have_is_forbidden() {
    for (request, denial) in [
        (
            "GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n".to_owned(),
            Denial::RequestHost("other.example.com".to_owned()),
        ),
        // The words of an expectation, where they mean nothing.
        (
            format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: Expect\r\n\r\n"),
            Denial::Rejected("not allowed in plain HTTP: Upgrade".to_owned()),
        ),
    ] {
        let (answer, summary, asked) = answered(&request);
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{request}: {answer}");
        assert!(answer.ends_with(&format!("\r\n\r\ncoco: denied: {denial}\n")), "{request}: {answer}");
        assert_eq!(denials(summary), [denial], "{request}");
        assert_eq!(asked, 0, "nothing is dialled before a request is judged");
    }
}

/// The control: what is granted and waits for nothing is let through, as far as to the resolver.
#[test]
fn what_is_granted_is_looked_up() {
    let (answer, summary, asked) = answered(&format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!((answer.as_str(), denials(summary).as_slice(), asked), ("", [].as_slice(), 1));
}
