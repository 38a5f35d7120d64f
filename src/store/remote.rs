//! Coco files out of a store: the one inside this program, or one at an address, by curl: https or file only,
//! bounded in size and time, and nothing is trusted before its signature was checked.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use crate::config::MAX_FILE;
use crate::error::Error;
use crate::host::World;
use crate::host::search_path::search_path;
use crate::names::{ToolName, nearest};
use crate::store::bundled::{self, Signed};
use crate::store::keyring::{self, KeyId, Succession, TrustedKey};
use crate::store::rollback::{self, Addresses, Memory};
use crate::store::signature::{self, Index, MAX_INDEX, MAX_SIGNATURE, Subject, UNKNOWN_KEY, Verified};
use crate::sys::files::write_atomically;
use crate::{exec, term};

/// Why a fetch failed.
#[derive(Debug)]
enum Failure {
    /// The store could not be reached; nobody who could prove to be it has said anything. The bundled
    /// store may serve instead.
    Unreachable(String),
    /// Everything else, a bad signature above all.
    Refused(Error),
}

/// What curl's exit code means, in words (curl(1), EXIT CODES).
fn said(code: i32) -> String {
    let words = match code {
        1 => "it speaks another protocol, or redirects to one",
        5 => "the proxy's name is unknown",
        6 => "its name is unknown",
        7 => "nobody answers there",
        8 => "the answer is no HTTP",
        18 => "the answer was cut off",
        28 => "it took too long",
        35 => "the TLS handshake failed",
        47 => "it redirects too often",
        52 | 55 | 56 => "the connection broke",
        51 | 60 => "its certificate is not trusted, or is another host's",
        _ => "curl failed",
    };
    format!("{words} (curl's exit code {code})")
}

/// curl's exit codes for a store that can't be reached: no proxy or host name, no connection, a time-out,
/// no TLS handshake, a connection that broke. Not a certificate that is wrong: somebody answered.
const UNREACHABLE_CODES: &[i32] = &[5, 6, 7, 28, 35, 52, 55, 56];

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

/// Whether a text can be a store's address: a host without a user's name or password, or a directory.
pub fn is_address(text: &str) -> bool {
    let place = match text.strip_prefix("https://") {
        Some(rest) => rest.split('/').next().filter(|host| !host.contains('@')),
        None => text.strip_prefix("file:///"),
    };
    place.is_some_and(|place| !place.is_empty())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\".contains(&byte))
        && text.len() <= 1024
}

/// Where coco files come from, with an index that was checked.
#[derive(Debug)]
pub struct Shelf {
    place: Place,
    index: Index,
    /// The key that signed the index; its files are signed by the same.
    key: TrustedKey,
}

#[derive(Debug, Clone)]
enum Place {
    Bundled,
    At(String),
}

/// What serves when a store can't be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// The store inside this program.
    Bundled,
    /// Nothing: it is this store that was asked for.
    Nothing,
}

impl Failure {
    fn into_error(self, url: &str) -> Error {
        match self {
            Failure::Unreachable(reason) => Error::Download { url: url.to_owned(), reason },
            Failure::Refused(error) => error,
        }
    }
}

impl Shelf {
    /// The store inside this program. Its index may be older than what was seen elsewhere; its files not.
    pub fn bundled() -> Result<Shelf, Error> {
        Ok(Shelf { place: Place::Bundled, index: bundled::index()?, key: keyring::built_in()? })
    }

    /// The store at an address; where it can't be reached, the bundled one, unless this very store was asked for.
    pub fn open(world: &World, base: &str, otherwise: Otherwise) -> Result<Shelf, Error> {
        match (Shelf::at(world, base), otherwise) {
            (Ok(shelf), _) => Ok(shelf),
            (Err(Failure::Unreachable(reason)), Otherwise::Bundled) => {
                let words = format!("{base} can't be reached: {reason}; using the bundled store");
                term::note("warning", &words);
                Shelf::bundled()
            }
            (Err(failure), _) => Err(failure.into_error(base)),
        }
    }

