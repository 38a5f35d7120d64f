//! Who am I? `argv[0]` and the one table of commands, which feeds dispatch, help and completion.
//!
//! `argv[0]` is untrusted: the final path component's bytes are taken whole, and a tool is whatever
//! has a coco file of exactly that name. Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::error::Error;
use crate::names::ToolName;
use crate::term;

/// What the process is, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applet {
    /// `coco`: manages.
    Manage,
    /// `coco-init`: the helper inside the sandbox.
    Init,
    /// `coco-guard`: starts an engine's build so that it dies with coco.
    Guard,
    /// Any other name: that tool.
    Tool(ToolName),
}

/// Decides by `argv[0]`.
///
/// # Errors
/// A name that no tool can have.
pub fn applet(argv0: Option<&OsString>) -> Result<Applet, Error> {
    let bytes = argv0.map(|name| name.as_bytes()).unwrap_or_default();
    // Not Path::file_name: it drops a trailing slash and `/.`, and then `x/` would be `x`.
    let name = bytes.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    match name {
        b"coco" => Ok(Applet::Manage),
        b"coco-init" => Ok(Applet::Init),
        b"coco-guard" => Ok(Applet::Guard),
        // A login shell's argv[0] starts with a dash; coco is none, and no tool's name starts so.
        _ => std::str::from_utf8(name)
            .map_err(|_| format!("{:?} is no tool's name", term::os(OsStr::from_bytes(name))))
            .and_then(ToolName::new)
            .map(Applet::Tool)
            .map_err(|message| Error::BadName {
                message: format!("started under a name that is no tool's: {message}"),
            }),
    }
}

/// A command of coco's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Runs a tool.
    Run,
    /// Lists the configured tools.
    List,
    /// Fetches coco files.
    Get,
    /// `update`
    Update,
    /// `key`
    Key,
    /// Links tools.
    Up,
    /// Removes links.
    Down,
    /// Shows what a tool may do.
    Show,
    /// Checks coco files.
    Lint,
    /// Checks signatures.
    Verify,
    /// Shows what was reached and denied.
    Log,
    /// Looks through the store.
    Search,
    /// Records consent.
    Allow,
    /// Installs the newest version.
    Upgrade,
    /// Frees space.
    Prune,
    /// Rebuilds images.
    Rebuild,
    /// Prints help.
    Help,
}

/// A switch. All of coco's own options are switches; what has a value is an operand or a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Switch {
    /// `--dry-run`
    DryRun,
    /// `--long`
    Long,
    /// `--json`
    Json,
    /// `--bundled`
    Bundled,
    /// `--hard`
    Hard,
    /// `--force`
    Force,
    /// `--all`
    All,
    /// `--from URL`
    From,
    /// `--yes`
    Yes,
    /// `--store`
    Store,
    /// `--home`
    Home,
    /// `--revoke`
    Revoke,
    /// `--names`
    Names,
    /// `--learn`
    Learn,
    /// `--denied`
    Denied,
}

/// One row of the table of switches of a command.
#[derive(Debug)]
pub struct SwitchRow {
    /// Which.
    pub switch: Switch,
    /// The long spelling, without dashes.
    pub long: &'static str,
    /// The short spelling.
    pub short: Option<char>,
    /// What its value is called, if it has one.
    pub value: Option<&'static str>,
    /// What it does.
    pub help: &'static str,
}

/// How many operands a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operands {
    /// None.
    None,
    /// One at most.
    Optional,
    /// Exactly one.
    One,
    /// Any number.
    Any,
    /// One or more.
    Some,
    /// A tool, and then everything that follows is the tool's.
    ToolAndArguments,
}

/// One row of the table of commands.
#[derive(Debug)]
pub struct CommandRow {
    /// Which.
    pub command: Command,
    /// Its name.
    pub name: &'static str,
    /// Its operands for the usage line.
    pub usage: &'static str,
    /// How many operands it takes.
    pub operands: Operands,
    /// One line for the overview.
    pub summary: &'static str,
    /// More, for `coco help COMMAND`.
    pub details: &'static str,
    /// Its switches.
    pub switches: &'static [SwitchRow],
}

const fn switch(switch: Switch, long: &'static str, short: Option<char>, help: &'static str) -> SwitchRow {
    SwitchRow { switch, long, short, value: None, help }
}

