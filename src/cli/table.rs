//! The one table of commands and their switches: the parser, help and completion read it. Pure.

/// A command of coco.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Runs a tool.
    Run,
    /// Lists the configured tools.
    List,
    /// Fetches coco files.
    Get,
    /// Fetches newer coco files.
    Update,
    /// Lists, adds and removes keys.
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
    /// Shows which hosts were reached and denied.
    Log,
    /// Searches the store.
    Search,
    /// Records consent.
    Allow,
    /// Installs the newest version.
    Upgrade,
    /// Frees space.
    Prune,
    /// Rebuilds the images.
    Rebuild,
    /// Prints help.
    Help,
}

/// An option of coco's own.
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

/// One option of a command.
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
    /// A tool; everything after it is the tool's own.
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
    help: "use the store at this https or file address, this once",
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
        details: "Everything after TOOL is the tool's own. The exit code is the tool's; 125 means that coco failed, 126 that the engine did not start the sandbox, 127 that there is no such tool. The first run builds the image and installs the tool.",
        switches: &[
            switch(Switch::DryRun, "dry-run", Some('n'), "print the engine's commands, run nothing"),
            switch(Switch::Learn, "learn", None, "allow any public host; print the allowed_hosts list"),
        ],
    },
    CommandRow {
        command: Command::List,
        name: "list",
        usage: "",
        operands: Operands::None,
        summary: "list the configured tools",
        details: "Prints one name per line. On a terminal or with --long, prints a table.",
        switches: &[switch(Switch::Long, "long", Some('l'), "print a table with tool, version, network, origin"), JSON],
    },
    CommandRow {
        command: Command::Get,
        name: "get",
        usage: "NAME...",
        operands: Operands::Some,
        summary: "fetch coco files from the store",
        details: "Fetches from COCO_STORE_BASE if that is set and can be reached, otherwise from the store inside this program, and says which. The signature is checked first. An existing file is never overwritten.",
        switches: &[BUNDLED, FROM],
    },
    CommandRow {
        command: Command::Update,
        name: "update",
        usage: "[NAME...]",
        operands: Operands::Any,
        summary: "fetch newer coco files from where they came from",
        details: "Shows what each new file grants in addition, and what it no longer grants. A file that grants more is written only if you agree; without a terminal it is refused. Files that you changed stay as they are. The tools themselves keep their versions; coco upgrade changes those.",
        switches: &[
            BUNDLED,
            FROM,
            switch(Switch::Yes, "yes", Some('y'), "agree to everything that is shown"),
            switch(Switch::Force, "force", None, "replace files that you changed, and keep copies of yours"),
        ],
    },
    CommandRow {
        command: Command::Key,
        name: "key",
        usage: "list | add FILE | remove NAME",
        operands: Operands::Some,
        summary: "list, add and remove the keys that may sign coco files",
        details: "A store's files are valid only if one of these keys has signed them. To add a company's key, use the file that minisign -G wrote (NAME.pub), and check the key's number with its owner.",
        switches: &[JSON],
    },
    CommandRow {
        command: Command::Up,
        name: "up",
        usage: "[NAME...]",
        operands: Operands::Any,
        summary: "link tools, so that they run by their own names",
        details: "Links every configured tool, or the named ones, into ~/.local/bin (COCO_BIN_DIR). Files that are not coco's links are never replaced.",
        switches: &[
            switch(Switch::Hard, "hard", None, "make hard links"),
            switch(Switch::Force, "force", None, "also link names of a shell, sudo, ssh, git, mise or an engine"),
        ],
    },
    CommandRow {
        command: Command::Down,
        name: "down",
        usage: "[NAME...]",
        operands: Operands::Any,
        summary: "remove links",
        details: "Removes the links to this program, all of them or the named ones, and nothing else.",
        switches: &[],
    },
    CommandRow {
        command: Command::Show,
        name: "show",
        usage: "NAME",
        operands: Operands::One,
        summary: "show what a tool may do, and the engine's commands",
        details: "Prints in words what the tool may do, then the exact commands for the install phase and for the run.",
        switches: &[],
    },
    CommandRow {
        command: Command::Lint,
        name: "lint",
        usage: "[FILE|NAME...]",
        operands: Operands::Any,
        summary: "check coco files",
        details: "Checks these files, or the configured tools of these names, or all configured tools. Exits with 1 for an error, not for a warning.",
        switches: &[switch(Switch::Store, "store", None, "also refuse warnings, and what a store may not offer")],
    },
    CommandRow {
        command: Command::Verify,
        name: "verify",
        usage: "[NAME...]",
        operands: Operands::Any,
        summary: "check installed coco files against their signatures",
        details: "Prints store, local or MODIFIED for each. Exits with 1 if one is MODIFIED.",
        switches: &[JSON],
    },
    CommandRow {
        command: Command::Log,
        name: "log",
        usage: "[TOOL]",
        operands: Operands::Optional,
        summary: "show which hosts tools have reached, and which were denied",
        details: "Prints the last few megabytes of the log, oldest first: time, tool, phase, verdict, host and port, and the bytes sent and received or the reason for a denial.",
        switches: &[switch(Switch::Denied, "denied", None, "show only what was denied"), JSON],
    },
    CommandRow {
        command: Command::Search,
        name: "search",
        usage: "[WORD]",
        operands: Operands::Optional,
        summary: "search the store inside this program",
        details: "Searches names, descriptions and ecosystems for WORD; without WORD, prints everything. A star marks the configured tools.",
        switches: &[JSON],
    },
    CommandRow {
        command: Command::Allow,
        name: "allow",
        usage: "NAME",
        operands: Operands::One,
        summary: "agree to a coco file that asks for something dangerous",
        details: "Prints what the file asks for and records the file's digest. A change of the file needs a new agreement. coco show NAME prints more.",
        switches: &[
            switch(Switch::Home, "home", None, "also let the tool start in your home directory"),
            switch(Switch::Revoke, "revoke", None, "take the agreement back"),
        ],
    },
    CommandRow {
        command: Command::Upgrade,
        name: "upgrade",
        usage: "[NAME...]",
        operands: Operands::Any,
        summary: "install the newest version of tools",
        details: "A tool stays at its installed version until you run this command. A version that is pinned in the coco file stays.",
        switches: &[],
    },
    CommandRow {
        command: Command::Prune,
        name: "prune",
        usage: "",
        operands: Operands::None,
        summary: "remove caches, and what coco left unused in the engine",
        details: "Removes download caches and replaced installations, and prints how much disk space that freed. In the engine, it removes unused images of coco, and containers of starts and builds that were killed. It skips what a running tool uses, and names it.",
        switches: &[switch(Switch::All, "all", Some('a'), "also remove everything of tools without a coco file")],
    },
    CommandRow {
        command: Command::Rebuild,
        name: "rebuild",
        usage: "",
        operands: Operands::None,
        summary: "build the images again, without cache",
        details: "Builds every stage that is in use, and reports a changed digest of the base image.",
        switches: &[],
    },
    CommandRow {
        command: Command::Help,
        name: "help",
        usage: "[COMMAND]",
        operands: Operands::Optional,
        summary: "print help",
        details: "Prints the commands, or with COMMAND its operands and options.",
        switches: &[switch(Switch::Names, "names", None, "print the command names, one per line, for completion")],
    },
];

/// The row of a command by its typed name.
pub fn command_row(name: &str) -> Option<&'static CommandRow> {
    COMMANDS.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

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
