//! Images: the user's own, and one that is gone.

use std::fs;

use serde_json::json;

use crate::support::{World, each_engine, run};

each_engine!(the_users_own_image, a_lost_image_is_built_again);

fn the_users_own_image(world: &World) {
    world.python("own-image", &json!({}));
    let context = world.project("image");
    world.write(context.join("mark"), "of the user");
    world.write(context.join("Containerfile"), "FROM localhost/coco:python\nCOPY mark /etc/mark\n");
    let tag = "localhost/coco-test:own-image";
    world
        .engine(["build", "-t", tag, "-f", &format!("{}/Containerfile", context.display()), context.to_str().unwrap()])
        .succeeds();
    let shown = run(world.command(&world.coco).env("COCO_IMAGE", tag).args([
        "run",
        "own-image",
        "-c",
        "print(open('/etc/mark').read())",
    ]));
    assert_eq!(shown.succeeds().text(), "of the user");
    world.coco(["run", "own-image", "-c", "open('/etc/mark')"]).exits(1).complains("FileNotFoundError");
}

/// The ruby stage, which no other test uses.
fn a_lost_image_is_built_again(world: &World) {
    world.tool("lost", &json!({"tool": "ruby@system", "command": "ruby"}));
    assert_eq!(world.coco(["run", "lost", "-e", "puts 42"]).succeeds().text(), "42");
    let record = world.home.join(format!(".local/state/coco/images/{}-ruby.json", world.engine.program()));
    let image: serde_json::Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
    let id = image["id"].as_str().unwrap();
    world.engine(["rmi", "--force", id]).succeeds();
    assert_ne!(world.engine(["image", "inspect", id]).code(), 0);
    let again = world.coco(["run", "lost", "-e", "puts 42"]);
    assert_eq!(again.succeeds().text(), "42");
    again.complains("building the image for ruby");
    assert!(!world.coco(["run", "lost", "-e", "puts 42"]).succeeds().errors().contains("building"));
}
