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

/// Whether the caller's value may be passed in. A variable that makes a program load or run
/// something is a way to steer the tool from a project's `.envrc`; such a value has to stand
/// in the coco file, where it is read and signed.
pub fn may_pass_through(name: &EnvName) -> bool {
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
        "GIT_SSH",
        "GIT_ASKPASS",
        "GIT_EXEC_PATH",
        "RUSTC_WRAPPER",
        "RUSTC",
        "GCONV_PATH",
        "ZDOTDIR",
        "XDG_RUNTIME_DIR",
    ];
    let checked = name;
    let name = name.as_str();
    let upper = name.to_ascii_uppercase();
    may_be_set(checked)
        && !name.starts_with("LD_")
        && !name.starts_with("DYLD_")
        && !name.starts_with("BASH_FUNC_")
        && !name.starts_with("GIT_CONFIG")
        && !STEERING.contains(&name)
        && !matches!(upper.as_str(), "HTTP_PROXY" | "HTTPS_PROXY" | "ALL_PROXY" | "FTP_PROXY")
}

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
    /// A name or option that means something in the user's own configuration.
    Word,
}

/// All variables that steer an engine. What is neither here nor in [`CLIENT_VARIABLES`] does not reach the
/// client: `PODMAN_USERNS` for one.
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
    EngineVariable { name: "STORAGE_DRIVER", value: EngineValue::Word },
    EngineVariable { name: "STORAGE_OPTS", value: EngineValue::Word },
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
    "DBUS_SESSION_BUS_ADDRESS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> EnvName {
        EnvName::new(text).unwrap()
    }

    #[test]
    fn what_steers_is_neither_set_nor_passed() {
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
            assert!(!may_pass_through(&name(bad)), "{bad}");
        }
        for good in ["TERM", "LANG", "NO_COLOR", "ANTHROPIC_API_KEY"] {
            assert!(may_pass_through(&name(good)), "{good}");
        }
        for bad in ["PATH", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "COCO_X", "MISE_X"] {
            assert!(!may_be_set(&name(bad)), "{bad}");
        }
        // A value that stands in the coco file is read and signed; the caller's is not.
        for fixed in ["NODE_OPTIONS", "LD_BIND_NOW", "DYLD_X", "BASH_FUNC_x", "GIT_CONFIG_COUNT", "all_proxy"] {
            let fixed_name = name(fixed);
            assert!(may_be_set(&fixed_name) && !may_pass_through(&fixed_name), "{fixed}");
        }
        assert!(looks_secret(&name("GITHUB_TOKEN")));
        assert!(looks_secret(&name("SSH_AUTH_SOCK")));
        assert!(!looks_secret(&name("TERM")));
    }
}
