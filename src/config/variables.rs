//! Which environment variables are configuration, and what their names are.
//!
//! A variable that starts with TOLLGATE_ and is no key is an error, so that a mistyped one is
//! found. Three kinds are let through: those that other commands read, those of the tests, and
//! those that Kubernetes puts into every pod for a Service whose name starts with "tollgate".

use std::path::PathBuf;

/// What every variable of ours starts with.
const PREFIX: &str = "TOLLGATE_";
/// Names the configuration file, as `--config` does.
pub(super) const CONFIG_FILE: &str = "TOLLGATE_CONFIG";
/// Read by the commands that call a running server.
pub(super) const ENDPOINT: &str = "TOLLGATE_ENDPOINT";
/// What the variables of the tests start with.
const TEST_PREFIX: &str = "TOLLGATE_TEST_";
/// The protocols that Kubernetes writes into the variables of a Service, in lower case.
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// The variable of a key: `grpc.listen` is `TOLLGATE_GRPC_LISTEN`.
pub(super) fn name(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "_"))
}

/// The configuration file that the environment names.
pub(super) fn config_file(environment: &[(String, String)]) -> Option<PathBuf> {
    let mut found = environment.iter().filter(|(name, _)| name == CONFIG_FILE);
    found.next().map(|(_, path)| PathBuf::from(path))
}

/// Whether a variable must be one of the keys.
pub(super) fn is_ours(name: &str, value: &str) -> bool {
    name.starts_with(PREFIX)
        && name != CONFIG_FILE
        && name != ENDPOINT
        && !name.starts_with(TEST_PREFIX)
        && !is_of_a_kubernetes_service(name, value)
}

/// Recognises `X_SERVICE_HOST`, `X_SERVICE_PORT`, `X_SERVICE_PORT_NAME`, `X_PORT=tcp://…`,
/// `X_PORT_50051_TCP` and `X_PORT_50051_TCP_ADDR`.
fn is_of_a_kubernetes_service(name: &str, value: &str) -> bool {
    if name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
    {
        return true;
    }
    if name.ends_with("_PORT") && value.contains("://") {
        return PROTOCOLS.iter().any(|protocol| value.starts_with(protocol));
    }
    let Some((_, port)) = name.rsplit_once("_PORT_") else {
        return false;
    };
    let mut parts = port.split('_');
    let is_number = parts.next().is_some_and(|part| part.parse::<u16>().is_ok());
    let protocol = parts.next().unwrap_or("").to_ascii_lowercase();
    is_number && PROTOCOLS.contains(&protocol.as_str())
}

/// The process's variables with our prefix. A value that is no UTF-8 is taken as near as can be:
/// it will be refused as a value, by name.
pub(super) fn of_process() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        name.starts_with(PREFIX)
            .then(|| (name, value.to_string_lossy().into_owned()))
    })
}
