//! Coco files out of a store: the one inside this program, or one at an address, by curl: https or file only, bounded in size and time, and
//! nothing is trusted before its signature was checked.

use std::ffi::{OsStr, OsString};

use crate::config::MAX_FILE;
use crate::error::Error;
use crate::facts::{World, search_path};
use crate::install::write_atomically;
use crate::memory::{self, Memory};
use crate::names::{ToolName, nearest};
use crate::signed::{self, Index, MAX_INDEX, MAX_SIGNATURE, Subject, UNKNOWN_KEY, Verified};
use crate::store::{self, Signed};
use crate::trust::{self, TrustedKey};
use crate::{exec, term};

/// Why a fetch failed.
#[derive(Debug)]
pub enum Failure {
    /// The network, and nothing but that: the bundled store may serve instead.
    Network(String),
    /// Everything else, a bad signature above all.
    Refused(Error),
}

/// curl's exit codes for a network that does not answer (curl(1), EXIT CODES): no proxy or host
/// name, no connection, time-out, TLS handshake, nothing sent or received.
const NETWORK_CODES: &[i32] = &[5, 6, 7, 18, 28, 35, 52, 55, 56];

/// What curl's exit code means, in words.
fn said(code: i32) -> String {
    let words = match code {
        5 => "the proxy's name is unknown",
        6 => "its name is unknown",
        7 => "nobody answers there",
        18 => "the answer was cut off",
        28 => "it took too long",
        35 => "the TLS handshake failed",
        47 => "it redirects too often",
        1 => "it redirects to an address of another kind",
        52 | 55 | 56 => "the connection broke",
        51 | 60 => "its certificate is not trusted, or is another host's",
        _ => "curl failed",
    };
    format!("{words} (curl's exit code {code})")
}

/// The store's address: the one that was typed, `COCO_STORE_BASE`, the one that was built in, or none.
pub fn base(world: &World, typed: Option<&OsStr>) -> Result<Option<String>, Error> {
    let (name, base) = if let Some(typed) = typed {
        ("--from", typed.to_str().unwrap_or("\u{fffd}"))
    } else {
        let set = world.text("COCO_STORE_BASE")?;
        ("COCO_STORE_BASE", set.or(option_env!("COCO_DEFAULT_STORE_BASE")).unwrap_or_default())
    };
    if base.is_empty() && typed.is_none() {
        return Ok(None);
    }
    if is_address(base) {
        return Ok(Some(base.trim_end_matches('/').to_owned()));
    }
    Err(Error::Environment {
        name,
        message: format!("{base:?} is neither an https:// nor a file:/// address"),
        hint: "write for example https://store.example.com/coco".to_owned(),
    })
}

/// Whether a text can be a store's address.
pub fn is_address(text: &str) -> bool {
    ["https://", "file:///"].iter().any(|scheme| text.starts_with(scheme))
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && text.len() <= 1024
}

/// Where coco files come from, with an index that was checked.
#[derive(Debug)]
pub struct Shelf {
    place: Place,
    index: Index,
    /// The key that signed the index; its files are signed by the same.
    key: TrustedKey,
    memory: Memory,
}

#[derive(Debug, Clone)]
enum Place {
    Bundled,
    At(String),
}

impl Shelf {
    /// The store inside this program. Its index may be older than what was seen elsewhere; its files not.
    pub fn bundled(world: &World) -> Result<Shelf, Error> {
        let key = trust::built_in()?;
        let memory = Memory::of(world, &key.number)?;
        Ok(Shelf { place: Place::Bundled, index: store::index()?, key, memory })
    }

    /// The store at an address.
    pub fn at(world: &World, base: &str) -> Result<Shelf, Failure> {
        let url = format!("{base}/index.json");
        let bytes = download(world, &url, MAX_INDEX)?;
        let signature = download(world, &format!("{url}.minisig"), MAX_SIGNATURE)?;
        let mut trusted = trust::keys(world).map_err(Failure::Refused)?;
        let mut checked = verify(&bytes, &signature, &trusted, &Subject::Index);
        if checked.as_ref().is_err_and(|reason| reason == UNKNOWN_KEY)
            && let Some(successor) = successor(world, base, &trusted)?
        {
            trusted.push(successor);
            checked = verify(&bytes, &signature, &trusted, &Subject::Index);
        }
        let refused = |reason: String| Failure::Refused(Error::Signature { what: url.clone(), reason });
        let verified = checked.map_err(refused)?;
        let index = Index::parse(&verified)
            .map_err(|error| Failure::Refused(Error::Config { file: url.clone().into(), error }))?;
        let key = trusted.into_iter().nth(verified.signer()).ok_or_else(|| refused(UNKNOWN_KEY.to_owned()))?;
        let mut memory = Memory::of(world, &key.number).map_err(Failure::Refused)?;
        memory.allow_index(&url, index.revision).map_err(Failure::Refused)?;
        tell_dates(base, &index, &memory);
        memory.saw_index(index.revision);
        memory.save(memory::now()).map_err(Failure::Refused)?;
        Ok(Shelf { place: Place::At(base.to_owned()), index, key, memory })
    }

    /// Its name for people and records.
    pub fn name(&self) -> &str {
        match &self.place {
            Place::Bundled => BUNDLED,
            Place::At(base) => base,
        }
    }

