//! A tool's arguments are the tool's, and names are what they say.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use coco::cli::args;
use coco::cli::table::{Applet, applet};
use coco::engine::EngineKind;
use coco::names::{
    AptName, EnvName, HostPattern, NetworkName, ProgramName, PublishedPort, RelativePath, ToolName, ToolSpec,
};
use coco::plan::record::Record;
use coco::plan::{self, Plan};
use coco::policy::decide;
use coco::rules::sandbox_paths::GuestPath;
use coco::term;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::cases;
use crate::hand_made::{DIGEST, EVERYTHING, LEAST, agreed, engine, facts, file, tool, with, world};
use crate::narrowing::CALLER;

fn bytes_without_nul() -> impl Strategy<Value = OsString> {
    prop_oneof![
        vec(1_u8..=255, 0..40).prop_map(OsString::from_vec),
        select(&["--privileged", "-v", "/:/host", "--", "--network=host", "--rm=false", "-", "", "--entrypoint=/bin/sh"][..]).prop_map(OsString::from),
    ]
}

fn planned(text: &str, kind: EngineKind, uid: u32, arguments: &[OsString]) -> Plan {
    let file = file(text);
    let world = with(world(uid), CALLER);
    let mut facts = facts(&world, &file);
    facts.consent = Some(agreed(DIGEST));
    let policy = decide(&tool("probe"), &file, &world, &facts, DIGEST).unwrap();
    plan::run(&policy, &world, &facts, &engine(kind, uid), "image", &Record::default(), arguments)
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn a_tools_arguments_never_become_the_engines(arguments in vec(bytes_without_nul(), 0..8)) {
        for kind in [EngineKind::Podman, EngineKind::Docker] {
            for text in [LEAST, EVERYTHING] {
                let (bare, given) = (planned(text, kind, 1000, &[]), planned(text, kind, 1000, &arguments));
                prop_assert_eq!(&bare.arguments, &given.arguments);
                prop_assert_eq!((&bare.run_files, &bare.directories, &bare.program), (&given.run_files, &given.directories, &given.program));
                let coco::protocol::control::Task::Run { arguments: told, .. } = &given.launch.task else { panic!("{given:?}") };
                prop_assert_eq!(told, &arguments);
            }
        }
    }

    #[test]
    fn what_follows_the_tool_is_never_read(arguments in vec(bytes_without_nul(), 0..8)) {
        let line = ["run", "eslint"].iter().map(OsString::from).chain(arguments.iter().cloned());
        let Ok(args::Typed::Command(line)) = args::parse(line) else { panic!("{arguments:?}") };
        prop_assert!(line.switches.is_empty());
        prop_assert_eq!(&line.operands[1..], arguments.as_slice());
    }
}

proptest! {
    #![proptest_config(cases(5000))]

    #[test]
    fn a_tool_is_exactly_the_final_component(name in prop_oneof![
        vec(any::<u8>(), 0..90),
        "[a-z0-9./_+-]{0,70}".prop_map(String::into_bytes),
        "(/?[a-z.]{0,5}/){0,3}(coco|coco-init|coco-guard|eslint|python3.12)?[/. \n]?".prop_map(String::into_bytes),
    ]) {
        let last = name.rsplit(|byte| *byte == b'/').next().unwrap();
        match applet(Some(&OsStr::from_bytes(&name).to_owned())) {
            Ok(Applet::Manage) => prop_assert_eq!(last, b"coco"),
            Ok(Applet::Init) => prop_assert_eq!(last, b"coco-init"),
            Ok(Applet::Guard) => prop_assert_eq!(last, b"coco-guard"),
            Ok(Applet::Tool(tool)) => {
                prop_assert_eq!(tool.as_str().as_bytes(), last);
                prop_assert!((1..=64).contains(&last.len()));
                prop_assert!(last[0].is_ascii_lowercase() || last[0].is_ascii_digit());
                prop_assert!(last.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._+-".contains(byte)));
            }
            Err(_) => {}
        }
    }

    #[test]
    fn no_constructor_panics_and_what_passes_is_tame(text in prop_oneof!["\\PC{0,40}", "[ -~]{0,40}", ".{0,40}"]) {
        let tame = |name: &str| !name.is_empty() && !name.starts_with('-') && !name.chars().any(char::is_whitespace) && !name.contains(['\0', ';', '$', '`', '|', '&', ',', '=']);
        if let Ok(name) = ToolName::new(&text) { prop_assert!(tame(name.as_str()) && !name.as_str().contains('/')); }
        if let Ok(name) = ProgramName::new(&text) { prop_assert!(tame(name.as_str()) && !name.as_str().contains('/')); }
        if let Ok(name) = AptName::new(&text) { prop_assert!(tame(name.as_str()) && !name.as_str().contains('/')); }
        if let Ok(name) = NetworkName::new(&text) { prop_assert!(tame(name.as_str()) && !name.as_str().contains([':', '/'])); }
        if let Ok(name) = EnvName::new(&text) { prop_assert!(tame(name.as_str())); }
        if let Ok(spec) = ToolSpec::new(&text) { prop_assert!(tame(&spec.to_string()) && spec.to_string() == text); }
        if let Ok(host) = HostPattern::new(&text) { let host = host.to_string(); prop_assert!(tame(&host) && host.contains('.') && !host.contains('/')); }
        if let Ok(path) = GuestPath::new(&text) {
            prop_assert!(path.as_str().starts_with('/') && GuestPath::new(path.as_str()) == Ok(path.clone()));
            prop_assert!(path.as_str().split('/').skip(1).all(|part| !matches!(part, "" | "." | "..")));
        }
        if let Ok(path) = RelativePath::new(&text) { prop_assert!(!path.as_str().starts_with('/') && !path.as_str().split('/').any(|part| part == "..")); }
        if let Ok(port) = PublishedPort::new(&text) { prop_assert_eq!(PublishedPort::new(&port.to_string()), Ok(port)); }
    }

    #[test]
    fn a_message_never_moves_the_cursor(bytes in vec(any::<u8>(), 0..60)) {
        let shown = term::os(OsStr::from_bytes(&bytes));
        let moves = |letter: char| letter.is_control() || ('\u{202a}'..='\u{202e}').contains(&letter);
        prop_assert!(!shown.chars().any(moves));
        let quoted = term::shell_quote(OsStr::from_bytes(&bytes));
        prop_assert!(!quoted.is_empty() && !quoted.chars().any(char::is_control));
    }
}
