//! Which environment variables steer whom: what a coco file may set or pass, what reaches an engine's client, and
//! by which variables clients find a CA bundle.

use crate::names::EnvName;

/// Whether a coco file may *set* this variable. `PATH` and the loader's variables decide which
/// program runs, and coco's and mise's own ones are not for a tool.
pub fn may_be_set(name: &EnvName) -> bool {
    let name = name.as_str();
    !matches!(name, "PATH" | "HOME" | "LD_PRELOAD" | "LD_LIBRARY_PATH" | "LD_AUDIT")
        && !name.starts_with("COCO_")
        && !name.starts_with("MISE_")
}

/// What becomes of the caller's value of a variable in `env_passthrough`. The closed variant stands first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum PassThrough {
    /// An error, with the reason: it steers the sandbox itself, the loader or a shell's start.
    Refused(&'static str),
    /// Passed, and `coco lint` says why it warns. A store's file may not have it.
    SteersCode(&'static str),
    /// Passed.
    Plain,
}

/// What becomes of the caller's value of this variable.
///
/// The value is a stranger's choice as soon as a project's `.envrc` sets it. A tool that it steers still has no
/// more than its coco file grants; so what steers code *inside* the sandbox is the user's to grant. What
/// acts before the tool, on every program in the sandbox, or on what coco promises of it, is nobody's.
pub fn pass_through(name: &EnvName) -> PassThrough {
    let reason = |list: &[(&[&str], &'static str)]| {
        let matching = list.iter().find(|(patterns, _)| patterns.iter().any(|pattern| matches(pattern, name.as_str())));
        matching.map(|(_, reason)| *reason)
    };
    match (reason(NEVER_PASSED), reason(STEERS_CODE)) {
        (Some(reason), _) => PassThrough::Refused(reason),
        (None, Some(reason)) => PassThrough::SteersCode(reason),
        (None, None) => PassThrough::Plain,
    }
}

/// Whether a name fits a pattern, in which `*` is any text. In any case: curl reads `http_proxy`, npm its
/// `npm_config_*` as it comes, and nothing needs a variable that differs from one of these by its case alone.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_uppercase(), name.to_ascii_uppercase());
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => name.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
    }
}

/// Variables whose caller's value never reaches a tool, with the reason.
pub const NEVER_PASSED: &[(&[&str], &str)] = &[
    (&["COCO_*"], "it steers coco itself"),
    (&["MISE_*"], "it steers mise, whose installation is recorded and not asked again"),
    (&["PATH", "HOME"], "it decides which programs and settings are found, and coco sets it"),
    (&["XDG_RUNTIME_DIR"], "it names a directory of the host's with sockets, which is not in the sandbox"),
    // ld.so(8). DYLD_* are macOS's, for a virtual machine's other side.
    (&["LD_*", "DYLD_*", "GLIBC_TUNABLES"], "the loader takes libraries and settings from it, for every program"),
    // iconv_open(3), setlocale(7): glibc takes code (GCONV_PATH) or data (LOCPATH) from there.
    (&["GCONV_PATH", "LOCPATH"], "the C library loads code or data from there, in every program"),
    // bash(1), sh(1), zsh(1): files that are read, functions that are defined, options that are on.
    (&["BASH_ENV", "ENV", "ZDOTDIR", "FPATH"], "a shell runs what it names when it starts"),
    (&["BASH_FUNC_*"], "bash defines a function of its own from it, by any command's name"),
    (&["SHELLOPTS", "BASHOPTS", "IFS"], "it changes how every shell reads its scripts"),
    (&["PS0", "PS1", "PS2", "PS4", "PROMPT_COMMAND"], "a shell runs the commands in it"),
    // It often holds a password, and names a host that only an engine's network would reach. coco itself
    // honours the caller's proxy, on the host. NO_PROXY alone does nothing, and passes.
    (
        &["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY"],
        "a proxy is coco's to use, outside; its password stays there",
    ),
];

