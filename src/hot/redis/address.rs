//! Where Redis is, as a URL: one server, a server that Sentinels name, or a cluster.
//!
//! | URL | what it reaches |
//! |---|---|
//! | `redis://[user:password@]host:port[/db]` | one server |
//! | `rediss://…` | the same over TLS |
//! | `redis+unix:///path/to/socket[?db=N]` | one server on this machine |
//! | `redis+sentinel://[user:password@]host:port,host:port/master[/db]` | the server that the Sentinels call `master`; user and password are the server's |
//! | `redis+cluster://[user:password@]host:port,host:port` | a cluster, any of whose nodes is named |
//!
//! `rediss+sentinel` and `rediss+cluster` are the same over TLS. A user or a password with a
//! character that means something in a URL is percent-encoded.

use std::{fmt, str::FromStr};

use redis::{ConnectionInfo, IntoConnectionInfo};

/// A URL that names no Redis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(pub(super) String);

/// Where Redis is. Its user and password are in none of its texts.
#[derive(Clone)]
pub struct RedisAddress {
    pub(super) place: Place,
    shown: String,
}

#[derive(Clone)]
pub(super) enum Place {
    Server(Box<ConnectionInfo>),
    Sentinel {
        nodes: Vec<ConnectionInfo>,
        master: String,
    },
    Cluster(Vec<ConnectionInfo>),
}

/// What a URL must be like, in words.
const ACCEPTED: &str = "redis://HOST:PORT, rediss://, redis+unix:///PATH, \
                        redis+sentinel://HOST:PORT,HOST:PORT/MASTER or redis+cluster://HOST:PORT,HOST:PORT";

/// And its parts.
const PARTS: &str = "the port must be 1 to 65535, the database a whole number, a socket's path \
                     absolute, and what has a meaning in URLs percent-encoded in user and password";

impl FromStr for RedisAddress {
    type Err = AddressError;

    fn from_str(url: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| AddressError(format!("is no URL: expected {ACCEPTED}")))?;
        let place = match scheme {
            "redis" | "rediss" | "redis+unix" => Place::Server(Box::new(parse(url)?)),
            "redis+cluster" => Place::Cluster(nodes("redis", rest, "")?),
            "rediss+cluster" => Place::Cluster(nodes("rediss", rest, "")?),
            "redis+sentinel" => sentinel("redis", rest)?,
            "rediss+sentinel" => sentinel("rediss", rest)?,
            _ => {
                return Err(AddressError(format!(
                    "is of no known scheme: expected {ACCEPTED}"
                )));
            }
        };
        let open = rest.rsplit_once('@').map_or(rest, |(_, open)| open);
        let open = open.split_once('?').map_or(open, |(open, _)| open);
        Ok(RedisAddress {
            place,
            shown: format!("{scheme}://{open}"),
        })
    }
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn sentinel(scheme: &str, rest: &str) -> Result<Place, AddressError> {
    let missing = || AddressError("names no master: redis+sentinel://HOST:PORT/MASTER".to_owned());
    let (hosts, path) = rest.split_once('/').ok_or_else(missing)?;
    let (master, db) = path.split_once('/').unwrap_or((path, ""));
    if master.is_empty() {
        return Err(missing());
    }
    Ok(Place::Sentinel {
        nodes: nodes(scheme, hosts, db)?,
        master: master.to_owned(),
    })
}

/// The nodes of a list, each with the list's user and password.
fn nodes(scheme: &str, rest: &str, db: &str) -> Result<Vec<ConnectionInfo>, AddressError> {
    let (login, hosts) = match rest.rsplit_once('@') {
        Some((login, hosts)) => (format!("{login}@"), hosts),
        None => (String::new(), rest),
    };
    let hosts = hosts.trim_end_matches('/');
    if hosts.contains('/') {
        return Err(AddressError("has a path where none belongs".to_owned()));
    }
    hosts
        .split(',')
        .map(|host| parse(&format!("{scheme}://{login}{host}/{db}")))
        .collect()
}

fn parse(url: &str) -> Result<ConnectionInfo, AddressError> {
    let info = url
        .into_connection_info()
        .map_err(|_| AddressError(format!("is no Redis URL: {PARTS}")))?;
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    Ok(info.set_tcp_settings(tcp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_without_their_secrets() {
        for (url, shown) in [
            ("redis://h:1", "redis://h:1"),
            ("redis://u:pw@h:1/3", "redis://h:1/3"),
            ("rediss://:pw@h", "rediss://h"),
            (
                "redis+unix:///run/r.sock?db=2&pass=pw",
                "redis+unix:///run/r.sock",
            ),
            ("redis+cluster://u:pw@a:1,b:2", "redis+cluster://a:1,b:2"),
            (
                "redis+sentinel://pw@a:1,b:2/main/4",
                "redis+sentinel://a:1,b:2/main/4",
            ),
        ] {
            let address: RedisAddress = url.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), shown);
        }
    }

    #[test]
    fn what_names_no_redis_is_refused() {
        for url in [
            "localhost:6379",
            "http://h",
            "redis+sentinel://a:1",
            "redis+sentinel://a:1/",
            "redis+cluster://a:1/x/y",
            "redis://h:port",
        ] {
            assert!(url.parse::<RedisAddress>().is_err(), "{url}");
        }
        let told = "redis://h:99999".parse::<RedisAddress>().unwrap_err();
        assert!(told.to_string().contains("1 to 65535"), "{told}");
    }

    #[test]
    fn every_node_of_a_list_has_its_login_and_database() {
        let address: RedisAddress = "redis+sentinel://u:pw@a:1,b:2/main/4".parse().unwrap();
        let Place::Sentinel { nodes, master } = address.place else {
            panic!("a Sentinel");
        };
        assert_eq!(master, "main");
        for (node, host) in nodes.iter().zip(["a:1", "b:2"]) {
            assert_eq!(node.addr().to_string(), host);
            assert_eq!(node.redis_settings().db(), 4);
            assert_eq!(node.redis_settings().password(), Some("pw"));
            assert!(node.tcp_settings().nodelay());
        }
    }
}
