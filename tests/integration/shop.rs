//! A store of somebody else's on a real HTTPS server, signed with a key of theirs. It can be told to misbehave.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Map, Value, json};

use crate::authority::{Authority, KeyExchange};
use crate::world::World;

/// How a request is answered in the place of the file.
#[derive(Debug, Clone)]
pub enum Fault {
    /// 200, and these bytes.
    Body(Vec<u8>),
    /// These bytes and the end of the connection: a whole answer, or none.
    Raw(String),
    /// 200 and bytes for as long as somebody takes them.
    Endless,
    /// Header lines for as long as somebody takes them.
    EndlessHead,
    /// Nothing, ever.
    Silence,
    /// The file, a byte each second.
    Drip,
}

/// An HTTPS server that serves the files of a directory.
pub struct Shop {
    /// Where it listens.
    pub address: SocketAddr,
    authority: Authority,
    faults: Arc<Mutex<BTreeMap<String, Fault>>>,
    requests: Arc<Mutex<Vec<String>>>,
    open: Arc<AtomicUsize>,
}

impl Shop {
    /// Serves a directory with a certificate for its address.
    pub fn new(place: &Path) -> Shop {
        Shop::with_certificate(place, |authority| authority.config(&["127.0.0.1"], KeyExchange::Usual))
    }

    /// The same with another certificate.
    pub fn with_certificate(place: &Path, certificate: impl FnOnce(&Authority) -> Arc<ServerConfig>) -> Shop {
        let authority = Authority::new();
        let config = certificate(&authority);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shop = Shop {
            address: listener.local_addr().unwrap(),
            authority,
            faults: Arc::default(),
            requests: Arc::default(),
            open: Arc::default(),
        };
        let place = place.to_owned();
        let (faults, requests, open) = (Arc::clone(&shop.faults), Arc::clone(&shop.requests), Arc::clone(&shop.open));
        // Ends with the tests.
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (faults, requests, open, place, config) =
                    (Arc::clone(&faults), Arc::clone(&requests), Arc::clone(&open), place.clone(), Arc::clone(&config));
                open.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                    if let Some(file) = asked_for(&mut stream) {
                        requests.lock().unwrap().push(file.clone());
                        let fault = faults.lock().unwrap().get(&file).cloned();
                        // Whoever asked may leave at any time.
                        let _ = serve(&mut stream, &place.join(&file), fault);
                        stream.conn.send_close_notify();
                        let _ = stream.conn.complete_io(&mut stream.sock);
                    }
                    drop(stream);
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        shop
    }

    /// Who vouches for it.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Its address for coco.
    pub fn base(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Makes it a world's store.
    pub fn connect(&self, world: &mut World) {
        let bundle = world.path("ca.pem");
        fs::write(&bundle, self.authority.pem()).unwrap();
        world.set("COCO_CA_BUNDLE", bundle);
        world.set("COCO_STORE_BASE", self.base());
        std::os::unix::fs::symlink("/usr/bin/curl", world.path("engines/curl")).unwrap();
    }

    /// Answers a request for a file with a fault from now on, or properly again.
    pub fn misbehave(&self, file: &str, fault: Option<Fault>) {
        let mut faults = self.faults.lock().unwrap();
        match fault {
            Some(fault) => faults.insert(file.to_owned(), fault),
            None => faults.remove(file),
        };
    }

    /// What was asked for since the last call of this.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    /// How many are connected now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// Reads a request and gives the file's name.
fn asked_for(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let text = String::from_utf8(head).ok()?;
    Some(text.strip_prefix("GET /")?.split(' ').next()?.to_owned())
}

fn serve(stream: &mut impl ReadWrite, file: &Path, fault: Option<Fault>) -> std::io::Result<()> {
    let proper = |bytes: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
        [head.as_bytes(), bytes].concat()
    };
    match fault {
        None => match fs::read(file) {
            Ok(bytes) => stream.write_all(&proper(&bytes)),
            Err(_) => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        },
        Some(Fault::Body(bytes)) => stream.write_all(&proper(&bytes)),
        Some(Fault::Raw(text)) => stream.write_all(text.as_bytes()),
        Some(Fault::Endless) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[b'{'; 16384])?;
            }
        }
        Some(Fault::EndlessHead) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            loop {
                stream.write_all(b"X-Header: of this and that\r\n")?;
            }
        }
        Some(Fault::Silence) => stream.read_exact(&mut [0]),
        Some(Fault::Drip) => {
            for byte in proper(&fs::read(file)?) {
                stream.write_all(&[byte])?;
                thread::sleep(Duration::from_secs(1));
            }
            Ok(())
        }
    }
}

trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

/// Whose store it is.
pub struct Owner(minisign::KeyPair);