    fn at(world: &World, base: &str) -> Result<Shelf, Failure> {
        let url = format!("{base}/index.json");
        let bytes = download(world, &url, MAX_INDEX)?;
        let signature = download(world, &format!("{url}.minisig"), MAX_SIGNATURE)?;
        let mut trusted = keyring::keys(world).map_err(Failure::Refused)?;
        let mut checked = verify(&bytes, &signature, &trusted, &Subject::Index);
        if checked.as_ref().is_err_and(|reason| reason == UNKNOWN_KEY) {
            let Some(named) = successor(world, base, &trusted)? else {
                let message = format!("{url} was made by an unknown key");
                let hint = "if you trust who runs this store: coco key add FILE, with the key that they gave you";
                return Err(Failure::Refused(Error::Store { message, hint: hint.to_owned() }));
            };
            checked = verify(&bytes, &signature, std::slice::from_ref(&named.key), &Subject::Index);
            if checked.is_ok() {
                named.keep(world, base).map_err(Failure::Refused)?;
                // First, for it is the first and only one that was tried.
                trusted.insert(0, named.key);
            }
        }
        let refused = |reason: String| Failure::Refused(Error::Signature { what: url.clone(), reason });
        let verified = checked.map_err(refused)?;
        let index = Index::parse(&verified)
            .map_err(|error| Failure::Refused(Error::Config { file: url.clone().into(), error }))?;
        let key = trusted.get(verified.signer()).cloned().ok_or_else(|| refused(UNKNOWN_KEY.to_owned()))?;
        let mut memory = Memory::of(world, &key.id).map_err(Failure::Refused)?;
        memory.saw_index(&url, &verified).map_err(Failure::Refused)?;
        current(world, &url, &index, &key, &trusted).map_err(Failure::Refused)?;
        hold(world, base, &key, &trusted)?;
        tell_dates(base, &index, &memory);
        memory.save(rollback::now()).map_err(Failure::Refused)?;
        Ok(Shelf { place: Place::At(base.to_owned()), index, key })
    }

    /// The key that signed its index.
    pub fn key(&self) -> &TrustedKey {
        &self.key
    }

    /// Its name for people and records.
    pub fn name(&self) -> &str {
        match &self.place {
            Place::Bundled => BUNDLED,
            Place::At(base) => base,
        }
    }

    /// A tool's coco file, checked against the index, what was seen before, and what this program holds; from now
    /// on it was seen.
    pub fn coco_file(&self, world: &World, name: &ToolName) -> Result<Signed, Error> {
        let Some(entry) = self.index.entry(name) else {
            let nearest = nearest(name.as_str(), self.index.tools.iter().map(|entry| entry.name.as_str()));
            return Err(Error::NotInStore { name: name.to_string(), nearest: nearest.map(str::to_owned) });
        };
        let (signed, what) = match &self.place {
            Place::Bundled => (bundled::bundled(name)?, format!("{name}.json in {BUNDLED}")),
            Place::At(base) => {
                let url = format!("{base}/{name}.json");
                // A store whose index was read is no longer one that can't be reached.
                let fetch = |url: &str, limit| download(world, url, limit).map_err(|failure| failure.into_error(url));
                let bytes = fetch(&url, MAX_FILE)?;
                let signature = fetch(&format!("{url}.minisig"), MAX_SIGNATURE)?;
                (bundled::config_file(name, bytes, signature, std::slice::from_ref(&self.key), &url)?, url)
            }
        };
        let revision = signed.verified.revision();
        if revision != entry.revision {
            let reason = format!("it is revision {revision}, and the index says {}", entry.revision);
            return Err(Error::Rollback { what, reason });
        }
        // Going back behind what this program carries would undo a fix.
        if let Ok(own) = bundled::bundled(name)
            && own.key == signed.key
            && own.verified.revision() > revision
        {
            let reason = format!("it is revision {revision}, older than the bundled {}", own.verified.revision());
            return Err(Error::Rollback { what, reason });
        }
        // Read anew: another shelf with the same key may have written since.
        let mut memory = Memory::of(world, &self.key.id)?;
        memory.saw_file(&what, name, &signed.verified)?;
        memory.save(rollback::now())?;
        Ok(signed)
    }
}

