//! Attacks: each really tries it from inside the sandbox, and has a control in which the same probe succeeds where the
//! thing was granted, or where there is no coco. The ids are those of docs/threats.md.

#[cfg(test)]
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the end-to-end tests, and each of the two uses a part")]
mod support;

#[cfg(test)]
mod addresses;
#[cfg(test)]
mod bombs;
#[cfg(test)]
mod channel;
#[cfg(test)]
mod consent;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod environment;
#[cfg(test)]
mod files;
#[cfg(test)]
mod filter;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod http;
#[cfg(test)]
mod install;
#[cfg(test)]
mod kernel;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod names;
#[cfg(test)]
mod network;
#[cfg(test)]
mod process;
#[cfg(test)]
mod protect;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod story;
#[cfg(test)]
mod tls;
