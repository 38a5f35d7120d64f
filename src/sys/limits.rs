//! This process's resource limits (getrlimit(2)).

pub use rustix::process::Resource;
use rustix::process::{Rlimit, getrlimit, setrlimit};

/// The soft and the hard limit; `u64::MAX` where there is none.
pub fn limits(resource: Resource) -> (u64, u64) {
    let Rlimit { current, maximum } = getrlimit(resource);
    (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX))
}

/// Raises the soft limit to `wanted`, or to the hard limit where that is lower, and gives the soft limit.
pub fn raise(resource: Resource, wanted: u64) -> u64 {
    let (soft, hard) = limits(resource);
    let raised = soft.max(hard.min(wanted));
    let new = Rlimit { current: Some(raised), maximum: getrlimit(resource).maximum };
    if setrlimit(resource, new).is_ok() { raised } else { soft }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_raised_as_far_as_it_may_be_and_never_lowered() {
        let (soft, hard) = limits(Resource::Core);
        assert_eq!(raise(Resource::Core, 0), soft);
        assert_eq!(raise(Resource::Core, hard), hard);
        assert_eq!(limits(Resource::Core), (hard, hard));
        assert_eq!(raise(Resource::Core, u64::MAX), hard);
    }
}
