//! What the operator must set for nothing to be lost, and whether it is set.

use super::RedisHot;
use crate::hot::HotFault;

const OPERATION: &str = "durability";

/// What one server says of itself.
#[derive(Debug, Default)]
struct Said {
    /// Absent where the server does not say.
    append_only: Option<String>,
    fsync: Option<String>,
    policy: Option<String>,
    replicas: Option<u64>,
}

impl RedisHot {
    /// What of the server's settings may lose balances or holds: a sentence each, for the log at
    /// the start. Of a cluster or behind Sentinels it is the node that answers.
    pub async fn durability_warnings(&self) -> Result<Vec<String>, HotFault> {
        let said = Said {
            append_only: self.setting("appendonly").await?,
            fsync: self.setting("appendfsync").await?,
            policy: self.setting("maxmemory-policy").await?,
            replicas: self.replicas().await?,
        };
        Ok(warnings(&said))
    }

    /// A setting; `None` where the server does not tell (managed services forbid CONFIG).
    async fn setting(&self, name: &str) -> Result<Option<String>, HotFault> {
        let mut get = redis::cmd("CONFIG");
        get.arg("GET").arg(name);
        let told: Result<std::collections::HashMap<String, String>, HotFault> =
            self.plain(OPERATION, 0, &get).await;
        match told {
            Ok(mut told) => Ok(told.remove(name)),
            Err(fault) if is_refused(&fault) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    async fn replicas(&self) -> Result<Option<u64>, HotFault> {
        let mut info = redis::cmd("INFO");
        info.arg("replication");
        let told: Result<String, HotFault> = self.plain(OPERATION, 0, &info).await;
        match told {
            Ok(told) => Ok(told
                .lines()
                .find_map(|line| line.trim().strip_prefix("connected_slaves:"))
                .and_then(|count| count.parse().ok())),
            Err(fault) if is_refused(&fault) => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

/// Whether the server answered and said no.
fn is_refused(fault: &HotFault) -> bool {
    let error = fault.source.downcast_ref::<redis::RedisError>();
    error.is_some_and(|error| matches!(error.code(), Some("NOPERM" | "ERR")))
}

fn warnings(said: &Said) -> Vec<String> {
    let mut warnings = Vec::new();
    match (said.append_only.as_deref(), said.fsync.as_deref()) {
        (Some("yes"), Some("no")) => warnings.push(
            "appendfsync is no: a crash of the machine loses what the kernel had not written; set \
             appendfsync everysec or always"
                .to_owned(),
        ),
        (Some("yes"), _) => {}
        (Some(_), _) => warnings.push(
            "appendonly is no: a restart loses holds and hot balances; set appendonly yes"
                .to_owned(),
        ),
        (None, _) => warnings.push(
            "the server does not tell its settings (CONFIG GET is forbidden): see to it that \
             appendonly is yes and maxmemory-policy is noeviction"
                .to_owned(),
        ),
    }
    if let Some(policy) = said
        .policy
        .as_deref()
        .filter(|policy| *policy != "noeviction")
    {
        warnings.push(format!(
            "maxmemory-policy is {policy}: a full server deletes holds and balances; set \
             maxmemory-policy noeviction"
        ));
    }
    if said.replicas == Some(0) {
        warnings
            .push("the server has no replica: while it is down nothing can be reserved".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(append_only: Option<&str>, fsync: &str, policy: &str, replicas: u64) -> Said {
        Said {
            append_only: append_only.map(str::to_owned),
            fsync: append_only.map(|_| fsync.to_owned()),
            policy: append_only.map(|_| policy.to_owned()),
            replicas: Some(replicas),
        }
    }

    #[test]
    fn what_is_set_well_is_not_warned_of() {
        assert!(warnings(&said(Some("yes"), "everysec", "noeviction", 1)).is_empty());
        assert!(warnings(&said(Some("yes"), "always", "noeviction", 2)).is_empty());
    }

    #[test]
    fn every_setting_that_loses_something_is_named() {
        for (said, words) in [
            (
                said(Some("no"), "everysec", "noeviction", 1),
                "appendonly is no",
            ),
            (
                said(Some("yes"), "no", "noeviction", 1),
                "appendfsync is no",
            ),
            (said(Some("yes"), "always", "allkeys-lru", 1), "allkeys-lru"),
            (said(Some("yes"), "always", "noeviction", 0), "no replica"),
            (said(None, "", "", 1), "does not tell"),
        ] {
            let warnings = warnings(&said);
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(warnings[0].contains(words), "{warnings:?}");
        }
    }
}
