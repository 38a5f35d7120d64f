//! Coco files: bytes to a checked [`CocoFile`], and back to JSON.
//!
//! Parse, don't validate: what this module hands out can't hold a name or path that a later stage
//! would have to check again. Every error cites a JSON pointer and says what to write instead.
//! Shared with `build.rs`, so it uses only `names`, `rules` and `json`; no I/O.

use crate::json::{self, JsonError, Value, escape};
use crate::names::{
    AptName, EnvName, HostPattern, NetworkName, ProgramName, PublishedPort, RelativePath, ToolSpec, is_invisible,
    nearest,
};
use crate::rules::sandbox_paths::GuestPath;
use crate::rules::variables::{self, PassThrough};

mod danger;
pub mod from_bash;
mod model;
mod print;
mod store_rules;

pub use danger::{Danger, Located, is_socket_path};
pub use model::{
    Access, AccessSource, CacheScope, CocoFile, DEFAULT_PIDS, Isolation, Limits, Mount, MountSource, Network, Protect,
    Relabel, Workdir, X11,
};
pub use store_rules::unfit_for_store;

/// The largest coco file, in bytes.
pub const MAX_FILE: usize = 64 * 1024;

/// The most entries of a list, or variables: whoever is asked about an update has to read them.
const MAX_ENTRIES: usize = 256;

/// What a mount is whose `opts` say neither `ro` nor `rw`: as with every engine's `-v`, and as in the bash coco.
/// The policy's own default stays the closed one, [`Access::ReadOnly`].
const UNSTATED_ACCESS: Access = Access::ReadWrite;

/// Every key of a coco file, in the order in which it is printed.
pub const KEYS: &[&str] = &[
    "$schema",
    "tool",
    "command",
    "description",
    "homepage",
    "mounts",
    "workdir",
    "env",
    "env_passthrough",
    "dependencies",
    "network",
    "allowed_hosts",
    "ports",
    "isolated",
    "cache",
    "data",
    "protect",
    "limits",
    "x11",
    "podman_args",
];

type Parsed<T> = Result<T, JsonError>;

/// Parses and checks a coco file.
///
/// # Errors
/// The first thing that is wrong, with its JSON pointer and what to write instead.
pub fn parse(bytes: &[u8]) -> Parsed<CocoFile> {
    let root = json::parse(bytes, MAX_FILE)?;
    let members = object(&root, "")?;
    known_keys(members, "", KEYS)?;
    let at = |key: &str| root.member(key).map(|value| (value, format!("/{}", escape(key))));
    let tool = match at("tool") {
        Some((value, place)) => checked(value, &place, ToolSpec::new, "write for example \"npm:eslint\"")?,
        None => {
            return Err(JsonError::new("", "the key \"tool\" is missing", "add for example \"tool\": \"npm:eslint\""));
        }
    };
    let (apt, mise) =
        at("dependencies").map_or(Ok((Vec::new(), Vec::new())), |(value, place)| dependencies(value, &place))?;
    Ok(CocoFile {
        tool,
        command: at("command")
            .map(|(value, place)| checked(value, &place, ProgramName::new, "write the program's name alone"))
            .transpose()?,
        mounts: at("mounts").map_or(Ok(Vec::new()), |(value, place)| each(value, &place, mount))?,
        env: at("env").map_or(Ok(Vec::new()), |(value, place)| environment(value, &place))?,
        env_passthrough: at("env_passthrough")
            .map_or(Ok(Vec::new()), |(value, place)| each(value, &place, passthrough))?,
        apt,
        mise,
        workdir: at("workdir").map_or(Ok(Workdir::Default), |(value, place)| workdir(value, &place))?,
        network: network(&root)?,
        isolation: if at("isolated").map_or(Ok(false), |(value, place)| boolean(value, &place))? {
            Isolation::OwnRuntimes
        } else {
            Isolation::SharedRuntimes
        },
        cache: at("cache").map_or(Ok(CacheScope::Project), |(value, place)| cache(value, &place))?,
        ports: at("ports").map_or(Ok(Vec::new()), |(value, place)| {
            each(value, &place, |item, place| checked(item, place, PublishedPort::new, "write for example \"8080:80\""))
        })?,
        x11: if at("x11").map_or(Ok(false), |(value, place)| boolean(value, &place))? {
            X11::DangerousDisplay
        } else {
            X11::Absent
        },
        podman_args: at("podman_args").map_or(Ok(Vec::new()), |(value, place)| each(value, &place, engine_argument))?,
        data: at("data").map_or(Ok(Access::ReadOnly), |(value, place)| data(value, &place))?,
        protect: at("protect").map_or(Ok(Protect::Default), |(value, place)| protect(value, &place))?,
        limits: at("limits").map_or(Ok(Limits::default()), |(value, place)| limits(value, &place))?,
        description: at("description").map(|(value, place)| line(value, &place, 200)).transpose()?,
        homepage: at("homepage").map(|(value, place)| homepage(value, &place)).transpose()?,
        schema: at("$schema").map(|(value, place)| line(value, &place, 1024)).transpose()?,
    })
}

