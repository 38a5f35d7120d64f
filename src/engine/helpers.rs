//! The programs that podman calls for help, which a bare machine may not have: what each is for, which Debian package
//! has it, and how its absence is told. Pure.

/// A program that an engine needs and does not bring along.
#[derive(Debug, PartialEq, Eq)]
pub struct HelperProgram {
    /// Its name.
    pub program: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Who can't do without it.
    pub needed: Needed,
    /// Programs that do in its place.
    pub alternatives: &'static [&'static str],
    /// How podman looks for it.
    pub found: Found,
}

/// Which starts of a sandbox can't do without a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// Every one.
    Always,
    /// Those of a user who is not root.
    Rootless,
    /// Those of root with a network of the engine's.
    RootfulNetwork,
    /// Those of another user with a network of the engine's.
    RootlessNetwork,
    /// Only the engine can tell.
    ByConfiguration,
}

/// Where podman looks for a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// On its PATH.
    OnPath,
    /// On its PATH and in the system's directories.
    InSystem,
    /// Among its own helpers.
    AmongHelpers,
}

/// The directories of podman's own helpers (containers.conf(5), `helper_binaries_dir`), and those of the older network
/// plugins.
pub const HELPER_DIRECTORIES: &[&str] = &[
    "/usr/local/libexec/podman",
    "/usr/local/lib/podman",
    "/usr/libexec/podman",
    "/usr/lib/podman",
    "/usr/libexec/cni",
    "/usr/lib/cni",
    "/opt/cni/bin",
];

const fn row(
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
    needed: Needed,
    alternatives: &'static [&'static str],
    found: Found,
) -> HelperProgram {
    HelperProgram { program, package, purpose, needed, alternatives, found }
}

/// All that are known.
pub const HELPERS: &[HelperProgram] = &[
    row("conmon", "conmon", "watches a container", Needed::Always, &[], Found::InSystem),
    row("crun", "crun", "starts a container", Needed::Always, &["runc"], Found::InSystem),
    row("runc", "runc", "starts a container", Needed::ByConfiguration, &["crun"], Found::InSystem),
    row("newuidmap", "uidmap", "gives a user a range of user ids", Needed::Rootless, &[], Found::OnPath),
    row("newgidmap", "uidmap", "gives a user a range of group ids", Needed::Rootless, &[], Found::OnPath),
    // The older network plugins are a bridge and what goes with it.
    row("netavark", "netavark", "sets up networks", Needed::Always, &["bridge"], Found::AmongHelpers),
    row("iptables", "iptables", "lets netavark set up networks", Needed::RootfulNetwork, &["nft"], Found::OnPath),
    row("nft", "nftables", "lets netavark set up networks", Needed::ByConfiguration, &["iptables"], Found::OnPath),
    row(
        "slirp4netns",
        "slirp4netns",
        "gives a user's containers a network",
        Needed::RootlessNetwork,
        &["pasta"],
        Found::OnPath,
    ),
    row(
        "pasta",
        "passt",
        "gives a user's containers a network",
        Needed::ByConfiguration,
        &["slirp4netns"],
        Found::OnPath,
    ),
    row("fuse-overlayfs", "fuse-overlayfs", "mounts an image for a user", Needed::ByConfiguration, &[], Found::OnPath),
    row(
        "aardvark-dns",
        "aardvark-dns",
        "answers names on the engine's networks",
        Needed::ByConfiguration,
        &[],
        Found::AmongHelpers,
    ),
    row(
        "catatonit",
        "catatonit",
        "is the first process where init is asked for",
        Needed::ByConfiguration,
        &[],
        Found::AmongHelpers,
    ),
];

/// What podman says of a program that it does not find.
const NOT_FOUND_MESSAGES: &[&str] = &["not found", "no such file or directory", "could not find", "can't stat"];

