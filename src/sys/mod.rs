//! What any program of this kind needs of the system. Knows nothing of coco but its errors and its JSON.

pub mod base64;
pub mod files;
pub mod hash;
pub mod limits;
pub mod lock;
pub mod mountinfo;
pub mod proc_status;
pub mod remove_tree;
pub mod time;
pub mod xauthority;