// --- the keys, in the order of the table ---

fn mount(value: &Value, place: &str) -> Parsed<Mount> {
    let members = object(value, place)?;
    known_keys(members, place, &["src", "dst", "opts"])?;
    let src = match value.member("src") {
        Some(src) => checked(
            src,
            &format!("{place}/src"),
            mount_source,
            "write \".\", \"@project\", \"~/x\" or an absolute path",
        )?,
        None => return Err(JsonError::new(place, "the key \"src\" is missing", "add \"src\": \".\"")),
    };
    let dst = value
        .member("dst")
        .map(|dst| checked(dst, &format!("{place}/dst"), GuestPath::new, "write for example \"/workspace\""))
        .transpose()?;
    let (word, relabel) = match value.member("opts") {
        Some(opts) => checked(
            opts,
            &format!("{place}/opts"),
            mount_options,
            "write \"ro\" or \"rw\", and with SELinux \"z\" or \"Z\"",
        )?,
        None => (None, Relabel::Keep),
    };
    let (access, access_source) = match word {
        Some(access) => (access, AccessSource::Stated),
        None => (UNSTATED_ACCESS, AccessSource::Default),
    };
    Ok(Mount { src, dst, access, access_source, relabel })
}

fn mount_source(text: &str) -> Result<MountSource, String> {
    if text.is_empty() || text.contains('\0') || text.len() > 4096 {
        return Err(format!("{text:?} is not a valid path"));
    }
    match text {
        "." => Ok(MountSource::CurrentDirectory),
        "@project" => Ok(MountSource::Project),
        "~" | "~/" => Ok(MountSource::Home(None)),
        _ => match text.strip_prefix("~/") {
            Some(rest) => Ok(MountSource::Home(Some(RelativePath::new(rest)?))),
            None if text.starts_with('/') => Ok(MountSource::Absolute(text.to_owned())),
            None => Err(format!("{text:?} is neither \".\", \"@project\", \"~/...\" nor absolute")),
        },
    }
}

fn mount_options(text: &str) -> Result<(Option<Access>, Relabel), String> {
    let mut access = None;
    let mut relabel = None;
    for option in text.split(',') {
        let twice = match option {
            "ro" => access.replace(Access::ReadOnly).is_some(),
            "rw" => access.replace(Access::ReadWrite).is_some(),
            "z" => relabel.replace(Relabel::Shared).is_some(),
            "Z" => relabel.replace(Relabel::Private).is_some(),
            _ => return Err(format!("unknown option {option:?}; the options are ro, rw, z, Z")),
        };
        if twice {
            return Err(format!("{text:?} says the same thing twice"));
        }
    }
    Ok((access, relabel.unwrap_or_default()))
}

fn environment(value: &Value, place: &str) -> Parsed<Vec<(EnvName, String)>> {
    let mut set = Vec::new();
    let members = object(value, place)?;
    if members.len() > MAX_ENTRIES {
        return Err(too_many(place));
    }
    for (key, member) in members {
        let place = format!("{place}/{}", escape(key));
        let name =
            EnvName::new(key).map_err(|message| JsonError::new(&place, message, "write for example \"NO_COLOR\""))?;
        if !variables::may_be_set(&name) {
            return Err(JsonError::new(
                &place,
                format!("{name} is not for a coco file to set"),
                "leave it out; coco sets it",
            ));
        }
        let text = text(member, &place)?;
        if text.contains('\0') {
            return Err(JsonError::new(&place, "the value has a NUL in it", "take it out"));
        }
        set.push((name, text.to_owned()));
    }
    // The order has no meaning, and one order prints in one way.
    set.sort();
    Ok(set)
}

fn passthrough(value: &Value, place: &str) -> Parsed<EnvName> {
    let name = checked(value, place, EnvName::new, "write the variable's whole name")?;
    match variables::pass_through(&name) {
        PassThrough::Refused(reason) => {
            let message = format!("your {name} can't be passed to the tool: {reason}");
            let hint = if variables::may_be_set(&name) {
                "set a fixed value under \"env\", or leave it out"
            } else {
                "leave it out; coco sets what the tool needs"
            };
            Err(JsonError::new(place, message, hint))
        }
        PassThrough::SteersCode(_) | PassThrough::Plain => Ok(name),
    }
}

