use super::*;

fn read(head: &str) -> Result<Request, Rejected> {
    match request_head(head.as_bytes())? {
        Progress::Complete(request) => Ok(request),
        Progress::Incomplete => panic!("incomplete: {head:?}"),
    }
}

/// The outcome for a head of this first line and these header lines.
fn lines(first: &str, headers: &[&str]) -> Result<Request, Rejected> {
    read(&format!("{first}\r\n{}\r\n", headers.iter().map(|line| format!("{line}\r\n")).collect::<String>()))
}

/// The outcome for a POST with these header lines besides its Host.
fn post(headers: &[&str]) -> Result<Body, Rejected> {
    lines("POST /x HTTP/1.1", &[&["Host: example.com"], headers].concat()).map(|request| request.body)
}

fn is_malformed<T>(outcome: &Result<T, Rejected>) -> bool {
    matches!(outcome, Err(Rejected::Malformed(_)))
}

#[test]
fn requests_as_clients_send_them_are_read() {
    let curl = "GET /a?b=c HTTP/1.1\r\nHost: Example.com\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";
    let body = Body::None;
    assert_eq!(read(curl), Ok(Request { host: "Example.com".to_owned(), port: None, length: curl.len(), body }));
    for cut in 0..curl.len() {
        assert_eq!(request_head(&curl.as_bytes()[..cut]), Ok(Progress::Incomplete), "{cut}");
    }
    let request =
        lines("HEAD / HTTP/1.0", &["Host:a-b_c.example:8080", "X-Empty:", "Connection: keep-alive, TE"]).unwrap();
    assert_eq!((request.host.as_str(), request.port), ("a-b_c.example", Some(8080)));
    assert!(lines("OPTIONS * HTTP/1.1", &["Host: a.example"]).is_ok());
    assert!(lines("M-SEARCH /%20~!$&'()*+,;=:@[]{}\"\\ HTTP/1.1", &["Host: a.example"]).is_ok());
}

#[test]
fn what_follows_the_head_is_not_looked_at() {
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n";
    let request = read(&format!("{head}\0\n\r\n\r\n\u{fc}")).unwrap();
    assert_eq!((request.length, request.body), (head.len(), Body::Length(5)));
}

#[test]
fn what_is_not_http_shows_in_its_first_bytes() {
    for bytes in [
        b"\x16\x03\x01\x02\0\x01".as_slice(),
        b"SSH-2.0-OpenSSH\r\n",
        b" GET / HTTP/1.1",
        b"\r\nGET / HTTP/1.1\r\n",
        b"GET /\r\n",
        b"GET  / HTTP/1.1\r\n",
        b"GET / HTTP/1.1 \r\n",
        b"GET / x HTTP/1.1\r\n",
        b"GET / HTTP\r\n",
        b"GET / http/1.1\r\n",
        b"GE(T / HTTP/1.1\r\n",
        b"\xff",
        &[b'A'; 33],
    ] {
        assert_eq!(request_head(bytes), Err(Rejected::NotHttp), "{bytes:?}");
    }
    assert_eq!(request_head(b""), Ok(Progress::Incomplete));
}

#[test]
fn every_line_ends_in_crlf_and_holds_no_control_character() {
    for text in [
        "GET / HTTP/1.1\nHost: a.example\n\n",
        "GET / HTTP/1.1\r\nHost: a.example\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\nX: a\nb",
        "GET / HTTP/1.1\r\nHost: a.example\r\nX: a\rb",
        "GET / HTTP/1.1\r\nHost: a.example\r\nX: a\r\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\nX: a\0b",
        "GET / HTTP/1.1\r\nHost: a.example\r\nX: a\x0bb",
        "GET / HTTP/1.1\r\nHost: a.example\r\nX: a\x7fb",
    ] {
        // Before its end, and with one.
        for text in [text.to_owned(), format!("{text}\r\n\r\n")] {
            assert!(request_head(text.as_bytes()).is_err(), "{text:?}");
        }
    }
    assert!(lines("GET / HTTP/1.1", &["Host: a.example", "X: tab\t and \u{fc}"]).is_ok());
}

#[test]
fn a_target_names_no_host_of_its_own() {
    let host = &["Host: a.example"];
    for first in ["GET http://b.example/ HTTP/1.1", "GET https://a.example HTTP/1.0", "GET a.example/://x HTTP/1.1"] {
        assert!(matches!(lines(first, host), Err(Rejected::Forbidden(_))), "{first}");
    }
    for first in ["CONNECT b.example:443 HTTP/1.1", "connect / HTTP/1.1", "CONNECT / HTTP/1.0"] {
        assert_eq!(lines(first, host), Err(Rejected::Forbidden("CONNECT")), "{first}");
    }
    assert_eq!(lines("PRI * HTTP/2.0", &[]), Err(Rejected::Forbidden("HTTP/2")));
    for first in [
        "GET * HTTP/1.1",
        "OPTIONS ** HTTP/1.1",
        "GET b.example HTTP/1.1",
        "GET ?x HTTP/1.1",
        "GET /\u{fc} HTTP/1.1",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/0.9",
        "GET / HTTP/1.10",
        "GET / HTTP/01.1",
    ] {
        assert!(is_malformed(&lines(first, host)), "{first}");
    }
}