/// The name of the store inside this program.
pub const BUNDLED: &str = "the bundled store";

fn verify(bytes: &[u8], signature: &[u8], trusted: &[TrustedKey], subject: &Subject) -> Result<Verified, String> {
    let keys: Vec<_> = trusted.iter().map(|trusted| trusted.key.clone()).collect();
    signature::verify(bytes.to_vec(), signature, &keys, subject)
}

/// Holds an address to its key. A next key that the user knows already may have been named meanwhile.
fn hold(world: &World, base: &str, key: &TrustedKey, trusted: &[TrustedKey]) -> Result<(), Failure> {
    let addresses = Addresses::of(world).map_err(Failure::Refused)?;
    let succession = Succession::of(world).map_err(Failure::Refused)?;
    if let Some(before) = addresses.held_to(base, &key.id, trusted, &succession) {
        match successor(world, base, std::slice::from_ref(before)) {
            Ok(Some(named)) if named.key.id == key.id => named.keep(world, base).map_err(Failure::Refused)?,
            _ => return Err(Failure::Refused(addresses.refuse(base, &key.id, before))),
        }
    }
    addresses.hold(base, &key.id).map_err(Failure::Refused)
}

/// Refuses an index that something newer has taken the place of: the one inside this program, or a key.
fn current(world: &World, url: &str, index: &Index, key: &TrustedKey, trusted: &[TrustedKey]) -> Result<(), Error> {
    let refused = |reason: String| Err(Error::Rollback { what: url.to_owned(), reason });
    if key.name == keyring::BUILT_IN {
        let own = bundled::index()?.revision;
        if own > index.revision {
            return refused(format!("it is revision {}, older than the bundled {own}", index.revision));
        }
    }
    // Often because somebody else has the old one now.
    match Succession::of(world)?.next(&key.id, trusted) {
        Some(next) => refused(format!("it is signed by the key {}, which {} has followed", key.id.number, next.name)),
        None => Ok(()),
    }
}

/// The key that comes after a trusted one.
struct Successor {
    key: TrustedKey,
    /// The one that says so.
    old: KeyId,
}

impl Successor {
    /// Trusts it from now on, and says so; what is trusted already only gets its place.
    fn keep(&self, world: &World, base: &str) -> Result<(), Error> {
        Succession::of(world)?.note(world, &self.old, &self.key.id)?;
        if keyring::keys(world)?.iter().any(|known| known.id == self.key.id) {
            return Ok(());
        }
        write_atomically(&keyring::path(world, &self.key.name), self.key.text.as_bytes())?;
        let words = format!(
            "{base} has a new key {}, signed with its old one {}; it is now trusted: coco key list",
            self.key.id.number, self.old.number
        );
        term::note("warning", &words);
        Ok(())
    }
}

/// A store that has a new key says so in `successor.pub`, signed with the old one. A key has one successor and
/// follows one key, and what the user has removed does not come back.
fn successor(world: &World, base: &str, trusted: &[TrustedKey]) -> Result<Option<Successor>, Failure> {
    let url = format!("{base}/successor.pub");
    let (Ok(bytes), Ok(signature)) =
        (download(world, &url, keyring::MAX_KEY), download(world, &format!("{url}.minisig"), MAX_SIGNATURE))
    else {
        return Ok(None);
    };
    let refused = |reason: String| Failure::Refused(Error::Signature { what: url.clone(), reason });
    let verified = verify(&bytes, &signature, trusted, &Subject::Key).map_err(refused)?;
    let text = std::str::from_utf8(verified.bytes()).map_err(|_| refused("it is no text".to_owned()))?;
    let mut key = TrustedKey::new("", text).map_err(refused)?;
    key.name = format!("successor-{}", key.id.number);
    let old = trusted.get(verified.signer()).ok_or_else(|| refused(UNKNOWN_KEY.to_owned()))?;
    if keyring::removed(world).map_err(Failure::Refused)?.contains(&key.id.digest) {
        return Err(Failure::Refused(Error::Store {
            message: format!("{url} names the key {}, which you have removed", key.id.number),
            hint: "if you trust it after all: coco key add FILE".to_owned(),
        }));
    }
    let all = keyring::keys(world).map_err(Failure::Refused)?;
    let alike = |known: &&TrustedKey| known.name == key.name || known.id.number == key.id.number;
    if let Some(known) = all.iter().filter(alike).find(|known| known.id != key.id) {
        return Err(refused(format!("it names a key with the number of {}", known.name)));
    }
    let succession = Succession::of(world).map_err(Failure::Refused)?;
    if let Some(next) = succession.next(&old.id, &all).filter(|next| next.id != key.id) {
        return Err(refused(format!("{} has named {} already", old.name, next.name)));
    }
    // Else who may sign for one store could cut another's key off from the one that it follows.
    if let Some(other) = succession.named_by(&key.id).filter(|by| **by != old.id) {
        return Err(refused(format!("the key {} comes after {} already", key.id.number, other.number)));
    }
    Ok(Some(Successor { key, old: old.id.clone() }))
}

