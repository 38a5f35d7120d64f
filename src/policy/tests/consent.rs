//! What needs consent, and what consent does not open.

use super::*;

#[test]
fn consent_holds_for_the_digest_alone() {
    let world = world(1000);
    let file = file(EVERYTHING);
    let mut facts = facts(&world, &file);
    for consent in [None, Some(Digest::of(b"")), Some(Digest::of(EVERYTHING.as_bytes()))] {
        facts.consent = consent.map(agreed);
        let outcome = decide(&tool("probe"), &file, &world, &facts, DIGEST, Mode::Granted);
        assert!(matches!(outcome, Err(Error::Consent { .. })), "{consent:?}: {outcome:?}");
    }
    facts.consent = Some(agreed(DIGEST));
    let policy = decide(&tool("probe"), &file, &world, &facts, DIGEST, Mode::Granted).unwrap();
    assert_eq!(policy.posture, Posture::DangerousConsented);
    assert_eq!(policy.engine_arguments, ["--shm-size=256m", "--device", "/dev/fuse"]);
}

/// F8, F9: all of home needs consent; what it holds of secrets is not seen all the same.
#[test]
fn home_as_a_whole_needs_consent_and_hides_its_secrets() {
    let whole = r#"{"tool": "npm:x", "mounts": [{"src": "~", "dst": "/h", "opts": "rw"}]}"#;
    assert!(matches!(decided(whole, &[]), Err(Error::Consent { .. })));
    let secrets = |facts: &mut Facts| {
        facts.scans = vec![holding(
            Path::new("/home/user"),
            &[
                (".config", Protection::Pinned),
                (".config/gh", Protection::Hidden),
                (".ssh", Protection::Hidden),
                ("x.sock", Protection::Hidden),
            ],
        )];
    };
    let policy = consented(whole, AtHome::Refused, secrets).unwrap();
    assert_eq!(policy.mounts[0].src, PathBuf::from("/home/user"));
    assert_eq!(policy.dangers, [Danger::Home(Access::ReadWrite)]);
    let hidden: Vec<(&str, Cover)> = policy.hidden.iter().map(|hidden| (hidden.dst.as_str(), hidden.cover)).collect();
    assert_eq!(
        hidden,
        [("/h/.config/gh", Cover::Directory), ("/h/.ssh", Cover::Directory), ("/h/x.sock", Cover::File)]
    );
    // The same by another name, and what is not exactly home.
    let other = r#"{"tool": "npm:x", "mounts": [{"src": "/code/link", "dst": "/h", "opts": "ro"}]}"#;
    let leads = |path: &'static str| move |facts: &mut Facts| facts.sources[0].canonical = PathBuf::from(path);
    let policy = consented(other, AtHome::Refused, leads("/home/user")).unwrap();
    assert_eq!(policy.dangers, [Danger::Home(Access::ReadOnly)], "a link to home is home");
    for path in ["/home", "/", "/home/other", "/root", "/home/user/.ssh", "/home/user/.local/share/coco"] {
        let _ = refused(consented(other, AtHome::DangerousAllowed, leads(path)));
    }
    // What is does not exist yet can't be hidden, and the tool must not make it.
    let missing = |facts: &mut Facts| facts.missing_directories = vec![PathBuf::from("/home/user/.local/state/coco")];
    assert!(refused(consented(whole, AtHome::Refused, missing)).contains("does not exist yet"));
    let elsewhere = |facts: &mut Facts| facts.missing_directories = vec![PathBuf::from("/run/user/1000/coco")];
    assert!(consented(whole, AtHome::Refused, elsewhere).is_ok());
}

/// F9.
#[test]
fn starting_in_home_needs_consent_of_its_own() {
    let text = r#"{"tool": "npm:x", "mounts": [{"src": ".", "opts": "ro", "dst": "/w"}]}"#;
    let at_home = |facts: &mut Facts| facts.sources[0].canonical = PathBuf::from("/home/user");
    let refusal = consented(text, AtHome::Refused, at_home).unwrap_err();
    assert!(refusal.hint().contains("coco allow --home probe"), "{}", refusal.hint());
    let policy = consented(text, AtHome::DangerousAllowed, at_home).unwrap();
    assert_eq!(policy.dangers, [Danger::StartedAtHome(Access::ReadOnly)]);
    // Elsewhere, nothing of it is needed.
    assert_eq!(consented(text, AtHome::Refused, |_| {}).unwrap().dangers, []);
}