    /// A tool's coco file, checked against the index, what was seen before, and what this program holds.
    pub fn coco_file(&mut self, world: &World, name: &ToolName) -> Result<Signed, Failure> {
        let Some(entry) = self.index.entry(name) else {
            let nearest = nearest(name.as_str(), self.index.tools.iter().map(|entry| entry.name.as_str()));
            let nearest = nearest.map(str::to_owned);
            return Err(Failure::Refused(Error::NotInStore { name: name.to_string(), nearest }));
        };
        let (signed, what) = match &self.place {
            Place::Bundled => {
                (store::bundled(name).map_err(Failure::Refused)?, format!("{name}.json in the {BUNDLED}"))
            }
            Place::At(base) => {
                let url = format!("{base}/{name}.json");
                let bytes = download(world, &url, MAX_FILE)?;
                let signature = download(world, &format!("{url}.minisig"), MAX_SIGNATURE)?;
                let trusted = std::slice::from_ref(&self.key);
                (store::config_file(name, bytes, signature, trusted, &url).map_err(Failure::Refused)?, url)
            }
        };
        let revision = signed.verified.revision();
        if revision != entry.revision {
            let reason = format!("it is revision {revision}, and the index says {}", entry.revision);
            return Err(Failure::Refused(Error::Rollback { what, reason }));
        }
        // Going back behind what this program carries would undo a fix.
        if let Ok(own) = store::bundled(name)
            && own.key == signed.key
            && own.verified.revision() > revision
        {
            let reason = format!("it is revision {revision}, older than the bundled {}", own.verified.revision());
            return Err(Failure::Refused(Error::Rollback { what, reason }));
        }
        self.memory.allow_file(&what, name, revision).map_err(Failure::Refused)?;
        Ok(signed)
    }

    /// Notes that a file of this revision was taken.
    pub fn took(&mut self, name: &ToolName, revision: u64) -> Result<(), Error> {
        self.memory.saw_file(name, revision);
        self.memory.save(memory::now())
    }
}

/// The name of the store inside this program.
pub const BUNDLED: &str = "bundled store";

fn verify(bytes: &[u8], signature: &[u8], trusted: &[TrustedKey], subject: &Subject) -> Result<Verified, String> {
    let keys: Vec<_> = trusted.iter().map(|trusted| trusted.key.clone()).collect();
    signed::verify(bytes.to_vec(), signature, &keys, subject)
}

/// A store that has a new key says so in `successor.pub`, signed with the old one. The new key is then the
/// user's to keep, beside the others.
fn successor(world: &World, base: &str, trusted: &[TrustedKey]) -> Result<Option<TrustedKey>, Failure> {
    let url = format!("{base}/successor.pub");
    let (Ok(bytes), Ok(signature)) =
        (download(world, &url, trust::MAX_KEY), download(world, &format!("{url}.minisig"), MAX_SIGNATURE))
    else {
        return Ok(None);
    };
    let refused = |reason: String| Failure::Refused(Error::Signature { what: url.clone(), reason });
    let verified = verify(&bytes, &signature, trusted, &Subject::Key).map_err(refused)?;
    let text = std::str::from_utf8(verified.bytes()).map_err(|_| refused("it is no text".to_owned()))?;
    let key = TrustedKey::new("successor", text).map_err(refused)?;
    let old = trusted.get(verified.signer()).map_or("?", |old| old.number.as_str());
    let path = trust::directory(world).join(format!("successor-{}.pub", key.number));
    write_atomically(&path, bytes.as_slice()).map_err(Failure::Refused)?;
    term::note(
        "warning",
        &format!(
            "{base} has a new key {}, signed with its old one {old}; it is now trusted: coco key list",
            key.number
        ),
    );
    Ok(Some(key))
}

fn tell_dates(base: &str, index: &Index, memory: &Memory) {
    let now = memory::now();
    if memory.clock_went_back(now) {
        term::note(
            "warning",
            "the clock stands more than a day behind an earlier look at this store; dates mean nothing",
        );
    } else if memory::day(&index.expires).is_none_or(|day| now / 86_400 > day) {
        let words =
            format!("{base}: its index expired on {}; updates may be held back, or your clock is wrong", index.expires);
        term::note("warning", &words);
    }
}

fn download(world: &World, url: &str, limit: usize) -> Result<Vec<u8>, Failure> {
    let refused = |reason: String| Failure::Refused(Error::Download { url: url.to_owned(), reason });
    let curl = search_path(world, "curl")
        .map_err(Failure::Refused)?
        .ok_or_else(|| refused("there is no curl on the PATH".to_owned()))?;
    // -q first: no .curlrc. Globbing is off, redirects stay within https.
    let mut arguments: Vec<OsString> = [
        "-q",
        "--silent",
        "--fail",
        "--globoff",
        "--proto",
        "=https,file",
        "--proto-redir",
        "=https",
        "--location",
        "--max-redirs",
        "3",
        "--connect-timeout",
        "10",
        "--max-time",
        "30",
        "--max-filesize",
    ]
    .map(OsString::from)
    .to_vec();
    arguments.push(limit.to_string().into());
    if let Some(bundle) = world.variable("COCO_CA_BUNDLE") {
        arguments.push("--cacert".into());
        arguments.push(bundle.to_owned());
    }
    arguments.extend(["--url".into(), url.into()]);
    let (code, bytes) = exec::fetch(&curl, &arguments, limit).map_err(Failure::Refused)?;
    match code {
        // Whatever curl says of the pipe that was closed on it.
        _ if bytes.len() > limit => Err(refused(format!("it is larger than {limit} bytes"))),
        Some(0) => Ok(bytes),
        Some(63) => Err(refused(format!("it is larger than {limit} bytes"))),
        Some(22 | 37) => Err(refused("the store has no such file".to_owned())),
        Some(code) if NETWORK_CODES.contains(&code) => Err(Failure::Network(said(code))),
        Some(code) => Err(refused(said(code))),
        None => Err(refused("curl was killed".to_owned())),
    }
}
