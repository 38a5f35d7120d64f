//! An engine that fails before the tool is there: what coco says about it.

use crate::world::World;

/// The helper's own exit code: it was there, and nobody took its call.
#[test]
fn a_sandbox_on_another_kernel_is_told() {
    let world = World::with_probe();
    world.engine("podman", 119);
    let ended = world.coco(["run", "probe"]).fails(125, "the sandbox can't reach coco");
    assert!(ended.hint().contains("not in a virtual machine"), "{ended:?}");
}