const FROM: SwitchRow = SwitchRow {
    switch: Switch::From,
    long: "from",
    short: None,
    value: Some("URL"),
    help: "the store at this https or file address, this once",
};

const BUNDLED: SwitchRow = switch(Switch::Bundled, "bundled", None, "use only the store inside this program");

const JSON: SwitchRow = switch(Switch::Json, "json", None, "print JSON");

/// The table of commands, in the order of help.
pub const COMMANDS: &[CommandRow] = &[
    CommandRow {
        command: Command::Run,
        name: "run",
        usage: "TOOL [ARGUMENT...]",
        operands: Operands::ToolAndArguments,
        summary: "run a tool in its sandbox",
        details: "Everything after TOOL is the tool's own. The exit code is the tool's; 125 means that coco failed, 126 that the engine can't be started, 127 that there is no such tool. The first run builds the image and installs the tool.",
        switches: &[
            switch(Switch::DryRun, "dry-run", Some('n'), "print the engine's commands, run nothing"),
            switch(Switch::Learn, "learn", None, "allow every public host, and propose the allowed_hosts list"),
        ],
    },
    CommandRow {
        command: Command::List,
        name: "list",
        usage: "",
        operands: Operands::None,
        summary: "list the configured tools",
        details: "One name a line; on a terminal or with --long, a table.",
        switches: &[
            switch(Switch::Long, "long", Some('l'), "print a table: tool, version, network, origin, linked"),
            JSON,
        ],
    },
    CommandRow {
        command: Command::Get,
        name: "get",
        usage: "NAME...",
        operands: Operands::Some,
        summary: "fetch coco files from the store",
        details: "From COCO_STORE_BASE when that is set and answers, else from the store inside this program; it says which. The signature is checked first. A file that is there already is never overwritten.",
        switches: &[BUNDLED, FROM],
    },
    CommandRow {
        command: Command::Update,
        name: "update",
        usage: "[NAME...]",
        operands: Operands::Any,
        summary: "fetch newer coco files from where they came from",
        details: "Shows what each grants more and less. What grants more is asked about, and refused where nobody can be asked. Files that you changed are left as they are. The tools themselves stay at their versions: coco upgrade.",
        switches: &[
            BUNDLED,
            FROM,
            switch(Switch::Yes, "yes", Some('y'), "agree to all that is shown"),
            switch(
                Switch::Force,
                "force",
                None,
                "take the store's in place of what you changed; yours is kept beside it",
            ),
        ],
    },
    CommandRow {
        command: Command::Key,
        name: "key",
        usage: "list | add FILE | remove NAME",
        operands: Operands::Some,
        summary: "the keys that sign coco files: list, add, remove",
        details: "A store's files hold only if one of these keys signed them. Add a company's with the file that minisign -G wrote (NAME.pub); compare its number with who gave it to you.",
        switches: &[JSON],
    },
    CommandRow {
        command: Command::Up,
        name: "up",
        usage: "[NAME...]",
        operands: Operands::Any,
        summary: "link tools, so that they run by their names",
        details: "Links every configured tool, or those named, into ~/.local/bin (COCO_BIN_DIR). What is not coco's own is never replaced.",
        switches: &[
            switch(Switch::Hard, "hard", None, "make hard links"),
            switch(
                Switch::Force,
                "force",
                None,
                "link names that hide a shell, sudo, ssh, git, mise or an engine, too",
            ),
        ],
    },
    CommandRow {
        command: Command::Down,
        name: "down",
        usage: "[NAME...]",
        operands: Operands::Any,
        summary: "remove links",
        details: "Removes the links that lead to this program, all of them or those named, and nothing else.",
        switches: &[],
    },
    CommandRow {
        command: Command::Show,
        name: "show",
        usage: "NAME",
        operands: Operands::One,
        summary: "show what a tool may do, and the engine's commands",
        details: "The effective policy in words, then the exact command for the install phase and for the run.",
        switches: &[],
    },
    CommandRow {
        command: Command::Lint,
        name: "lint",
        usage: "[FILE|NAME...]",
        operands: Operands::Any,
        summary: "check coco files",
        details: "Checks the files, or the configured tools of those names, or all configured tools. Errors exit 1; warnings don't.",
        switches: &[switch(Switch::Store, "store", None, "also refuse what no store's file may have, and warnings")],
    },
    CommandRow {
        command: Command::Verify,
        name: "verify",
        usage: "[NAME...]",
        operands: Operands::Any,
        summary: "check installed coco files against their signatures",
        details: "Prints store, local or MODIFIED for each; exits 1 when one is MODIFIED.",
        switches: &[JSON],
    },
    CommandRow {
        command: Command::Log,
        name: "log",
        usage: "[TOOL]",
        operands: Operands::Optional,
        summary: "show which hosts tools have reached, and which were denied",
        details: "Oldest first, of the last few megabytes: time, tool, phase, verdict, host and port, bytes sent and received or the reason.",
        switches: &[switch(Switch::Denied, "denied", None, "only what was denied"), JSON],
    },
    CommandRow {
        command: Command::Search,
        name: "search",
        usage: "[WORD]",
        operands: Operands::Optional,
        summary: "look through the store inside this program",
        details: "Finds WORD in names, descriptions and ecosystems; without WORD, prints all. A star marks what is configured.",
        switches: &[JSON],
    },
    CommandRow {
        command: Command::Allow,
        name: "allow",
        usage: "NAME",
        operands: Operands::One,
        summary: "agree to a coco file that asks for something dangerous",
        details: "Prints what the file asks for and records its digest; any change of the file asks again. coco show NAME says more.",
        switches: &[
            switch(Switch::Home, "home", None, "agree also to its being started in your home directory"),
            switch(Switch::Revoke, "revoke", None, "take the agreement back"),
        ],
    },
    CommandRow {
        command: Command::Upgrade,
        name: "upgrade",
        usage: "[NAME...]",
        operands: Operands::Any,
        summary: "install the newest version of tools",
        details: "A tool stays at the version that was installed until this is called. A version that the coco file pins stays pinned.",
        switches: &[],
    },
    CommandRow {
        command: Command::Prune,
        name: "prune",
        usage: "",
        operands: Operands::None,
        summary: "remove download caches",
        details: "Removes download caches and installations that were replaced, and says how much came free. What a running tool uses is skipped by name.",
        switches: &[switch(Switch::All, "all", Some('a'), "also remove what belongs to tools without a coco file")],
    },
    CommandRow {
        command: Command::Rebuild,
        name: "rebuild",
        usage: "",
        operands: Operands::None,
        summary: "build the images anew, without cache",
        details: "Builds every stage that is in use, and reports when the base image's digest has changed.",
        switches: &[],
    },
    CommandRow {
        command: Command::Help,
        name: "help",
        usage: "[COMMAND]",
        operands: Operands::Optional,
        summary: "print help",
        details: "With COMMAND, its options.",
        switches: &[switch(Switch::Names, "names", None, "print the commands' names, one a line, for completion")],
    },
];