fn dependencies(value: &Value, place: &str) -> Parsed<(Vec<AptName>, Vec<ToolSpec>)> {
    known_keys(object(value, place)?, place, &["apt", "mise"])?;
    let apt = value.member("apt").map_or(Ok(Vec::new()), |list| {
        each(list, &format!("{place}/apt"), |item, place| {
            checked(item, place, AptName::new, "write for example \"libpq-dev\"")
        })
    })?;
    let mise = value.member("mise").map_or(Ok(Vec::new()), |list| {
        each(list, &format!("{place}/mise"), |item, place| {
            checked(item, place, ToolSpec::new, "write for example \"node@22\"")
        })
    })?;
    Ok((apt, mise))
}

fn workdir(value: &Value, place: &str) -> Parsed<Workdir> {
    match text(value, place)? {
        "." => Ok(Workdir::CurrentDirectory),
        _ => Ok(Workdir::Guest(checked(value, place, GuestPath::new, "write \".\" or an absolute path")?)),
    }
}

fn network(root: &Value) -> Parsed<Network> {
    let mode = root.member("network").map(|value| text(value, "/network")).transpose()?;
    let hosts = root
        .member("allowed_hosts")
        .map(|value| {
            each(value, "/allowed_hosts", |item, place| {
                checked(item, place, HostPattern::new, "write for example \"api.example.com\"")
            })
        })
        .transpose()?;
    match (mode, hosts) {
        (None | Some("none"), None) => Ok(Network::None),
        (None, Some(hosts)) if hosts.is_empty() => Ok(Network::None),
        (None, Some(hosts)) => Ok(Network::AllowedHosts(hosts)),
        (Some(mode), Some(_)) => Err(JsonError::new(
            "/allowed_hosts",
            format!("\"allowed_hosts\" can't be combined with \"network\": {mode:?}"),
            "keep one of the two: allowed_hosts alone opens the network for those hosts",
        )),
        (Some("public"), None) => Ok(Network::Public),
        (Some("default"), None) => Ok(Network::EngineDefault),
        (Some("host"), None) => Ok(Network::DangerousHost),
        (Some(name), None) => NetworkName::new(name).map(Network::EngineNetwork).map_err(|message| {
            JsonError::new("/network", message, "write \"none\", \"public\", \"default\" or an engine network's name")
        }),
    }
}

fn engine_argument(value: &Value, place: &str) -> Parsed<String> {
    let text = text(value, place)?;
    if text.is_empty() || text.contains('\0') || text.len() > 4096 {
        return Err(JsonError::new(
            place,
            "an engine argument is a non-empty string without NUL",
            "write for example \"--shm-size=256m\"",
        ));
    }
    Ok(text.to_owned())
}

fn data(value: &Value, place: &str) -> Parsed<Access> {
    match text(value, place)? {
        "ro" => Ok(Access::ReadOnly),
        "rw" => Ok(Access::ReadWrite),
        other => {
            Err(JsonError::new(place, format!("{other:?} is neither \"ro\" nor \"rw\""), "leave it out for \"ro\""))
        }
    }
}

fn cache(value: &Value, place: &str) -> Parsed<CacheScope> {
    match text(value, place)? {
        "project" => Ok(CacheScope::Project),
        "shared" => Ok(CacheScope::Shared),
        other => Err(JsonError::new(
            place,
            format!("{other:?} is neither \"project\" nor \"shared\""),
            "leave it out for \"project\"",
        )),
    }
}

fn protect(value: &Value, place: &str) -> Parsed<Protect> {
    match value {
        Value::Bool(true) => Ok(Protect::List),
        Value::Bool(false) => Ok(Protect::DangerousNothing),
        Value::Array(_) => Ok(Protect::Paths(each(value, place, |item, place| {
            checked(item, place, RelativePath::new, "write a path relative to the mount")
        })?)),
        _ => Err(JsonError::new(
            place,
            format!("expected true, false or an array, found {}", value.kind()),
            "leave it out for true",
        )),
    }
}

fn limits(value: &Value, place: &str) -> Parsed<Limits> {
    known_keys(object(value, place)?, place, &["memory", "pids", "cpus"])?;
    let at = |key: &str| value.member(key).map(|member| (member, format!("{place}/{key}")));
    Ok(Limits {
        memory: at("memory")
            .map(|(member, place)| checked(member, &place, memory, "write for example \"512m\" or \"4g\""))
            .transpose()?,
        pids: at("pids")
            .map(|(member, place)| match member.integer().and_then(|count| u32::try_from(count).ok()) {
                Some(count) if (1..=4_194_304).contains(&count) => Ok(count),
                _ => Err(JsonError::new(&place, "expected a number from 1 to 4194304", "write for example 4096")),
            })
            .transpose()?,
        milli_cpus: at("cpus").map(|(member, place)| cpus(member, &place)).transpose()?,
    })
}

