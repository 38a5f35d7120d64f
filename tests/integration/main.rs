//! The built program in small worlds of its own: a home, a project, and an engine that only records
//! how it was called. What a real engine then does is the end-to-end tests' part.

#[cfg(test)]
mod argv;
#[cfg(test)]
mod attacks_script;
#[cfg(test)]
#[path = "../support/authority.rs"]
mod authority;
#[cfg(test)]
mod basics;
#[cfg(test)]
mod configs;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod engine_arguments;
#[cfg(test)]
mod engine_failures;
#[cfg(test)]
mod environment;
#[cfg(test)]
mod expectations;
#[cfg(test)]
mod from_bash;
#[cfg(test)]
mod hostile_stores;
#[cfg(test)]
mod house;
#[cfg(test)]
mod images;
#[cfg(test)]
mod links;
#[cfg(test)]
mod log;
#[cfg(test)]
mod multicall;
#[cfg(test)]
mod operands;
#[cfg(test)]
mod progress;
#[cfg(test)]
mod prune;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod records;
#[cfg(test)]
mod recursion;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod search_path;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod shop;
#[cfg(test)]
mod show;
#[cfg(test)]
mod signatures;
#[cfg(test)]
mod signing;
#[cfg(test)]
mod store;
#[cfg(test)]
mod sweeping;
#[cfg(test)]
mod world;
