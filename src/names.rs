//! Checked names: every string of a coco file that reaches an engine, a shell-less argument vector
//! or the file system passes through a constructor here, and its type is the proof.
//!
//! Shared with `build.rs`; pure, no I/O, nothing of the program but the standard library.
//! A constructor's error is the sentence a user reads: what is wrong, lower case, no full stop.

use std::fmt;

/// Names that no tool may have: the program's own, as it is called on the host and inside.
pub const OWN_NAMES: &[&str] = &["coco", "coco-init", "coco-guard"];

macro_rules! checked_string {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The checked text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

checked_string!(
    /// A tool's name: `[a-z0-9][a-z0-9._+-]*`, at most 64 bytes, none of [`OWN_NAMES`].
    ToolName
);
checked_string!(
    /// The name of an environment variable: `[A-Za-z_][A-Za-z0-9_]*`, at most 128 bytes.
    EnvName
);
checked_string!(
    /// A program to be found on the PATH inside: a file name, no slash, no leading dash.
    ProgramName
);
checked_string!(
    /// A Debian package name: lower case letters, digits, `+`, `-`, `.`; Debian policy 5.6.1.
    AptName
);
checked_string!(
    /// An absolute path inside the sandbox, normalised, outside the places that coco owns.
    GuestPath
);
checked_string!(
    /// The name of an engine's network: letters, digits, `_`, `.`, `-`.
    NetworkName
);
checked_string!(
    /// A path relative to a mount, without `..`.
    RelativePath
);
checked_string!(
    /// A host that a tool may reach: `name`, `*.name`, each with an optional `:port`.
    HostPattern
);

impl ToolName {
    /// Checks a tool's name.
    pub fn new(text: &str) -> Result<Self, String> {
        let shape = "a tool's name is lower case letters, digits, '.', '_', '+' and '-', at most 64 bytes";
        let first = text.bytes().next().ok_or_else(|| format!("the name is empty; {shape}"))?;
        if text.len() > 64 {
            return Err(format!("the name is {} bytes long; {shape}", text.len()));
        }
        if !(first.is_ascii_lowercase() || first.is_ascii_digit())
            || !text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._+-".contains(&byte))
        {
            return Err(format!("{text:?} is no tool's name; {shape}"));
        }
        if OWN_NAMES.contains(&text) {
            return Err(format!("{text:?} is coco's own name"));
        }
        Ok(ToolName(text.to_owned()))
    }
}

impl EnvName {
    /// Checks the shape of a variable's name.
    pub fn new(text: &str) -> Result<Self, String> {
        let good = text.len() <= 128
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !good {
            return Err(format!("{text:?} is no name of a variable; letters, digits and '_' only, no wildcard"));
        }
        Ok(EnvName(text.to_owned()))
    }

    /// Whether a coco file may *set* this variable. `PATH` and the loader's variables decide which
    /// program runs, and coco's and mise's own ones are not for a tool.
    pub fn may_be_set(&self) -> bool {
        let name = self.as_str();
        !matches!(name, "PATH" | "HOME" | "LD_PRELOAD" | "LD_LIBRARY_PATH" | "LD_AUDIT")
            && !name.starts_with("COCO_")
            && !name.starts_with("MISE_")
    }

    /// Whether the caller's value may be passed in. A variable that makes a program load or run
    /// something is a way to steer the tool from a project's `.envrc`; such a value has to stand
    /// in the coco file, where it is read and signed.
    pub fn may_pass_through(&self) -> bool {
        const STEERING: &[&str] = &[
            "NODE_OPTIONS",
            "NODE_PATH",
            "BASH_ENV",
            "ENV",
            "SHELLOPTS",
            "BASHOPTS",
            "PS4",
            "PROMPT_COMMAND",
            "IFS",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "PYTHONHOME",
            "PYTHONINSPECT",
            "PERL5OPT",
            "PERL5LIB",
            "PERL5DB",
            "RUBYOPT",
            "RUBYLIB",
            "JAVA_TOOL_OPTIONS",
            "_JAVA_OPTIONS",
            "JDK_JAVA_OPTIONS",
            "GIT_SSH_COMMAND",
            "GIT_EXEC_PATH",
            "RUSTC_WRAPPER",
            "RUSTC",
            "GCONV_PATH",
            "ZDOTDIR",
            "XDG_RUNTIME_DIR",
        ];
        let name = self.as_str();
        let upper = name.to_ascii_uppercase();
        self.may_be_set()
            && !name.starts_with("LD_")
            && !name.starts_with("DYLD_")
            && !name.starts_with("BASH_FUNC_")
            && !name.starts_with("GIT_CONFIG")
            && !STEERING.contains(&name)
            && !matches!(upper.as_str(), "HTTP_PROXY" | "HTTPS_PROXY" | "ALL_PROXY" | "FTP_PROXY")
    }

    /// Whether the name looks like a secret's or an agent's; `coco lint` warns about those.
    pub fn looks_secret(&self) -> bool {
        let upper = self.as_str().to_ascii_uppercase();
        [
            "TOKEN",
            "SECRET",
            "PASSWORD",
            "PASSWD",
            "API_KEY",
            "APIKEY",
            "PRIVATE_KEY",
            "CREDENTIAL",
            "ACCESS_KEY",
            "AUTH_SOCK",
            "AGENT",
        ]
        .iter()
        .any(|word| upper.contains(word))
    }
}

impl ProgramName {
    /// Checks a program's name.
    pub fn new(text: &str) -> Result<Self, String> {
        let good = text.len() <= 64
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-@".contains(&byte));
        if !good {
            return Err(format!(
                "{text:?} is no program's name; letters, digits, '.', '_', '+', '-', no path, no arguments"
            ));
        }
        Ok(ProgramName(text.to_owned()))
    }
}

impl AptName {
    /// Checks a Debian package's name (two characters at least, Debian policy 5.6.1).
    pub fn new(text: &str) -> Result<Self, String> {
        let good = (2..=128).contains(&text.len())
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte));
        // `apt-get install x-` removes x, and `x+` installs it: the suffix is an operator there.
        if !good || text.ends_with('-') {
            return Err(format!("{text:?} is no Debian package name"));
        }
        Ok(AptName(text.to_owned()))
    }
}

