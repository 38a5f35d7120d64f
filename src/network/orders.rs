//! What the proxy of one sandbox is to do, as plain data: a plan holds it, and nothing in here opens or starts anything.

use std::path::PathBuf;

use super::upstream::Upstream;
use crate::names::PublishedPort;
use crate::rules::egress::Reach;

/// What the proxy of one sandbox does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orders {
    /// What may be reached.
    pub reach: Reach,
    /// The host's ports that lead into the sandbox.
    pub ports: Vec<PublishedPort>,
    /// How hosts are reached.
    pub upstream: Upstream,
    /// This program, which guards `getent`.
    pub program: PathBuf,
    /// The host's program that looks names up; `None` where there is none.
    pub getent: Option<PathBuf>,
    /// The log's file.
    pub journal: PathBuf,
    /// The tool whose connections they are, for the log.
    pub tool: String,
    /// The phase, for the log.
    pub phase: &'static str,
}
