//! What a reviewer comes for, as data: nothing here but the standard library and `names`.

pub mod autorun;
pub mod egress;
pub mod engine_options;
pub mod host_paths;
pub mod sandbox_paths;
pub mod syscalls;
pub mod variables;