/// Where the sandbox keeps what is coco's: mounts of a coco file stay out of these.
const OWNED_GUEST_TREES: &[&str] =
    &["/proc", "/sys", "/dev", "/coco", "/run", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/boot", "/var/run"];

/// Directories that the sandbox mounts or needs themselves; below them there is room.
const SANDBOX_PLACES: &[&str] = &["/", "/tmp", "/var", "/var/tmp", "/home", "/root", "/root/.cache"];

impl GuestPath {
    /// Checks a mount's destination: absolute, without `.` and `..`, and outside what the sandbox
    /// itself needs, because a mount there would replace the helper, the names or the loader.
    pub fn new(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("{text:?} is not absolute"));
        };
        if text.len() > 4096 || text.chars().any(char::is_control) {
            return Err(format!("{text:?} has control characters or is too long"));
        }
        let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        if parts.iter().any(|part| *part == "." || *part == "..") {
            return Err(format!("{text:?} has '.' or '..' in it; write the path that is meant"));
        }
        let path = format!("/{}", parts.join("/"));
        if SANDBOX_PLACES.contains(&path.as_str()) {
            return Err(format!("{text:?} is a place of the sandbox itself; mount below it"));
        }
        if let Some(tree) = OWNED_GUEST_TREES.iter().find(|tree| is_within(&path, tree)) {
            return Err(format!("{text:?} is inside {tree}, which the sandbox itself needs"));
        }
        Ok(GuestPath(path))
    }
}

fn is_within(path: &str, tree: &str) -> bool {
    path.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl NetworkName {
    /// Checks the name of an engine's network (podman's and docker's alphabet). The engines' own
    /// modes (`container:x`, `ns:/path`, `slirp4netns:...`) need a colon, so they can't be written.
    pub fn new(text: &str) -> Result<Self, String> {
        let good = text.len() <= 128
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        // Bare words that the engines read as a mode and not as a network's name.
        if !good || matches!(text, "bridge" | "private" | "slirp4netns" | "pasta" | "container" | "ns" | "nat") {
            return Err(format!("{text:?} is neither none, public, default, host nor an engine network's name"));
        }
        Ok(NetworkName(text.to_owned()))
    }
}

impl RelativePath {
    /// Checks a relative path without `.`, `..` or empty parts.
    pub fn new(text: &str) -> Result<Self, String> {
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        let bad = trimmed.is_empty()
            || trimmed.len() > 1024
            || trimmed.chars().any(char::is_control)
            || trimmed.split('/').any(|part| matches!(part, "" | "." | ".."));
        if bad {
            return Err(format!("{text:?} is no path relative to the mount; write for example \".git/hooks\""));
        }
        Ok(RelativePath(trimmed.to_owned()))
    }
}

impl HostPattern {
    /// Checks a host pattern. Names are ASCII; an IDN is written in its `xn--` form. No IP
    /// literals in any spelling: a name whose last label is numeric could be read as an address.
    pub fn new(text: &str) -> Result<Self, String> {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        if let Some(port) = port {
            let _: Port = Port::new(port)?;
        }
        let lower = host.to_ascii_lowercase();
        let name = lower.strip_prefix("*.").unwrap_or(&lower);
        let labels: Vec<&str> = name.split('.').collect();
        let good_label = |label: &&str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() > 253 || !labels.iter().all(good_label) {
            return Err(format!(
                "{text:?} is no host; write \"api.example.com\", \"*.example.com\" or \"example.com:8443\""
            ));
        }
        let last = labels.last().copied().unwrap_or("");
        if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") {
            return Err(format!("{text:?} looks like an address; hosts are granted by name"));
        }
        if labels.len() < 2 {
            return Err(format!("{text:?} has one label only; a whole top-level domain can't be granted"));
        }
        Ok(HostPattern(match port {
            Some(port) => format!("{lower}:{port}"),
            None => lower,
        }))
    }
}

