//! A Redis Cluster of several nodes, each a process of its own.

use std::process::{Command, Stdio};

use super::servers::{Kind, Server};

/// How long a node may be silent before the others count it as gone, in milliseconds.
const NODE_TIMEOUT_MS: &str = "1000";

/// The nodes, masters first.
pub struct Cluster {
    args: Vec<String>,
    pub nodes: Vec<Server>,
}

impl Cluster {
    /// Starts one, each master with so many replicas, and waits until all are at work.
    pub fn start(masters: usize, replicas: usize, settings: &[&str]) -> Self {
        let own = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            NODE_TIMEOUT_MS,
        ];
        let args = [&own[..], settings].concat();
        let binary = Kind::Redis.binary();
        let nodes = (0..masters * (1 + replicas)).map(|_| Server::start_with(&binary, &args));
        let cluster = Cluster {
            nodes: nodes.collect(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        };
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]);
        create.args(cluster.nodes.iter().map(Server::address));
        create.args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"]);
        let made = create.stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(made.expect("redis-cli runs").success());
        for node in &cluster.nodes {
            node.wait("the cluster's state", is_whole);
        }
        for replica in &cluster.nodes[masters..] {
            replica.wait("its master", |replica| {
                let info: String = replica.ask(redis::cmd("INFO").arg("replication"));
                info.contains("master_link_status:up")
            });
        }
        cluster
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(Server::address).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// The node that has a key, by its place.
    pub fn owner(&self, key: &str) -> usize {
        let slot: u64 = self.nodes[0].ask(redis::cmd("CLUSTER").arg("KEYSLOT").arg(key));
        let lines: String = self.nodes[0].ask(redis::cmd("CLUSTER").arg("NODES"));
        let owns = |line: &&str| {
            let ranges = line.split(' ').skip(8);
            ranges.filter(|range| !range.starts_with('[')).any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let number = |text: &str| text.parse::<u64>().expect("a slot");
                (number(first)..=number(last)).contains(&slot)
            })
        };
        let line = lines.lines().find(owns).expect("somebody has it");
        let at = |node: &Server| line.contains(&format!("{}@", node.address()));
        self.nodes.iter().position(at).expect("a node of ours")
    }

    /// The node that follows another, by its place.
    pub fn replica_of(&self, master: usize) -> usize {
        let id = self.id(master);
        let follows = |node: &Server| {
            let lines: String = node.ask(redis::cmd("CLUSTER").arg("NODES"));
            let own = lines.lines().find(|line| line.contains("myself"));
            own.and_then(|line| line.split(' ').nth(3)) == Some(id.as_str())
        };
        self.nodes.iter().position(follows).expect("a replica")
    }

    /// Starts a node again that was killed.
    pub fn restart(&mut self, place: usize) {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        self.nodes[place].restart(&Kind::Redis.binary(), &args);
    }

    /// What the cluster calls a node.
    pub fn id(&self, place: usize) -> String {
        self.nodes[place].ask(redis::cmd("CLUSTER").arg("MYID"))
    }

    /// Moves a key's slot from its owner to another node, key by key, while it is in use.
    pub fn move_slot(&self, key: &str, to: usize, between: impl Fn()) {
        let from = self.owner(key);
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let slot: u64 = source.ask(redis::cmd("CLUSTER").arg("KEYSLOT").arg(key));
        let (source_id, target_id) = (self.id(from), self.id(to));
        let set = |what: &str, id: &str| {
            let mut command = redis::cmd("CLUSTER");
            command.arg("SETSLOT").arg(slot).arg(what).arg(id);
            command
        };
        target.ask::<()>(&set("IMPORTING", &source_id));
        source.ask::<()>(&set("MIGRATING", &target_id));
        loop {
            let mut list = redis::cmd("CLUSTER");
            list.arg("GETKEYSINSLOT").arg(slot).arg(20);
            let keys: Vec<Vec<u8>> = source.ask(&list);
            if keys.is_empty() {
                break;
            }
            let mut migrate = redis::cmd("MIGRATE");
            migrate
                .arg("127.0.0.1")
                .arg(target.port)
                .arg("")
                .arg(0)
                .arg(5_000);
            migrate.arg("KEYS").arg(keys);
            source.ask::<String>(&migrate);
            between();
        }
        for node in [target, source] {
            node.ask::<()>(&set("NODE", &target_id));
        }
    }
}

/// Whether a node says that the whole cluster is at work.
pub fn is_whole(node: &Server) -> bool {
    let info: redis::RedisResult<String> = node.try_ask(redis::cmd("CLUSTER").arg("INFO"));
    info.is_ok_and(|info| info.contains("cluster_state:ok"))
}