/// Words that name one program and mean another: netavark says so when it can't start iptables.
const MISLEADING_MESSAGES: &[(&str, &str)] =
    &[("netavark: No such file or directory", "iptables"), ("unable to execute nft", "nft")];

/// The helpers that an engine's own words say are missing.
pub fn missing_in(words: &str) -> Vec<&'static HelperProgram> {
    let mut missing: Vec<&HelperProgram> = words.lines().filter_map(missing_in_line).collect();
    let mut seen: Vec<&str> = Vec::new();
    missing.retain(|helper| {
        let new = !seen.contains(&helper.program);
        seen.push(helper.program);
        new
    });
    missing
}

/// Only a line that is the engine's own counts: what an installer or a step of a build prints may say anything.
fn missing_in_line(line: &str) -> Option<&'static HelperProgram> {
    let engine_says = ["Error", "error running", "docker: Error"].iter().any(|start| line.starts_with(start))
        || line.contains(" level=error ")
        || (line.contains(" level=warning ") && line.contains("binary not found"));
    if !engine_says {
        return None;
    }
    let named = |name: &str| HELPERS.iter().find(|helper| helper.program == name);
    if let Some((_, program)) = MISLEADING_MESSAGES.iter().find(|(words, _)| line.contains(words)) {
        return named(program);
    }
    let lower = line.to_lowercase();
    if !NOT_FOUND_MESSAGES.iter().any(|words| lower.contains(words)) {
        return None;
    }
    // Of several, the one that stands quoted or last before the words; podman names one a line.
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    HELPERS.iter().find(|helper| {
        line.match_indices(helper.program).any(|(at, _)| {
            let bytes = line.as_bytes();
            let before = at.checked_sub(1).and_then(|before| bytes.get(before));
            let after = bytes.get(at + helper.program.len());
            !before.is_some_and(|byte| is_word(*byte)) && !after.is_some_and(|byte| is_word(*byte))
        })
    })
}

/// How a sandbox is to be started, as far as it decides which helpers are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Whether the caller is root.
    pub rootful: bool,
    /// Whether the engine makes a network for it.
    pub engine_network: bool,
}

/// The helpers that such a start can't do without and that are not there, nor what does in their place.
pub fn missing_for(start: Start, is_there: impl Fn(&str, Found) -> bool) -> Vec<&'static HelperProgram> {
    let needed = |helper: &&HelperProgram| match helper.needed {
        Needed::Always => true,
        Needed::Rootless => !start.rootful,
        Needed::RootfulNetwork => start.rootful && start.engine_network,
        Needed::RootlessNetwork => !start.rootful && start.engine_network,
        Needed::ByConfiguration => false,
    };
    let absent = |helper: &&HelperProgram| {
        !is_there(helper.program, helper.found)
            && !helper.alternatives.iter().any(|other| is_there(other, helper.found))
    };
    HELPERS.iter().filter(needed).filter(absent).collect()
}