/// A TCP port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port(u16);

impl Port {
    /// Checks a port in decimal digits.
    pub fn new(text: &str) -> Result<Self, String> {
        let digits = !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u16>() {
            Ok(port) if digits && port > 0 => Ok(Port(port)),
            _ => Err(format!("{text:?} is no port; 1 to 65535")),
        }
    }

    /// The number.
    pub fn number(self) -> u16 {
        self.0
    }
}

/// A port of the sandbox published on the host: `[ip:]host:container[/tcp]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPort {
    /// The host's address; loopback unless the coco file names another.
    pub address: std::net::IpAddr,
    /// The host's port.
    pub host: Port,
    /// The port inside.
    pub container: Port,
}

impl PublishedPort {
    /// Checks one entry of `ports`. An IPv6 address stands in brackets.
    pub fn new(text: &str) -> Result<Self, String> {
        let shape = || format!("{text:?} is not of the form [ip:]host:container[/tcp]");
        let body = text.strip_suffix("/tcp").unwrap_or(text);
        let (rest, container) = body.rsplit_once(':').ok_or_else(shape)?;
        let (address, host) = match rest.rsplit_once(':') {
            Some((address, host)) => (Some(address), host),
            None => (None, rest),
        };
        let address = match address {
            None => std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            Some(address) => match address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
                Some(six) => std::net::IpAddr::V6(six.parse().map_err(|_| shape())?),
                None => std::net::IpAddr::V4(address.parse().map_err(|_| shape())?),
            },
        };
        Ok(PublishedPort { address, host: Port::new(host)?, container: Port::new(container)? })
    }
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            std::net::IpAddr::V4(four) => write!(formatter, "{four}:{}:{}", self.host.0, self.container.0),
            std::net::IpAddr::V6(six) => write!(formatter, "[{six}]:{}:{}", self.host.0, self.container.0),
        }
    }
}

/// Who installs a tool: mise's backends, as they are written before the colon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// A runtime or tool that mise's own core or registry knows by a bare name (`node`, `uv`).
    Core,
    /// `npm:`
    Npm,
    /// `pipx:`
    Pipx,
    /// `cargo:`
    Cargo,
    /// `go:`
    Go,
    /// `gem:`
    Gem,
}

impl Backend {
    /// Every backend with its prefix; [`Backend::Core`] has none.
    pub const ALL: &'static [(Backend, &'static str)] = &[
        (Backend::Npm, "npm"),
        (Backend::Pipx, "pipx"),
        (Backend::Cargo, "cargo"),
        (Backend::Go, "go"),
        (Backend::Gem, "gem"),
    ];
}

/// mise's core runtimes: installing one runs no package's code, so they may share a volume.
pub const RUNTIMES: &[&str] = &["node", "python", "rust", "ruby", "go", "java", "deno", "bun", "zig"];

/// A mise tool specifier, `[backend:]name[@version]`, such as `npm:@scope/tool@1.2` or `node@lts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolSpec {
    /// The backend.
    pub backend: Backend,
    /// The package's name in the backend's own alphabet.
    pub package: String,
    /// The wanted version; `None` means the latest.
    pub version: Option<String>,
}

