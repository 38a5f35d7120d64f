//! A tool's arguments are the tool's, and names are what they say.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use coco::cli::args;
use coco::cli::argv0::{Applet, applet};
use coco::engine::EngineKind;
use coco::engine::image::Image;
use coco::names::{
    AptName, EnvName, HostPattern, NetworkName, ProgramName, PublishedPort, RelativePath, ToolName, ToolSpec,
};
use coco::plan::record::system_record;
use coco::plan::{self, Job, Plan};
use coco::policy::{Mode, decide};
use coco::rules::sandbox_paths::GuestPath;
use coco::term;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::cases;
use crate::counted::law;
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
    let policy = decide(&tool("probe"), &file, &world, &facts, DIGEST, Mode::Granted).unwrap();
    let job = Job { world: &world, facts: &facts, policy: &policy, engine: &engine(kind, uid) };
    let image = Image::parse("localhost/image:1").unwrap();
    plan::run(&job, &image, &system_record(&policy, &image), arguments)
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

#[test]
fn a_tool_is_exactly_the_final_component() {
    let names = prop_oneof![
        vec(any::<u8>(), 0..90),
        "[a-z0-9./_+-]{0,70}".prop_map(String::into_bytes),
        "(/?[a-z.]{0,5}/){0,3}(coco|coco-init|coco-guard|eslint|python3.12)?[/. \n]?".prop_map(String::into_bytes),
    ];
    let floors = [("coco", 20), ("its init", 20), ("its guard", 20), ("a tool", 300), ("refused", 300)];
    law(5000, &floors, names, |tally, name| {
        let last = name.rsplit(|byte| *byte == b'/').next().unwrap();
        match applet(Some(&OsStr::from_bytes(&name).to_owned())) {
            Ok(Applet::Manage) => {
                tally.count("coco");
                prop_assert_eq!(last, b"coco");
            }
            Ok(Applet::Init) => {
                tally.count("its init");
                prop_assert_eq!(last, b"coco-init");
            }
            Ok(Applet::Guard) => {
                tally.count("its guard");
                prop_assert_eq!(last, b"coco-guard");
            }
            Ok(Applet::Tool(tool)) => {
                tally.count("a tool");
                let good = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._+-".contains(byte);
                prop_assert_eq!(tool.as_str().as_bytes(), last);
                prop_assert!((1..=64).contains(&last.len()));
                prop_assert!(last[0].is_ascii_lowercase() || last[0].is_ascii_digit());
                prop_assert!(last.iter().all(good));
            }
            Err(_) => tally.count("refused"),
        }
        Ok(())
    });
}

/// What is no name at all, what could be one of some kind, and that with a character more.
fn texts() -> impl Strategy<Value = String> {
    let like_names = || {
        prop_oneof![
            "[a-z0-9][a-z0-9._+-]{1,8}",
            "[a-zA-Z0-9_][a-zA-Z0-9._+-]{0,8}",
            "[A-Z_][A-Z0-9_]{0,8}",
            "(npm|pipx|gem|cargo|go|npm:@[a-z]{1,4}/[a-z]):[a-zA-Z0-9@/._-]{1,8}(@[a-z0-9.]{1,5})?",
            "(\\*\\.)?[a-zA-Z0-9]{1,6}(\\.[a-z]{2,6}){1,3}(:[1-9][0-9]{0,4})?",
            "/{0,2}[a-z.]{0,5}(/[a-z. ]{0,5}){0,3}",
            "([0-9.]{7,11}:|\\[[0-9a-f:]{2,9}\\]:)?[0-9]{1,5}:[0-9]{1,5}(/tcp|/udp)?",
        ]
    };
    let one_more = (like_names(), any::<proptest::sample::Index>(), any::<char>()).prop_map(|(name, at, more)| {
        let mut letters: Vec<char> = name.chars().collect();
        letters.insert(at.index(letters.len() + 1), more);
        letters.into_iter().collect()
    });
    prop_oneof![1 => "\\PC{0,40}", 1 => "[ -~]{0,40}", 1 => ".{0,40}", 4 => like_names(), 3 => one_more]
}