#[test]
fn there_is_exactly_one_host() {
    let get = |headers: &[&str]| lines("GET / HTTP/1.1", headers);
    assert_eq!(get(&[]), Err(Rejected::NoHost));
    assert_eq!(lines("GET / HTTP/1.0", &["X-Host: a.example"]), Err(Rejected::NoHost));
    assert!(is_malformed(&get(&["Host: a.example", "Host: a.example"])));
    assert!(is_malformed(&get(&["Host: a.example", "X: y", "hOST: b.example"])));
    for value in [
        "",
        " ",
        "a.example, b.example",
        "a.example b.example",
        "u@a.example",
        "a.example/",
        "http://a.example",
        "[::1]",
        "a.example:",
        "a.example:0",
        "a.example:080",
        "a.example:65536",
        "a.example:123456",
        "a.example:8x",
        "a.example:80:80",
        ":80",
        "a.ex\u{fc}mple",
        "a.example\t",
        "a.example ",
        "\ta.example",
        "a%2eexample",
        "a\\b",
        "*.example",
    ] {
        assert!(is_malformed(&get(&[&format!("Host:{value}")])), "{value:?}");
        assert!(is_malformed(&get(&[&format!("Host: {value}")])), "{value:?}");
    }
    assert_eq!(get(&["Host:   a.example.:65535"]).unwrap().port, Some(65535));
    assert!(get(&[&format!("Host: {}", "a".repeat(255))]).is_ok());
    assert!(is_malformed(&get(&[&format!("Host: {}", "a".repeat(256))])));
}

#[test]
fn header_lines_have_proper_names() {
    for line in [
        "X : y",
        "X",
        ": y",
        " X: y",
        "\tX: y",
        " continued",
        "X y: z",
        "X\u{fc}: y",
        "Host : b.example",
        "(x): y",
        "Transfer-Encoding : chunked",
        "Content Length: 5",
        "\"x\": y",
        "Content_Length: 5",
        "transfer_encoding: x",
        "Transfer_Encoding: chunked",
    ] {
        assert!(is_malformed(&post(&[line])), "{line:?}");
        // As the first line, too.
        assert!(is_malformed(&lines("POST / HTTP/1.1", &[line, "Host: a.example"])), "{line:?}");
    }
    let many = vec!["X: y"; 127];
    assert!(post(&many).is_ok());
    assert_eq!(post(&[many, vec!["X: y"]].concat()), Err(Rejected::TooLong));
}

#[test]
fn the_length_of_a_body_is_said_once_and_plainly() {
    assert_eq!(post(&[]), Ok(Body::None));
    assert_eq!(post(&["Content-Length: 0"]), Ok(Body::Length(0)));
    assert_eq!(post(&["content-length:  007"]), Ok(Body::Length(7)));
    assert_eq!(post(&["Content-Length: 999999999999999999"]), Ok(Body::Length(999_999_999_999_999_999)));
    assert_eq!(post(&["Transfer-Encoding: chunked"]), Ok(Body::Chunked));
    assert_eq!(post(&["transfer-encoding:CHUNKED"]), Ok(Body::Chunked));
    for headers in [
        ["Content-Length: 5", "Content-Length: 5"],
        ["Content-Length: 0", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 5"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    ] {
        assert!(is_malformed(&post(&headers)), "{headers:?}");
    }
    for value in ["", "+5", "-5", "5 ", "5, 5", "0x5", "5\t", "\t5", "1000000000000000000", "5;", "5.0", "\u{665}"] {
        assert!(is_malformed(&post(&[&format!("Content-Length: {value}")])), "{value:?}");
    }
    for value in
        ["", "gzip", "gzip, chunked", "chunked, chunked", "chunked ", "\tchunked", "\"chunked\"", "chunked;", "x"]
    {
        assert!(is_malformed(&post(&[&format!("Transfer-Encoding: {value}")])), "{value:?}");
    }
    assert!(is_malformed(&lines("POST / HTTP/1.0", &["Host: a.example", "Transfer-Encoding: chunked"])));
}

#[test]
fn a_body_that_a_server_might_not_read_is_refused() {
    for method in ["GET", "HEAD", "TRACE", "get"] {
        for header in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            let outcome = lines(&format!("{method} / HTTP/1.1"), &["Host: a.example", header]);
            assert!(matches!(outcome, Err(Rejected::Forbidden(_))), "{method} {header}");
        }
        assert!(lines(&format!("{method} / HTTP/1.1"), &["Host: a.example", "Content-Length: 0"]).is_ok());
    }
    assert_eq!(post(&["Expect: 100-continue", "Content-Length: 5"]), Err(Rejected::Expectation));
}

