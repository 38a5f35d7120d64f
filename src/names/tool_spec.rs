//! mise tool specifiers.

use std::fmt;
use std::str::FromStr;

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

/// Checks a specifier. Each backend's alphabet is what its registry allows in a name, without
/// anything that mise reads as an option (`[`, `=`, `,`) and without a leading dash.
impl FromStr for ToolSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("{text:?} is not a valid tool specifier: {why}");
        let (backend, rest) = match text.split_once(':') {
            None => (Backend::Core, text),
            Some((prefix, rest)) => match Backend::ALL.iter().find(|(_, name)| *name == prefix) {
                Some((backend, _)) => (*backend, rest),
                None => return Err(bad("the part before ':' must be one of npm, pipx, cargo, go, gem")),
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
}

impl ToolSpec {
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