/// A program of coco's own in home must be out of the tool's reach, consent or not.
#[test]
fn the_program_in_home_is_hidden_or_home_is_not_written() {
    let text = r#"{"tool": "npm:x", "mounts": [{"src": "~", "dst": "/h", "opts": "rw"}]}"#;
    let mut world = world(1000);
    world.program = PathBuf::from("/home/user/.local/bin/coco");
    let file = file(text);
    let mut facts = facts(&world, &file);
    facts.consent = Some(agreed(DIGEST));
    assert!(refused(decide(&tool("probe"), &file, &world, &facts, DIGEST, Mode::Granted)).contains("coco itself"));
    // Another place is hidden, and this one is held: the program is in reach.
    facts.scans = vec![holding(&world.home, &[(".ssh", Protection::Hidden), (".local/bin", Protection::Pinned)])];
    assert!(refused(decide(&tool("probe"), &file, &world, &facts, DIGEST, Mode::Granted)).contains("coco itself"));
    facts.scans = vec![holding(&world.home, &[(".local/bin", Protection::Hidden)])];
    assert!(decide(&tool("probe"), &file, &world, &facts, DIGEST, Mode::Granted).is_ok());
}

/// F8: who connects to an engine's or agent's socket can do what it can.
#[test]
fn a_socket_needs_consent_and_a_directory_that_holds_one_is_refused() {
    let is_socket = |facts: &mut Facts| facts.sources[0].kind = SourceKind::Socket;
    for src in ["/run/podman/podman.sock", "/var/run/docker.sock", "/srv/x/api"] {
        let text = format!(r#"{{"tool": "npm:x", "mounts": [{{"src": "{src}", "dst": "/s"}}]}}"#);
        let world = world(1000);
        let file = file(&text);
        let mut facts = facts(&world, &file);
        is_socket(&mut facts);
        let outcome = decide(&tool("probe"), &file, &world, &facts, DIGEST, Mode::Granted);
        assert!(matches!(outcome, Err(Error::Consent { .. })), "{src}: {outcome:?}");
        let policy = consented(&text, AtHome::Refused, is_socket).unwrap();
        assert_eq!(policy.dangers, [Danger::Socket(PathBuf::from(src))]);
    }
    // What the user agrees to is what the file says; where that leads is no second socket.
    let linked = r#"{"tool": "npm:x", "mounts": [{"src": "/var/run/docker.sock", "dst": "/s"}]}"#;
    let leads = |facts: &mut Facts| {
        is_socket(facts);
        facts.sources[0].canonical = PathBuf::from("/run/docker.sock");
    };
    let policy = consented(linked, AtHome::Refused, leads).unwrap();
    assert_eq!(policy.dangers, [Danger::Socket(PathBuf::from("/var/run/docker.sock"))]);
    // coco's own are nobody's; what is in such a place and no socket is refused as ever.
    let own = r#"{"tool": "npm:x", "mounts": [{"src": "/run/user/1000/coco/run-1/control.sock", "dst": "/s"}]}"#;
    let _ = refused(consented(own, AtHome::Refused, is_socket));
    let _ = refused(consented(own, AtHome::Refused, |_| {}));
    let holds_one = |facts: &mut Facts| {
        let root = facts.sources[0].canonical.clone();
        facts.scans = vec![holding(&root, &[("deep/docker.sock", Protection::Hidden)])];
    };
    for src in ["/srv/engine", "~/.colima"] {
        let text = format!(r#"{{"tool": "npm:x", "mounts": [{{"src": "{src}", "dst": "/s"}}]}}"#);
        assert!(refused(consented(&text, AtHome::Refused, holds_one)).contains("the socket"), "{src}");
    }
    // git and development servers have some in a project: those are not seen.
    let project = r#"{"tool": "npm:x", "mounts": [{"src": "@project", "dst": "/s"}]}"#;
    let policy = consented(project, AtHome::Refused, holds_one).unwrap();
    assert_eq!((policy.hidden[0].dst.as_str(), policy.hidden[0].cover), ("/s/deep/docker.sock", Cover::File));
}

#[test]
fn what_would_be_granted_can_be_looked_at_before_it_is() {
    let world = world(1000);
    let file = file(EVERYTHING);
    let mut facts = facts(&world, &file);
    let show = |facts: &Facts| dangerous_as_if_agreed(&tool("probe"), &file, &world, facts, DIGEST).unwrap();
    let (policy, missing) = show(&facts);
    assert_eq!(policy.posture, Posture::DangerousConsented);
    assert_eq!(missing, policy.dangers);
    assert_eq!(missing.len(), 3, "{missing:?}");
    facts.consent = Some(agreed(DIGEST));
    assert_eq!(show(&facts).1, []);
}

/// Consent is on record, and the file asks for nothing dangerous: init checks all the same.
#[test]
fn consent_that_nothing_needs_opens_nothing() {
    let world = world(1000);
    for text in [LEAST, r#"{"tool": "npm:x", "podman_args": ["--shm-size=1g"]}"#] {
        let file = file(text);
        let mut facts = facts(&world, &file);
        facts.consent = Some(agreed(DIGEST));
        let policy = decide(&tool("probe"), &file, &world, &facts, DIGEST, Mode::Granted).unwrap();
        assert_eq!(policy.posture, Posture::Closed);
        assert_eq!(needs_consent(&file), []);
    }
}