/// Variables that steer code inside the sandbox and nothing else, with what they do.
pub const STEERS_CODE: &[(&[&str], &str)] = &[
    (&["NODE_OPTIONS", "NODE_PATH", "NODE_REPL_EXTERNAL_MODULE"], "node loads code from where it says"),
    (&["npm_config_*", "pnpm_config_*", "YARN_*", "COREPACK_*"], "node's package managers take any setting from it"),
    (
        &[
            "PYTHONPATH",
            "PYTHONHOME",
            "PYTHONSTARTUP",
            "PYTHONINSPECT",
            "PYTHONUSERBASE",
            "PYTHONBREAKPOINT",
            "PYTHONWARNINGS",
            "PYTHONPLATLIBDIR",
        ],
        "python loads code from where it says",
    ),
    (&["PIP_*", "PIPX_*", "UV_*"], "python's package managers take any setting from it"),
    (&["PERL5OPT", "PERL5LIB", "PERLLIB", "PERL5DB"], "perl loads code from where it says"),
    (&["RUBYOPT", "RUBYLIB", "GEM_HOME", "GEM_PATH", "BUNDLE_*"], "ruby loads code from where it says"),
    (
        &[
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTDOC",
            "RUSTFLAGS",
            "RUSTDOCFLAGS",
            "CARGO_ENCODED_RUST*FLAGS",
            "CARGO_BUILD_*",
            "CARGO_HOME",
            "CARGO_TARGET_*_LINKER",
            "CARGO_TARGET_*_RUNNER",
            "CARGO_TARGET_*_RUSTFLAGS",
            "RUSTUP_*",
        ],
        "cargo runs the compilers, linkers and wrappers that it names",
    ),
    (&["GOFLAGS", "GOENV", "GOROOT", "GOPATH", "GOTOOLCHAIN", "GOPROXY", "CGO_*"], "go runs or fetches what it names"),
    (
        &["CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "MAKEFLAGS", "MAKEFILES"],
        "builds run the compiler, and read the files, that it names",
    ),
    (
        &["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH", "MAVEN_OPTS", "GRADLE_OPTS"],
        "java loads code from where it says",
    ),
    // git(1): programs that git runs. GIT_CONFIG_COUNT and its like set any setting, and many settings name a
    // program; but it runs inside, and what git keeps in the project is protected there all the same.
    (
        &[
            "GIT_CONFIG*",
            "GIT_SSH",
            "GIT_SSH_COMMAND",
            "GIT_ASKPASS",
            "GIT_EXEC_PATH",
            "GIT_EXTERNAL_DIFF",
            "GIT_PROXY_COMMAND",
            "GIT_TEMPLATE_DIR",
            "SSH_ASKPASS",
        ],
        "git runs the programs that it names",
    ),
    (&["LESSOPEN", "LESSCLOSE"], "less runs the commands in it"),
    (&["LUA_INIT*", "LUA_PATH*", "LUA_CPATH*"], "lua loads code from where it says"),
];

/// Whether the name looks like a secret's or an agent's; `coco lint` warns about those.
pub fn looks_secret(name: &EnvName) -> bool {
    let upper = name.as_str().to_ascii_uppercase();
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

/// Variables that only change how output looks. Without them a tool would not behave like the bare one.
pub const PRESENTATION: &[&str] = &["TERM", "COLORTERM", "NO_COLOR"];

/// Variables that name the socket of an agent, an engine or a message bus.
pub const SOCKET_VARIABLES: &[&str] = &["SSH_AUTH_SOCK", "DOCKER_HOST", "CONTAINER_HOST", "DBUS_SESSION_BUS_ADDRESS"];

/// The variables by which clients find a CA bundle, each with the client that reads it: OpenSSL and
/// Go, node, requests, pip, cargo, git, curl.
pub const CA_VARIABLES: &[&str] = &[
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "GIT_SSL_CAINFO",
    "CURL_CA_BUNDLE",
];

/// A variable that chooses an engine's configuration, storage or service: containers.conf(5),
/// storage.conf(5), podman(1), docker(1).
#[derive(Debug)]
pub struct EngineVariable {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub value: EngineValue,
}

/// What the value of an [`EngineVariable`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineValue {
    /// A file or directory, whose owner decides what a sandbox is.
    Path,
    /// A service's address.
    Address,
    /// A message bus's address, which may name a program instead (sd-bus's `unixexec:`).
    Bus,
    /// A name or option that means something in the user's own configuration.
    Word,
}

/// All variables that steer an engine. What is neither here nor in [`CLIENT_VARIABLES`] does not reach the
/// client: `PODMAN_USERNS` for one, and `STORAGE_OPTS`, which names programs that mount a container's root (storage.conf has
/// the same options).
pub const ENGINE_STEERING: &[EngineVariable] = &[
    EngineVariable { name: "CONTAINERS_CONF", value: EngineValue::Path },
    EngineVariable { name: "CONTAINERS_CONF_OVERRIDE", value: EngineValue::Path },
    EngineVariable { name: "CONTAINERS_STORAGE_CONF", value: EngineValue::Path },
    EngineVariable { name: "CONTAINERS_REGISTRIES_CONF", value: EngineValue::Path },
    EngineVariable { name: "REGISTRY_AUTH_FILE", value: EngineValue::Path },
    EngineVariable { name: "DOCKER_CONFIG", value: EngineValue::Path },
    EngineVariable { name: "DOCKER_CERT_PATH", value: EngineValue::Path },
    EngineVariable { name: "CONTAINER_HOST", value: EngineValue::Address },
    EngineVariable { name: "DOCKER_HOST", value: EngineValue::Address },
    EngineVariable { name: "CONTAINER_CONNECTION", value: EngineValue::Word },
    EngineVariable { name: "DOCKER_CONTEXT", value: EngineValue::Word },
    EngineVariable { name: "DOCKER_API_VERSION", value: EngineValue::Word },
    EngineVariable { name: "DBUS_SESSION_BUS_ADDRESS", value: EngineValue::Bus },
];

/// What every engine's client needs: to find its user's files, speak the user's language and reach the network.
pub const CLIENT_VARIABLES: &[&str] = &[
    "HOME",
    "USER",
    "LOGNAME",
    "PATH",
    "TMPDIR",
    "LANG",
    "TZ",
    "TERM",
    "NO_COLOR",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_CONFIG_DIRS",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_CACHE_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// What curl needs: to trust whom the user trusts, and to go by the user's proxy. Not `SSLKEYLOGFILE`, to which it would
/// append.
pub const CURL_VARIABLES: &[&str] = &[
    "LANG",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> EnvName {
        EnvName::new(text).unwrap()
    }

    /// Names that a pattern stands for: `*` as nothing, and as something.
    fn instances(list: &[(&[&'static str], &'static str)]) -> Vec<(String, &'static str)> {
        let patterns = list.iter().flat_map(|(patterns, reason)| patterns.iter().map(move |name| (*name, *reason)));
        patterns
            .flat_map(|(name, reason)| ["", "X_1"].map(|text| (name.replace('*', text), reason)))
            .flat_map(|(name, reason)| [(name.to_ascii_lowercase(), reason), (name, reason)])
            .collect()
    }

    #[test]
    fn what_steers_is_neither_set_nor_passed() {
        for (bad, reason) in instances(NEVER_PASSED) {
            assert_eq!(pass_through(&name(&bad)), PassThrough::Refused(reason), "{bad}");
        }
        for bad in
            ["PATH", "LD_PRELOAD", "LD_AUDIT", "BASH_ENV", "MISE_TRUSTED_CONFIG_PATHS", "COCO_IMAGE", "Http_Proxy"]
        {
            assert!(matches!(pass_through(&name(bad)), PassThrough::Refused(_)), "{bad}");
        }
        for good in
            ["TERM", "LANG", "NO_COLOR", "ANTHROPIC_API_KEY", "NO_PROXY", "EDITOR", "CARGO_TARGET_DIR", "GOOGLE_X"]
        {
            assert_eq!(pass_through(&name(good)), PassThrough::Plain, "{good}");
        }
        for bad in ["PATH", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "COCO_X", "MISE_X"] {
            assert!(!may_be_set(&name(bad)), "{bad}");
        }
        // A value that stands in the coco file is read and signed; the caller's is not.
        for fixed in ["LD_BIND_NOW", "DYLD_X", "BASH_FUNC_x", "BASH_ENV", "all_proxy"] {
            let fixed_name = name(fixed);
            assert!(may_be_set(&fixed_name) && matches!(pass_through(&fixed_name), PassThrough::Refused(_)), "{fixed}");
        }
        assert!(looks_secret(&name("GITHUB_TOKEN")));
        assert!(looks_secret(&name("SSH_AUTH_SOCK")));
        assert!(!looks_secret(&name("TERM")));
    }

    #[test]
    fn what_steers_code_inside_is_passed_with_a_warning() {
        for (warned, reason) in instances(STEERS_CODE) {
            assert_eq!(pass_through(&name(&warned)), PassThrough::SteersCode(reason), "{warned}");
            assert!(may_be_set(&name(&warned)), "{warned}");
        }
        for warned in [
            "NODE_OPTIONS",
            "NODE_PATH",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "PERL5LIB",
            "RUBYLIB",
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "GOFLAGS",
            "JAVA_TOOL_OPTIONS",
            "npm_config_registry",
            "PIP_INDEX_URL",
            "GIT_SSH_COMMAND",
            "GIT_CONFIG_COUNT",
        ] {
            assert!(matches!(pass_through(&name(warned)), PassThrough::SteersCode(_)), "{warned}");
        }
    }

    /// What may not be set may not be passed either, whatever the lists say.
    #[test]
    fn what_may_not_be_set_is_refused() {
        for bad in ["PATH", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "COCO_", "COCO_X", "MISE_", "MISE_X"] {
            assert!(!may_be_set(&name(bad)) && matches!(pass_through(&name(bad)), PassThrough::Refused(_)), "{bad}");
        }
    }
}
