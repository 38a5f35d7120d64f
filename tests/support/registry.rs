//! A package registry of the tests' own, in the way of npm's: documents about packages, and their archives, over TLS.
//! It has a name that exists nowhere else, so whoever installs from it has asked this one.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use super::authority::KeyExchange;
use super::network::Network;
use super::servers::{self, Server, Tap};
use super::{World, command, printable, run};

/// A package as its author has it: files by their names, `package.json` among them.
#[derive(Debug)]
pub struct Package<'a> {
    /// What `package.json` says.
    pub manifest: Value,
    /// The other files.
    pub files: Vec<(&'a str, &'a str)>,
}

/// The registry, with the image in which npm knows it.
#[derive(Debug)]
pub struct Registry {
    /// The server.
    pub server: Server,
    /// What `COCO_IMAGE` is set to: coco's own node image with one more file.
    pub image: String,
}

impl Registry {
    /// Serves packages, at the only version that each has.
    #[track_caller]
    pub fn start(world: &World, network: &Network, packages: &[Package]) -> Registry {
        let domain = network.domain();
        let name = format!("registry.{domain}");
        let mut pages = BTreeMap::new();
        for package in packages {
            publish(world, &name, package, &mut pages);
        }
        let address = network.address();
        network.resolve(&name, &[address]);
        let config = network.authority.config(&[&name], KeyExchange::Usual);
        let server = network.serve(address, 443, serve(config, pages));
        // The node image is there after this, whoever comes first.
        world.has_node();
        let context = world.project("registry");
        world.write(context.join("npmrc"), format!("registry=https://{name}/\n"));
        // Debian's npm reads its global configuration there.
        world.write(context.join("Containerfile"), "FROM localhost/coco:node\nCOPY npmrc /etc/npmrc\n");
        let image = format!("localhost/coco-test:registry-{domain}");
        let file = format!("{}/Containerfile", context.display());
        world.engine(["build", "-t", &image, "-f", &file, context.to_str().unwrap()]).succeeds();
        Registry { server, image }
    }

    /// Runs coco where the registry is reached.
    pub fn coco(&self, world: &World, network: &Network, directory: &Path, arguments: &[&str]) -> super::Run {
        run(&mut network.world_command(world, |coco| {
            coco.env("COCO_IMAGE", &self.image).env("API_TOKEN", "token-of-the-caller");
            coco.current_dir(directory).args(arguments);
        }))
    }
}

/// Adds a package's document and archive to the pages.
fn publish(world: &World, registry: &str, package: &Package, pages: &mut BTreeMap<String, Vec<u8>>) {
    let manifest = &package.manifest;
    let (name, version) = (manifest["name"].as_str().unwrap(), manifest["version"].as_str().unwrap());
    let place = world.project(name);
    world.write(place.join("package/package.json"), manifest.to_string());
    for (file, text) in &package.files {
        world.write(place.join("package").join(file), text);
    }
    let packed = run(command("tar").arg("-C").arg(&place).args(["-czf", "-", "package"])).succeeds().stdout.clone();
    let archive = format!("/{name}/-/{name}-{version}.tgz");
    let mut released = manifest.clone();
    released["dist"] = json!({
        "tarball": format!("https://{registry}{archive}"),
        "integrity": format!("sha512-{}", servers::base64(&Sha512::digest(&packed))),
    });
    released["hasInstallScript"] = json!(manifest["scripts"]["postinstall"].is_string());
    let then = "2024-01-01T00:00:00.000Z";
    let document = json!({
        "_id": name,
        "name": name,
        "dist-tags": {"latest": version},
        "versions": {version: released},
        "time": {"created": then, "modified": then, version: then},
    });
    pages.insert(format!("/{name}"), document.to_string().into_bytes());
    pages.insert(archive, packed);
}

/// One answer for each connection.
fn serve(config: Arc<ServerConfig>, pages: BTreeMap<String, Vec<u8>>) -> impl Fn(Tap) + Send + Sync + 'static {
    move |tap| {
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), tap);
        let Some(head) = servers::http_head(&mut stream) else { return };
        let path = head.split(' ').nth(1).and_then(|target| target.split('?').next()).unwrap_or_default();
        let (status, body) = match pages.get(path) {
            Some(page) => ("200 OK", page.as_slice()),
            None => ("404 Not Found", b"{}".as_slice()),
        };
        let kind = if path.contains("/-/") { "application/octet-stream" } else { "application/json" };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        if stream.write_all(answer.as_bytes()).and_then(|()| stream.write_all(body)).is_ok() {
            stream.conn.send_close_notify();
            let _ = stream.flush();
            // Whatever else was sent is read: closing with bytes unread would take the answer back.
            let _ = stream.read(&mut [0; 4096]);
        }
    }
}

/// What is below a directory: names with kinds, permissions and contents.
pub fn tree(top: &Path) -> BTreeMap<String, String> {
    let listed = run(command("find").arg(top).args(["-printf", "%P %M %U %G %l\\0"])).succeeds().stdout.clone();
    let mut tree = BTreeMap::new();
    for entry in listed.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
        let entry = printable(entry);
        let name = entry.split(' ').next().unwrap().to_owned();
        let content = std::fs::symlink_metadata(top.join(&name))
            .is_ok_and(|metadata| metadata.is_file())
            .then(|| coco::sys::hash::digest(&std::fs::read(top.join(&name)).unwrap()));
        tree.insert(name, format!("{entry} {}", content.unwrap_or_default()));
    }
    tree
}