impl ToolSpec {
    /// Checks a specifier. Each backend's alphabet is what its registry allows in a name, without
    /// anything that mise reads as an option (`[`, `=`, `,`) and without a leading dash.
    pub fn new(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("{text:?} is no tool specifier: {why}");
        let (backend, rest) = match text.split_once(':') {
            None => (Backend::Core, text),
            Some((prefix, rest)) => match Backend::ALL.iter().find(|(_, name)| *name == prefix) {
                Some((backend, _)) => (*backend, rest),
                None => return Err(bad("the part before ':' is none of npm, pipx, cargo, go, gem")),
            },
        };
        // The '@' of an npm scope stands first; a version's never does.
        let version_at = rest.char_indices().skip(1).find(|(_, letter)| *letter == '@').map(|(at, _)| at);
        let (package, version) = match version_at.and_then(|at| rest.split_at_checked(at)) {
            Some((package, version)) => (package, Some(version.strip_prefix('@').unwrap_or(version))),
            None => (rest, None),
        };
        if !package_is_well_formed(backend, package) {
            return Err(bad("the package's name has letters that its registry does not allow"));
        }
        if let Some(version) = version {
            let good = (1..=64).contains(&version.len())
                && version.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
                && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-_".contains(&byte));
            if !good {
                return Err(bad("the version is letters, digits, '.', '+', '-' and '_'"));
            }
        }
        Ok(ToolSpec { backend, package: package.to_owned(), version: version.map(str::to_owned) })
    }

    /// Whether the image's own program is meant (`node@system`), so that there is nothing to install.
    pub fn is_system(&self) -> bool {
        self.version.as_deref() == Some("system")
    }

    /// Whether this is one of mise's core runtimes, whose installation runs no package code.
    pub fn is_runtime(&self) -> bool {
        self.backend == Backend::Core && RUNTIMES.contains(&self.package.as_str())
    }

    /// The same tool at another version.
    #[must_use]
    pub fn at(&self, version: &str) -> Self {
        ToolSpec { version: Some(version.to_owned()), ..self.clone() }
    }
}

fn package_is_well_formed(backend: Backend, package: &str) -> bool {
    let plain = |text: &str, extra: &[u8]| {
        (1..=128).contains(&text.len())
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
    };
    match backend {
        Backend::Core | Backend::Cargo => plain(package, b"_-"),
        Backend::Pipx | Backend::Gem => plain(package, b"._-"),
        Backend::Npm => match package.strip_prefix('@') {
            None => plain(package, b"._-"),
            Some(scoped) => {
                scoped.split_once('/').is_some_and(|(scope, name)| plain(scope, b"._-") && plain(name, b"._-"))
            }
        },
        Backend::Go => {
            package.split('/').all(|part| plain(part, b"._~-")) && package.contains('/') && package.contains('.')
        }
    }
}

impl fmt::Display for ToolSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((_, prefix)) = Backend::ALL.iter().find(|(backend, _)| *backend == self.backend) {
            write!(formatter, "{prefix}:")?;
        }
        formatter.write_str(&self.package)?;
        match &self.version {
            Some(version) => write!(formatter, "@{version}"),
            None => Ok(()),
        }
    }
}