impl Owner {
    /// Somebody with a new key.
    pub fn new() -> Owner {
        Owner(minisign::KeyPair::generate_unencrypted_keypair().unwrap())
    }

    /// Somebody with a new key that has the number of another one.
    pub fn with_number_of(other: &Owner) -> Owner {
        let Owner(own) = Owner::new();
        // Where minisign's formats have it: after the names of the algorithms, and the salt and cost of a password.
        let number = 2..10;
        let (mut public, mut secret) = (own.pk.to_bytes(), own.sk.to_bytes());
        let wanted = other.0.pk.to_bytes()[number.clone()].to_vec();
        public[number].copy_from_slice(&wanted);
        secret[54..62].copy_from_slice(&wanted);
        let (pk, sk) = (minisign::PublicKey::from_bytes(&public).unwrap(), minisign::SecretKey::from_bytes(&secret));
        Owner(minisign::KeyPair { pk, sk: sk.unwrap() })
    }

    /// A signature with a trusted comment.
    pub fn sign(&self, bytes: &[u8], comment: &str) -> String {
        let signature = minisign::sign(Some(&self.0.pk), &self.0.sk, Cursor::new(bytes), Some(comment), None);
        signature.unwrap().into_string()
    }

    /// The public key's file.
    pub fn public(&self) -> String {
        self.0.pk.to_box().unwrap().into_string()
    }
}

/// A world, and the store that it uses, whose key it trusts.
pub struct Store {
    /// Where coco runs.
    pub world: World,
    /// The directory that is served.
    pub place: PathBuf,
    /// The server.
    pub shop: Shop,
    /// Who signs.
    pub owner: Owner,
    /// The index's revision.
    pub index: u64,
    /// What the index lists.
    pub tools: Map<String, Value>,
}

/// The rest of a coco file that writes the project.
pub const WRITES: &str = r#", "mounts": [{"src": ".", "opts": "rw"}]"#;
/// The rest of one that reads it.
pub const READS: &str = r#", "mounts": [{"src": ".", "opts": "ro"}]"#;

impl Store {
    /// An empty one.
    pub fn new() -> Store {
        let mut world = World::new();
        let place = world.path("store");
        fs::create_dir(&place).unwrap();
        let shop = Shop::new(&place);
        shop.connect(&mut world);
        let store = Store { world, place, shop, owner: Owner::new(), index: 0, tools: Map::new() };
        trust(&store.world, "acme", &store.owner);
        store
    }

    /// Publishes any file.
    pub fn write(&self, name: &str, bytes: &[u8], comment: &str) {
        fs::write(self.place.join(name), bytes).unwrap();
        fs::write(self.place.join(format!("{name}.minisig")), self.owner.sign(bytes, comment)).unwrap();
    }

    /// What is published under a name.
    pub fn published(&self, name: &str) -> Vec<u8> {
        fs::read(self.place.join(name)).unwrap()
    }

    /// Publishes a coco file at a revision, and an index that says so.
    pub fn publish(&mut self, name: &str, revision: u64, rest: &str) {
        let text = format!(r#"{{"tool": "npm:{name}", "description": "d"{rest}}}"#);
        self.write(&format!("{name}.json"), text.as_bytes(), &format!("coco-config name={name} revision={revision}"));
        let entry = json!({"revision": revision, "tool": format!("npm:{name}"), "description": "d"});
        self.tools.insert(name.to_owned(), entry);
        self.index += 1;
        self.write_index("2099-01-01");
    }

    /// Publishes the index.
    pub fn write_index(&self, expires: &str) {
        let text = json!({"revision": self.index, "expires": expires, "tools": self.tools}).to_string();
        self.write("index.json", text.as_bytes(), &format!("coco-index revision={}", self.index));
    }

    /// Publishes the owner's key as the one that comes after another's.
    pub fn name_successor_of(&self, old: &Owner) {
        let next = self.owner.public();
        fs::write(self.place.join("successor.pub"), &next).unwrap();
        fs::write(self.place.join("successor.pub.minisig"), old.sign(next.as_bytes(), "coco-key revision=1")).unwrap();
    }

    /// Its other address, at which nothing was fetched yet.
    pub fn file_address(&self) -> String {
        format!("file://{}", self.place.display())
    }

    /// Where a tool's coco file is in the world.
    pub fn tool(&self, name: &str) -> PathBuf {
        self.world.path(format!("data/coco/tools/{name}.json"))
    }
}

/// Adds a key by the command, as a user does it.
pub fn trust(world: &World, name: &str, owner: &Owner) {
    let file = world.path(format!("home/{name}.pub"));
    fs::write(&file, owner.public()).unwrap();
    world.coco(["key", "add", file.to_str().unwrap()]).exits(0);
}