/// The row of a command by its typed name.
pub fn command_row(name: &str) -> Option<&'static CommandRow> {
    COMMANDS.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(name: &[u8]) -> Result<Applet, Error> {
        applet(Some(&OsStr::from_bytes(name).to_owned()))
    }

    #[test]
    fn the_whole_last_component_counts() {
        assert_eq!(by(b"/usr/bin/coco").unwrap(), Applet::Manage);
        assert_eq!(by(b"./coco").unwrap(), Applet::Manage);
        for name in ["python3.12", "eslint", "coco.exe", "cocox", "xcoco"] {
            assert_eq!(by(format!("../x/{name}").as_bytes()).unwrap(), Applet::Tool(ToolName::new(name).unwrap()));
        }
    }

    #[test]
    fn hostile_names_are_errors() {
        let long = vec![b'a'; 100_000];
        for name in [&b""[..], b"-bash", b"eslint/", b"a/..", b".", b"a\n", b"a b", b"\xff", b"COCO", &long] {
            assert!(by(name).is_err(), "{name:?}");
        }
        assert!(applet(None).is_err());
    }

    #[test]
    fn the_table_is_sound() {
        for row in COMMANDS {
            assert_eq!(
                COMMANDS.iter().filter(|other| other.name == row.name || other.command == row.command).count(),
                1
            );
            assert!(row.summary.len() <= 60 && !row.details.is_empty(), "{}", row.name);
        }
    }
}