/// The known name that is nearest to what was typed, for "did you mean"; at most two edits away.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (edit_distance(typed, name), name))
        .filter(|(distance, name)| *distance <= 2 && *distance < name.chars().count())
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance; inputs are short names.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(80).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().take(80).enumerate() {
        let mut diagonal = line;
        let mut previous = line + 1;
        let mut next = vec![previous];
        for (to, above) in right.iter().zip(row.iter().skip(1)) {
            let cost = if from == *to { diagonal } else { 1 + diagonal.min(*above).min(previous) };
            diagonal = *above;
            previous = cost;
            next.push(cost);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tool_names() {
        for good in ["eslint", "python3.12", "g++", "7z", "a", "x-y_z"] {
            assert!(ToolName::new(good).is_ok(), "{good}");
        }
        let long = "a".repeat(65);
        for bad in ["", ".", "..", "-x", "a/b", "../x", "A", "a b", "a\n", "a\0", "é", "coco", "coco-init", &long] {
            assert!(ToolName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn guest_paths_stay_out_of_the_sandbox_itself() {
        for good in ["/workspace", "/home/u/x", "/root/.config/x", "/opt/a b", "//srv//x/"] {
            assert!(GuestPath::new(good).is_ok(), "{good}");
        }
        assert_eq!(GuestPath::new("//srv//x/").unwrap().as_str(), "/srv/x");
        for bad in [
            "",
            "x",
            "./x",
            "/",
            "//",
            "/proc",
            "/proc/1",
            "/dev/x",
            "/sys",
            "/coco/data",
            "/run/coco/coco-init",
            "/etc/resolv.conf",
            "/usr/bin",
            "/a/../etc",
            "/a/./b",
            "/tmp",
            "/root",
            "/a\nb",
            "/a\0",
            "/lib64/x",
        ] {
            assert!(GuestPath::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn environment_names() {
        for bad in ["", "1A", "A-B", "A=B", "A*", "LC_*", "A\n", "A B"] {
            assert!(EnvName::new(bad).is_err(), "{bad:?}");
        }
        for bad in [
            "PATH",
            "LD_PRELOAD",
            "NODE_OPTIONS",
            "BASH_ENV",
            "MISE_TRUSTED_CONFIG_PATHS",
            "COCO_IMAGE",
            "HTTPS_PROXY",
            "http_proxy",
            "PYTHONPATH",
            "GIT_CONFIG_COUNT",
            "LD_AUDIT",
        ] {
            assert!(!EnvName::new(bad).unwrap().may_pass_through(), "{bad}");
        }
        for good in ["TERM", "LANG", "NO_COLOR", "ANTHROPIC_API_KEY"] {
            assert!(EnvName::new(good).unwrap().may_pass_through(), "{good}");
        }
        assert!(EnvName::new("GITHUB_TOKEN").unwrap().looks_secret());
        assert!(EnvName::new("SSH_AUTH_SOCK").unwrap().looks_secret());
        assert!(!EnvName::new("TERM").unwrap().looks_secret());
    }

    #[test]
    fn tool_specifiers() {
        for good in [
            "npm:eslint",
            "npm:@scope/tool@1.2.3",
            "pipx:ruff@0.6",
            "cargo:ripgrep",
            "node@lts",
            "uv",
            "go:golang.org/x/tools/gopls@v0.16.0",
            "gem:rubocop",
            "python@system",
        ] {
            assert_eq!(ToolSpec::new(good).unwrap().to_string(), good);
        }
        assert!(ToolSpec::new("node@system").unwrap().is_system());
        for bad in [
            "",
            "npm:",
            "npm:-x",
            "npm:a b",
            "npm:a;b",
            "npm:a\n",
            "npm:$(x)",
            "ubi:x/y",
            "npm:a@",
            "npm:a@-1",
            "npm:@a",
            "npm:@a/b/c",
            "npm:../x",
            "-x",
            "cargo:a[b]",
            "go:x",
            "go:h.st/../x",
            "npm:a@1@2",
            "asdf:x",
            "pipx:git+x",
        ] {
            assert!(ToolSpec::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hosts() {
        for good in ["api.example.com", "*.example.com", "example.com:8443", "xn--bcher-kva.example"] {
            assert!(HostPattern::new(good).is_ok(), "{good}");
        }
        let long = format!("{}.com", "a".repeat(64));
        for bad in [
            "",
            "*",
            ".",
            "#",
            "localhost",
            "a/b",
            "a\nb.com",
            "com",
            "*.com",
            "a..b",
            "a.com.",
            "1.2.3.4",
            "0x7f.1",
            "127.1",
            "[::1]",
            "a.com:0",
            "a.com:99999",
            "a.com:",
            "*.*.com",
            "a.*.com",
            "https://a.com",
            "a b.com",
            "bücher.example",
            &long,
        ] {
            assert!(HostPattern::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ports() {
        assert_eq!(PublishedPort::new("8080:80").unwrap().to_string(), "127.0.0.1:8080:80");
        assert_eq!(PublishedPort::new("0.0.0.0:1:2/tcp").unwrap().to_string(), "0.0.0.0:1:2");
        assert_eq!(PublishedPort::new("[::1]:1:2").unwrap().to_string(), "[::1]:1:2");
        for bad in [
            "",
            "80",
            "80:",
            ":80",
            "0:80",
            "80:0",
            "70000:1",
            "a:1:2",
            "1.2.3:1:2",
            "1:2/udp",
            "::1:1:2",
            "+1:2",
            "1:2:3:4",
        ] {
            assert!(PublishedPort::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn debian_names_are_no_operators() {
        assert!(AptName::new("g++").is_ok());
        for bad in ["", "a", "vim-", "-y", "a b", "A", "x=1", "./x.deb", "x/testing"] {
            assert!(AptName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_nearest_name() {
        assert_eq!(nearest("mount", ["mounts", "env"]), Some("mounts"));
        assert_eq!(nearest("envv", ["mounts", "env"]), Some("env"));
        assert_eq!(nearest("zzz", ["mounts", "env"]), None);
    }
}