fn memory(text: &str) -> Result<u64, String> {
    let error = || format!("{text:?} is not a valid amount of memory; write digits and one of k, m, g");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match text.strip_prefix(digits) {
        Some("k") => 10,
        Some("m") => 20,
        Some("g") => 30,
        _ => return Err(error()),
    };
    let count: u64 = match digits.parse() {
        Ok(count) if digits.bytes().all(|byte| byte.is_ascii_digit()) && count <= 1 << 40 => count,
        _ => return Err(error()),
    };
    // A pebibyte is more than any machine has, and far from overflow in every engine.
    let bytes = count.checked_mul(1 << shift).filter(|bytes| *bytes <= 1 << 50).ok_or_else(error)?;
    // Below 6 MiB docker refuses, and init alone needs a few.
    if bytes < 6 << 20 { Err(format!("{text:?} is less than 6m, too little to start anything")) } else { Ok(bytes) }
}

fn cpus(value: &Value, place: &str) -> Parsed<u32> {
    let wrong = || JsonError::new(place, "expected a number from 0.01 to 1024", "write for example 2 or 1.5");
    let number = match value {
        #[expect(clippy::cast_precision_loss, reason = "values past 2^53 are refused below all the same")]
        Value::Integer(number) => *number as f64,
        Value::Number(number) => *number,
        _ => return Err(wrong()),
    };
    if !(0.01..=1024.0).contains(&number) {
        return Err(wrong());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked: 10 to 1,024,000"
    )]
    Ok((number * 1000.0).round() as u32)
}

fn homepage(value: &Value, place: &str) -> Parsed<String> {
    let text = line(value, place, 1024)?;
    if text.starts_with("https://") || text.starts_with("http://") {
        Ok(text)
    } else {
        Err(JsonError::new(place, format!("{text:?} is not a web address"), "start it with https://"))
    }
}

// --- what every key needs ---

fn object<'a>(value: &'a Value, place: &str) -> Parsed<&'a [(String, Value)]> {
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(JsonError::new(place, format!("expected an object, found {}", value.kind()), "write {...}")),
    }
}

fn known_keys(members: &[(String, Value)], place: &str, known: &[&str]) -> Parsed<()> {
    match members.iter().find(|(key, _)| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some((key, _)) => {
            let pointer = format!("{place}/{}", escape(key));
            if let Some((message, hint)) = from_bash::gone(key).filter(|_| place.is_empty()) {
                return Err(JsonError::new(&pointer, message, hint));
            }
            let hint = match nearest(key, known.iter().copied()) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => format!("the keys here are {}", known.join(", ")),
            };
            Err(JsonError::new(&pointer, "unknown key", hint))
        }
    }
}

fn text<'a>(value: &'a Value, place: &str) -> Parsed<&'a str> {
    value
        .text()
        .ok_or_else(|| JsonError::new(place, format!("expected a string, found {}", value.kind()), "put it in quotes"))
}

fn boolean(value: &Value, place: &str) -> Parsed<bool> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        _ => Err(JsonError::new(
            place,
            format!("expected true or false, found {}", value.kind()),
            "write true or false without quotes",
        )),
    }
}

/// One line of text for people: shown on terminals, so without what is not seen there or moves the rest.
fn line(value: &Value, place: &str, most: usize) -> Parsed<String> {
    let text = text(value, place)?;
    if text.is_empty() || text.len() > most || text.chars().any(is_invisible) {
        return Err(JsonError::new(
            place,
            format!("expected one line of text, at most {most} bytes, all of which can be seen"),
            "shorten it, without line breaks and format characters",
        ));
    }
    Ok(text.to_owned())
}

/// A name, path or the like. What is read on a terminal has to be what is meant, so none has characters that
/// can't be seen; the user's own paths may, and so the types themselves don't refuse them.
fn checked<T>(value: &Value, place: &str, check: impl Fn(&str) -> Result<T, String>, hint: &str) -> Parsed<T> {
    let text = text(value, place)?;
    if text.chars().any(is_invisible) {
        let message = format!("{text:?} has characters that can't be seen, or that move others");
        return Err(JsonError::new(place, message, "write it without them"));
    }
    check(text).map_err(|message| JsonError::new(place, message, hint))
}

fn each<T>(value: &Value, place: &str, item: impl Fn(&Value, &str) -> Parsed<T>) -> Parsed<Vec<T>> {
    match value {
        Value::Array(items) if items.len() <= MAX_ENTRIES => {
            items.iter().enumerate().map(|(position, value)| item(value, &format!("{place}/{position}"))).collect()
        }
        Value::Array(_) => Err(too_many(place)),
        _ => Err(JsonError::new(place, format!("expected an array, found {}", value.kind()), "write [...]")),
    }
}

fn too_many(place: &str) -> JsonError {
    JsonError::new(place, format!("more than {MAX_ENTRIES} entries"), "no tool needs that many")
}

#[cfg(test)]
mod tests;