fn tell_dates(base: &str, index: &Index, memory: &Memory) {
    let now = rollback::now();
    if memory.clock_went_back(now) {
        term::note(
            "warning",
            "the clock stands more than a day behind an earlier look at this store; dates mean nothing",
        );
    } else if rollback::day(&index.expires).is_none_or(|day| now / 86_400 > day) {
        let words =
            format!("{base}: its index expired on {}; updates may be held back, or your clock is wrong", index.expires);
        term::note("warning", &words);
    }
}

/// What curl writes to standard error when it is done: how often it was redirected, the seconds until TLS was
/// agreed on (zeros when it never was), and HTTP's status (zeros for none).
const OUTCOME: &str = "%{stderr}%{num_redirects} %{time_appconnect} %{http_code}";

/// The longest that one file may take, when curl's own limit of 20 s does not hold.
const LONGEST: Duration = Duration::from_secs(25);

fn download(world: &World, url: &str, limit: usize) -> Result<Vec<u8>, Failure> {
    let refused = |reason: String| Failure::Refused(Error::Download { url: url.to_owned(), reason });
    let curl = search_path(world, "curl")
        .map_err(Failure::Refused)?
        .ok_or_else(|| refused("there is no curl on the PATH".to_owned()))?;
    let protocol = if url.starts_with("file:") { "=file" } else { "=https" };
    // -q first: no .curlrc. Globbing is off, redirects stay within https.
    let mut arguments: Vec<OsString> = [
        "-q",
        "--silent",
        "--fail",
        "--globoff",
        "--proto",
        protocol,
        "--proto-redir",
        "=https",
        "--location",
        "--max-redirs",
        "3",
        "--tlsv1.2",
        "--connect-timeout",
        "10",
        "--max-time",
        "20",
        "--write-out",
        OUTCOME,
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
    let exec::Fetched { code, bytes, outcome } =
        exec::fetch(&world.program, &curl, &arguments, limit, LONGEST).map_err(Failure::Refused)?;
    let mut outcome = outcome.split(' ');
    let mut seen = || outcome.next().unwrap_or_default();
    let reached = [seen(), seen()].iter().any(|number| number.bytes().any(|byte| matches!(byte, b'1'..=b'9')));
    let status = seen();
    match code {
        // Whatever curl says of the pipe that was closed on it.
        _ if bytes.len() > limit => Err(refused(format!("it is larger than {limit} bytes"))),
        Some(0) => Ok(bytes),
        Some(63) => Err(refused(format!("it is larger than {limit} bytes"))),
        Some(22) if status != "404" => Err(refused(format!("the server answers with HTTP status {status}"))),
        Some(22 | 37) => Err(refused("the store has no such file".to_owned())),
        Some(code) if UNREACHABLE_CODES.contains(&code) && !reached && url.starts_with("https:") => {
            Err(Failure::Unreachable(said(code)))
        }
        Some(code) => Err(refused(said(code))),
        None => Err(refused("curl was killed".to_owned())),
    }
}