#[test]
fn no_constructor_panics_and_what_passes_is_tame() {
    let floors = [
        ("a tool", 150),
        ("a program", 300),
        ("a package of Debian's", 60),
        ("a network", 300),
        ("a variable", 200),
        ("a specifier", 100),
        ("a host", 60),
        ("a path inside", 100),
        ("a relative path", 300),
        ("a port", 30),
        ("nothing", 300),
    ];
    law(5000, &floors, texts(), |tally, text| {
        let mut kinds = 0;
        let mut passes = |kind: &'static str, name: &str, without: &[char]| {
            kinds += 1;
            tally.count(kind);
            let bad = |c: char| c.is_whitespace() || "\0;$`|&,=".contains(c) || without.contains(&c);
            prop_assert!(!name.is_empty() && !name.starts_with('-') && !name.contains(bad), "{} {:?}", kind, name);
            Ok(())
        };
        if let Ok(name) = ToolName::new(&text) {
            passes("a tool", name.as_str(), &['/'])?;
        }
        if let Ok(name) = ProgramName::new(&text) {
            passes("a program", name.as_str(), &['/'])?;
        }
        if let Ok(name) = AptName::new(&text) {
            passes("a package of Debian's", name.as_str(), &['/'])?;
        }
        if let Ok(name) = NetworkName::new(&text) {
            passes("a network", name.as_str(), &[':', '/'])?;
        }
        if let Ok(name) = EnvName::new(&text) {
            passes("a variable", name.as_str(), &[])?;
        }
        if let Ok(spec) = ToolSpec::new(&text) {
            passes("a specifier", &spec.to_string(), &[])?;
            prop_assert_eq!(spec.to_string(), text.as_str());
        }
        if let Ok(host) = HostPattern::new(&text) {
            passes("a host", &host.to_string(), &['/'])?;
            prop_assert!(host.to_string().contains('.'));
        }
        if let Ok(port) = PublishedPort::new(&text) {
            passes("a port", &port.to_string(), &[])?;
            prop_assert_eq!(PublishedPort::new(&port.to_string()), Ok(port));
        }
        tally.count_if(kinds == 0, "nothing");
        // Paths may have spaces.
        if let Ok(path) = GuestPath::new(&text) {
            tally.count("a path inside");
            prop_assert!(path.as_str().starts_with('/') && GuestPath::new(path.as_str()) == Ok(path.clone()));
            prop_assert!(path.as_str().split('/').skip(1).all(|part| !matches!(part, "" | "." | "..")));
        }
        if let Ok(path) = RelativePath::new(&text) {
            tally.count("a relative path");
            prop_assert!(!path.as_str().starts_with('/') && !path.as_str().split('/').any(|part| part == ".."));
        }
        Ok(())
    });
}

#[test]
fn a_message_never_moves_the_cursor() {
    let pieces =
        ["a", "\u{e9}", "\x1b[2J", "\x1b]0;x\x07", "\r", "\u{9b}", "\u{202e}", "\u{2066}", "\u{200b}", "\u{feff}"];
    let made = vec(select(pieces.to_vec()), 0..12).prop_map(|pieces| pieces.concat().into_bytes());
    let moves = |letter: char| {
        letter.is_control()
            || ('\u{202a}'..='\u{202e}').contains(&letter)
            || ('\u{2066}'..='\u{2069}').contains(&letter)
    };
    let floors = [("with what moves", 1000), ("without", 100)];
    law(5000, &floors, prop_oneof![vec(any::<u8>(), 0..60), made], |tally, bytes| {
        let text = std::str::from_utf8(&bytes);
        tally.count_if(text.is_ok_and(|text| text.chars().any(moves)), "with what moves");
        tally.count_if(text.is_ok_and(|text| !text.chars().any(moves)), "without");
        prop_assert!(!term::os(OsStr::from_bytes(&bytes)).chars().any(moves));
        let quoted = term::shell_quote(OsStr::from_bytes(&bytes));
        prop_assert!(!quoted.is_empty() && !quoted.chars().any(moves), "{}", quoted);
        Ok(())
    });
}