#[test]
fn no_other_protocol_is_begun() {
    for header in ["Upgrade: websocket", "upgrade:", "UPGRADE: h2c", "Connection: keep-alive, UPGRADE"] {
        assert_eq!(post(&[header]), Err(Rejected::Forbidden("Upgrade")), "{header}");
    }
    for header in ["HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", "Connection: http2-settings"] {
        assert_eq!(post(&[header]), Err(Rejected::Forbidden("HTTP/2")), "{header}");
    }
    for header in ["Connection: Host", "Connection: close, content-length", "Connection:\tTransfer-Encoding"] {
        assert!(is_malformed(&post(&[header])), "{header}");
    }
}

#[test]
fn a_head_ends_in_time() {
    let head = |padding: usize| format!("GET / HTTP/1.1\r\nHost: a.example\r\nX: {}\r\n\r\n", "x".repeat(padding));
    let most = MAX_HEAD - head(0).len();
    assert!(read(&head(most)).is_ok());
    assert_eq!(read(&head(most + 1)), Err(Rejected::TooLong));
    assert_eq!(request_head(&head(most + 1).as_bytes()[..MAX_HEAD - 1]), Ok(Progress::Incomplete));
    assert_eq!(request_head(&[&b"GET /"[..], &vec![b'x'; MAX_HEAD]].concat()), Err(Rejected::TooLong));
}

#[test]
fn the_words_for_the_log_are_short() {
    assert_eq!(Rejected::NotHttp.to_string(), "not HTTP");
    assert_eq!(Rejected::NoHost.to_string(), "no Host header");
    assert_eq!(Rejected::TooLong.to_string(), "a head that is too long");
    assert_eq!(Rejected::Forbidden("CONNECT").to_string(), "not allowed in plain HTTP: CONNECT");
    assert_eq!(Rejected::Expectation.to_string(), "not allowed in plain HTTP: Expect");
    assert_eq!(Rejected::Malformed("this").to_string(), "malformed HTTP: this");
}

/// Feeds it at once, and byte by byte; both must agree.
fn feed(body: &[u8]) -> Result<Fed, Rejected> {
    let whole = Chunks::new().feed(body);
    let (mut chunks, mut total) = (Chunks::new(), Fed { consumed: 0, ended: false });
    let bytewise = body.iter().try_for_each(|byte| {
        let fed = chunks.feed(&[*byte])?;
        total = Fed { consumed: total.consumed + fed.consumed, ended: fed.ended };
        Ok(())
    });
    assert_eq!(whole, bytewise.map(|()| total), "{body:?}");
    whole
}

#[test]
fn chunks_end_where_they_say() {
    // A chunk's own bytes may look like anything.
    let tricky = format!("00000000000000aB\r\n{:>171}\r\n5\r\n0\r\n\r\n\r\n0000000000000000\r\n\r\n", "\r\n0\r\n\r\n");
    for body in ["0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "5;name=\"a value\"\r\nhello\r\n0;x\r\n\r\n", &tricky] {
        assert_eq!(feed(body.as_bytes()), Ok(Fed { consumed: body.len(), ended: true }), "{body:?}");
        let more = format!("{body}GET / HTTP/1.1\r\n");
        assert_eq!(feed(more.as_bytes()), Ok(Fed { consumed: body.len(), ended: true }), "{body:?}");
        for cut in 0..body.len() {
            assert_eq!(feed(&body.as_bytes()[..cut]), Ok(Fed { consumed: cut, ended: false }), "{body:?}");
        }
    }
}

#[test]
fn chunks_that_could_be_read_in_two_ways_are_refused() {
    for body in [
        "\r\n",
        ";x\r\n",
        "g\r\n",
        " 5\r\n",
        "5 \r\n",
        "+5\r\n",
        "-5\r\n",
        "0x5\r\n",
        "5\n",
        "5\r5",
        "5\r\r\n",
        "5;\n",
        "5;x\r\r\n",
        "5;\t\r\n",
        "5;\0\r\n",
        "5;\u{fc}\r\n",
        "5\r\nhello0",
        "5\r\nhello\n",
        "5\r\nhello\r0",
        "0\r\nX: y\r\n\r\n",
        "0\r\n\n",
        "0\r\n\rx",
        "00000000000000000",
        "80000000\r\n",
        "ffffffffffffffff\r\n",
        "10000000000000005\r\n",
    ] {
        assert!(is_malformed(&feed(body.as_bytes())), "{body:?}");
    }
    let extension = |length: usize| format!("5;{}\r\n", "x".repeat(length));
    assert!(feed(extension(255).as_bytes()).is_ok());
    assert!(feed(extension(256).as_bytes()).is_err());
    assert!(feed(b"7fffffff\r\nx").is_ok());
}

#[test]
fn chunks_stay_refused_and_stay_ended() {
    let mut chunks = Chunks::default();
    let refused = chunks.feed(b"x").unwrap_err();
    assert_eq!(chunks.feed(b"0\r\n\r\n"), Err(refused));
    let mut chunks = Chunks::new();
    assert!(chunks.feed(b"0\r\n\r\n").unwrap().ended);
    assert_eq!(chunks.feed(b"0\r\n\r\n"), Ok(Fed { consumed: 0, ended: true }));
    assert_eq!(chunks.feed(b""), Ok(Fed { consumed: 0, ended: true }));
}
