//! A [`CocoFile`] as JSON text, so that `parse(print(file)) == file`; keys at their default are
//! left out.

use serde_json::{Map, Value, json};

use super::{
    Access, AccessSource, CacheScope, CocoFile, Isolation, Limits, Mount, Network, Protect, Relabel, Workdir, X11,
};

impl CocoFile {
    /// The coco file as pretty-printed JSON with a final newline.
    pub fn print(&self) -> String {
        let mut root = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                root.insert(key.to_owned(), value);
            }
        };
        put("$schema", self.schema.as_ref().map(|text| json!(text)));
        put("tool", Some(json!(self.tool.to_string())));
        put("command", self.command.as_ref().map(|name| json!(name.as_str())));
        put("description", self.description.as_ref().map(|text| json!(text)));
        put("homepage", self.homepage.as_ref().map(|text| json!(text)));
        put("mounts", some_array(self.mounts.iter().map(mount).collect()));
        put(
            "workdir",
            match &self.workdir {
                Workdir::Default => None,
                Workdir::CurrentDirectory => Some(json!(".")),
                Workdir::Guest(path) => Some(json!(path.as_str())),
            },
        );
        let env: Map<String, Value> = self.env.iter().map(|(name, value)| (name.to_string(), json!(value))).collect();
        put("env", (!env.is_empty()).then_some(Value::Object(env)));
        put("env_passthrough", some_array(self.env_passthrough.iter().map(|name| json!(name.as_str())).collect()));
        put("dependencies", dependencies(self));
        match &self.network {
            Network::None => {}
            Network::AllowedHosts(hosts) => {
                put("allowed_hosts", some_array(hosts.iter().map(|host| json!(host.to_string())).collect()));
            }
            Network::Public => put("network", Some(json!("public"))),
            Network::EngineDefault => put("network", Some(json!("default"))),
            Network::EngineNetwork(name) => put("network", Some(json!(name.as_str()))),
            Network::DangerousHost => put("network", Some(json!("host"))),
        }
        put("ports", some_array(self.ports.iter().map(|port| json!(port.to_string())).collect()));
        put("isolated", (self.isolation == Isolation::OwnRuntimes).then_some(json!(true)));
        put("cache", (self.cache == CacheScope::Shared).then_some(json!("shared")));
        put("data", (self.data == Access::ReadWrite).then_some(json!("rw")));
        put(
            "protect",
            match &self.protect {
                Protect::Default => None,
                Protect::List => Some(json!(true)),
                Protect::Paths(paths) => Some(paths.iter().map(|path| json!(path.as_str())).collect()),
                Protect::DangerousNothing => Some(json!(false)),
            },
        );
        put("limits", limits(self.limits));
        put("x11", (self.x11 == X11::DangerousDisplay).then_some(json!(true)));
        put("podman_args", some_array(self.podman_args.iter().map(|argument| json!(argument)).collect()));
        format!("{:#}\n", Value::Object(root))
    }
}

fn some_array(items: Vec<Value>) -> Option<Value> {
    (!items.is_empty()).then_some(Value::Array(items))
}

fn mount(mount: &Mount) -> Value {
    let mut members = Map::new();
    members.insert("src".to_owned(), json!(mount.src.to_string()));
    if let Some(dst) = &mount.dst {
        members.insert("dst".to_owned(), json!(dst.as_str()));
    }
    let access = match mount.access {
        Access::ReadOnly => "ro",
        Access::ReadWrite => "rw",
    };
    let word = (mount.access_source == AccessSource::Stated).then_some(access);
    let label = match mount.relabel {
        Relabel::Keep => None,
        Relabel::Shared => Some("z"),
        Relabel::Private => Some("Z"),
    };
    let opts: Vec<&str> = word.into_iter().chain(label).collect();
    if !opts.is_empty() {
        members.insert("opts".to_owned(), json!(opts.join(",")));
    }
    Value::Object(members)
}

fn dependencies(file: &CocoFile) -> Option<Value> {
    let mut members = Map::new();
    if let Some(apt) = some_array(file.apt.iter().map(|name| json!(name.as_str())).collect()) {
        members.insert("apt".to_owned(), apt);
    }
    if let Some(mise) = some_array(file.mise.iter().map(|tool| json!(tool.to_string())).collect()) {
        members.insert("mise".to_owned(), mise);
    }
    (!members.is_empty()).then_some(Value::Object(members))
}

fn limits(limits: Limits) -> Option<Value> {
    let mut members = Map::new();
    if let Some(bytes) = limits.memory {
        // Parsed from whole kibibytes, so nothing is lost.
        members.insert("memory".to_owned(), json!(format!("{}k", bytes >> 10)));
    }
    if let Some(pids) = limits.pids {
        members.insert("pids".to_owned(), json!(pids));
    }
    if let Some(milli) = limits.milli_cpus {
        members.insert("cpus".to_owned(), json!(f64::from(milli) / 1000.0));
    }
    (!members.is_empty()).then_some(Value::Object(members))
}
