//! Coco files from a store's address, by curl: https or file only, bounded in size and time, and
//! nothing is trusted before its signature was checked.

use std::ffi::OsString;

use crate::config::MAX_FILE;
use crate::error::Error;
use crate::exec;
use crate::facts::{World, search_path};
use crate::names::ToolName;
use crate::signed::MAX_SIGNATURE;
use crate::store::{self, Signed};

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
const NETWORK_CODES: &[i32] = &[5, 6, 7, 28, 35, 52, 55, 56];

/// The store's address: `COCO_STORE_BASE`, else the one that was built in, else none.
pub fn base(world: &World) -> Result<Option<String>, Error> {
    let base = world.text("COCO_STORE_BASE")?.or(option_env!("COCO_DEFAULT_STORE_BASE")).unwrap_or_default();
    if base.is_empty() {
        return Ok(None);
    }
    let good = ["https://", "file:///"].iter().any(|scheme| base.starts_with(scheme))
        && base.bytes().all(|byte| byte.is_ascii_graphic());
    if good {
        return Ok(Some(base.trim_end_matches('/').to_owned()));
    }
    Err(Error::Environment {
        name: "COCO_STORE_BASE",
        message: format!("{base:?} is neither an https:// nor a file:/// address"),
        hint: "write for example https://store.example.com/coco".to_owned(),
    })
}

/// Fetches a tool's coco file and its signature, and checks them.
pub fn coco_file(world: &World, base: &str, name: &ToolName) -> Result<Signed, Failure> {
    let url = format!("{base}/{name}.json");
    let bytes = download(world, &url, MAX_FILE)?;
    let signature = download(world, &format!("{url}.minisig"), MAX_SIGNATURE)?;
    store::config_file(name, bytes, signature, &url).map_err(Failure::Refused)
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
        Some(code) if NETWORK_CODES.contains(&code) => Err(Failure::Network(format!("curl's exit code {code}"))),
        Some(code) => Err(refused(format!("curl's exit code {code}"))),
        None => Err(refused("curl was killed".to_owned())),
    }
}