/// What to do about missing helpers.
pub fn hint(missing: &[&HelperProgram]) -> Option<String> {
    let names: Vec<String> =
        missing.iter().map(|helper| format!("{}, which {}", helper.program, helper.purpose)).collect();
    let mut packages: Vec<&str> = missing.iter().map(|helper| helper.package).collect();
    packages.dedup();
    (!missing.is_empty()).then(|| {
        format!("the engine can't find {}; on Debian: apt-get install {}", names.join("; and "), packages.join(" "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(missing: &[&HelperProgram]) -> Vec<&'static str> {
        missing.iter().map(|helper| helper.program).collect()
    }

    /// podman 4.3's own words, but for pasta's, which are those of 5.4.
    #[test]
    fn what_podman_says_of_a_missing_helper_is_understood() {
        for (words, program) in [
            (
                "Error: could not find a working conmon binary (configured options: [/usr/libexec/podman/conmon /usr/bin/conmon /run/current-system/sw/bin/conmon]: invalid argument)",
                "conmon",
            ),
            ("Error: default OCI runtime \"runc\" not found: invalid argument", "runc"),
            ("Error: default OCI runtime \"crun\" not found: invalid argument", "crun"),
            (
                "Error: could not find \"netavark\" in one of [/usr/local/libexec/podman /usr/lib/podman].  To resolve this error, set the helper_binaries_dir key in the `[engine]` section of containers.conf to the directory containing your helper binaries.",
                "netavark",
            ),
            ("Error: netavark: No such file or directory (os error 2)", "iptables"),
            (
                "Error: building at STEP \"RUN /coco help\": netavark: No such file or directory (os error 2)",
                "iptables",
            ),
            (
                "Error: command required for rootless mode with multiple IDs: exec: \"newuidmap\": executable file not found in $PATH",
                "newuidmap",
            ),
            (
                "Error: command required for rootless mode with multiple IDs: exec: \"newgidmap\": executable file not found in $PATH",
                "newgidmap",
            ),
            (
                "Error: could not find slirp4netns, the network namespace can't be configured: exec: \"slirp4netns\": executable file not found in $PATH",
                "slirp4netns",
            ),
            (
                "Error: could not find pasta, the network namespace can't be configured: exec: \"pasta\": executable file not found in $PATH",
                "pasta",
            ),
            (
                "Error: overlay: can't stat program \"/usr/bin/fuse-overlayfs\": stat /usr/bin/fuse-overlayfs: no such file or directory",
                "fuse-overlayfs",
            ),
            (
                "Error: container-init binary not found on the host: stat /usr/libexec/podman/catatonit: no such file or directory",
                "catatonit",
            ),
            (
                "time=\"2026-01-01T00:00:00Z\" level=warning msg=\"aardvark-dns binary not found, container dns will not be enabled\"",
                "aardvark-dns",
            ),
        ] {
            assert_eq!(names(&missing_in(&format!("STEP 1/2\n{words}\n{words}\n"))), [program], "{words}");
        }
    }

    #[test]
    fn what_others_say_is_not_the_engines_word() {
        for words in [
            "sh: 1: runc: not found",
            "npm ERR! pasta not found",
            "Error: statfs /x/run-1/control.sock: no such file or directory",
            "Error: my-conmon-like: not found",
            "Error: netavark: nothing in particular",
            "Error: crun: kill: no such process",
            "",
        ] {
            assert_eq!(names(&missing_in(words)), [] as [&str; 0], "{words}");
        }
    }

    #[test]
    fn what_a_start_needs() {
        let nothing = |_: &str, _: Found| false;
        let start = |rootful, engine_network| Start { rootful, engine_network };
        assert_eq!(names(&missing_for(start(true, false), nothing)), ["conmon", "crun", "netavark"]);
        assert_eq!(names(&missing_for(start(true, true), nothing)), ["conmon", "crun", "netavark", "iptables"]);
        assert_eq!(
            names(&missing_for(start(false, true), nothing)),
            ["conmon", "crun", "newuidmap", "newgidmap", "netavark", "slirp4netns"]
        );
        let others = |name: &str, _: Found| ["conmon", "runc", "bridge", "nft", "pasta", "newuidmap"].contains(&name);
        assert_eq!(names(&missing_for(start(true, true), others)), [] as [&str; 0]);
        assert_eq!(names(&missing_for(start(false, true), others)), ["newgidmap"]);
    }

    #[test]
    fn a_hint_names_program_purpose_and_package() {
        assert_eq!(hint(&[]), None);
        let missing: Vec<_> = HELPERS.iter().filter(|helper| helper.package == "uidmap").collect();
        let text = hint(&missing).unwrap();
        assert!(text.contains("newuidmap, which gives a user a range of user ids; and newgidmap"), "{text}");
        assert!(text.ends_with("; on Debian: apt-get install uidmap"), "{text}");
        for helper in HELPERS {
            assert!(helper.alternatives.iter().all(|other| *other != helper.program), "{}", helper.program);
        }
    }
}
