//! End-to-end tests: coco's own binary, real engines, real registries.
//!
//! Each runs on podman as root, podman as an ordinary user, and docker, as far as the machine has them.

#[cfg(test)]
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the attacks, and each of the two uses a part")]
mod support;

#[cfg(test)]
mod broken_setups;
#[cfg(test)]
mod early_signals;
#[cfg(test)]
mod files;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod image;
#[cfg(test)]
mod install;
#[cfg(test)]
mod language_server;
#[cfg(test)]
mod leftovers;
#[cfg(test)]
mod load;
#[cfg(test)]
mod missing_helpers;
#[cfg(test)]
mod network;
#[cfg(test)]
mod no_home;
#[cfg(test)]
mod ports;
#[cfg(test)]
mod process;
#[cfg(test)]
mod registries;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod terminal;
#[cfg(test)]
mod tools;
