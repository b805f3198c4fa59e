//! A Redis server that follows another one, and the Sentinels that watch them.

use std::collections::HashMap;

use super::servers::{Server, wait};

/// Makes a server follow another one, and waits until it does.
pub fn follow(replica: &Server, master: &Server) {
    let mut follow = redis::cmd("REPLICAOF");
    follow.arg("127.0.0.1").arg(master.port);
    replica.ask::<()>(&follow);
    follows(replica);
}

/// Waits until a replica follows its master.
pub fn follows(replica: &Server) {
    replica.wait("its master", |replica| {
        let info: String = replica.ask(redis::cmd("INFO").arg("replication"));
        info.contains("master_link_status:up")
    });
}

/// How long a master may be silent where a failover is waited for, in milliseconds.
pub const IMPATIENT_MS: &str = "500";

/// Three Sentinels of a master with a replica, which let it be silent for so long, and the URL that
/// leads to whoever is the master. They know the replica and each other.
pub fn sentinels(master: &Server, patience_ms: &str) -> (Vec<Server>, String) {
    let sentinels: Vec<Server> = (0..3)
        .map(|_| Server::start_sentinel(master.port, patience_ms))
        .collect();
    let knows = |sentinel: &Server, what: &str| -> bool {
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("MASTER").arg("main");
        let told: HashMap<String, String> = sentinel.ask(&ask);
        told.get(what).is_some_and(|count| count != "0")
    };
    wait("the Sentinels to know each other", || {
        sentinels
            .iter()
            .all(|one| knows(one, "num-slaves") && knows(one, "num-other-sentinels"))
    });
    let hosts: Vec<String> = sentinels.iter().map(Server::address).collect();
    let url = format!("redis+sentinel://{}/main", hosts.join(","));
    (sentinels, url)
}
