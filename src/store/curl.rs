//! Downloads by curl: https or file only, bounded in size and time.

use std::ffi::OsString;
use std::time::Duration;

use crate::error::Error;
use crate::exec;
use crate::host::World;
use crate::host::search_path::search_path;
use crate::rules::variables::CURL_VARIABLES;

/// The longest that one download may take, should curl's own limit of 20 s fail.
const MAX_DURATION: Duration = Duration::from_secs(25);

/// What curl writes to standard error at its end: the number of redirections, the seconds until TLS was agreed on
/// (zeros for never), and HTTP's status (zeros for none).
const WRITE_OUT: &str = "%{stderr}%{num_redirects} %{time_appconnect} %{http_code}";

/// curl's exit codes for a store that can't be reached: no proxy or host name, no connection, a time-out, no TLS
/// handshake, a connection that broke. A wrong certificate is none of them: somebody answered.
const UNREACHABLE_CODES: &[i32] = &[5, 6, 7, 28, 35, 52, 55, 56];

/// Why a download, or a step that needs one, failed.
#[derive(Debug)]
pub enum FetchError {
    /// The store could not be reached: nobody who could prove to be it has answered. The bundled store may be used
    /// instead.
    Unreachable(String),
    /// Everything else, a bad signature above all.
    Refused(Error),
}

impl FetchError {
    /// The error for the user, when this URL is not to be replaced by another store.
    pub fn into_error(self, url: &str) -> Error {
        match self {
            FetchError::Unreachable(reason) => Error::Download { url: url.to_owned(), reason },
            FetchError::Refused(error) => error,
        }
    }
}

impl From<Error> for FetchError {
    fn from(error: Error) -> FetchError {
        FetchError::Refused(error)
    }
}

/// Downloads a file of at most `limit` bytes.
pub fn download(world: &World, url: &str, limit: usize) -> Result<Vec<u8>, FetchError> {
    let refused = |reason: String| FetchError::Refused(Error::Download { url: url.to_owned(), reason });
    let curl = search_path(world, "curl")?.ok_or_else(|| {
        FetchError::Refused(Error::Environment {
            name: "PATH",
            message: "curl is not on it, and stores at an address need it".to_owned(),
            hint: "install curl (apt-get install curl), or use --bundled".to_owned(),
        })
    })?;
    let arguments = arguments(world, url, limit);
    let passed = world.variables.iter().filter(|(name, _)| CURL_VARIABLES.iter().any(|known| name == known));
    let environment: Vec<_> = passed.map(|(name, value)| (name.clone(), value.clone())).collect();
    let client = exec::Client { program: &curl, environment: &environment };
    let exec::Fetched { code, bytes, outcome } = exec::fetch(&world.program, client, &arguments, limit, MAX_DURATION)?;
    let mut outcome = outcome.split(' ');
    let mut field = || outcome.next().unwrap_or_default();
    let answered = [field(), field()].iter().any(|number| number.bytes().any(|byte| matches!(byte, b'1'..=b'9')));
    let status = field();
    match code {
        // Whatever curl says about the pipe that was closed.
        _ if bytes.len() > limit => Err(refused(format!("it is larger than {limit} bytes"))),
        Some(0) => Ok(bytes),
        Some(63) => Err(refused(format!("it is larger than {limit} bytes"))),
        Some(22) if status != "404" => Err(refused(format!("the server answers with HTTP status {status}"))),
        Some(22 | 37) => Err(refused("the store has no such file".to_owned())),
        Some(code) if UNREACHABLE_CODES.contains(&code) && !answered && url.starts_with("https:") => {
            Err(FetchError::Unreachable(curl_error(code)))
        }
        Some(code) => Err(refused(curl_error(code))),
        None => Err(refused("curl was killed".to_owned())),
    }
}

/// curl's arguments. `-q` comes first: no .curlrc. Globbing is off, and redirections stay within https.
fn arguments(world: &World, url: &str, limit: usize) -> Vec<OsString> {
    let protocol = if url.starts_with("file:") { "=file" } else { "=https" };
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
        WRITE_OUT,
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
    arguments
}

/// What curl's exit code means, in words (curl(1), EXIT CODES).
fn curl_error(code: i32) -> String {
    let words = match code {
        1 => "it uses another protocol, or redirects to one",
        5 => "the proxy's name is unknown",
        6 => "its name is unknown",
        7 => "nobody answers there",
        8 => "the answer is not HTTP",
        18 => "the answer was cut off",
        28 => "it took too long",
        35 => "the TLS handshake failed",
        47 => "it redirects too often",
        52 | 55 | 56 => "the connection broke",
        51 | 60 => "its certificate is not trusted, or belongs to another host",
        _ => "curl failed",
    };
    format!("{words} (curl exit code {code})")
}
