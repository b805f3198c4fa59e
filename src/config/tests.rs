use std::{collections::BTreeSet, io::Write, path::Path};

use super::*;

fn set(pairs: &[&str]) -> Flags {
    Flags {
        set: pairs.iter().map(|pair| (*pair).to_owned()).collect(),
        ..Flags::default()
    }
}

fn variables(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    pairs.into_iter()
}

fn file(text: &str) -> (tempfile::NamedTempFile, Flags) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let flags = Flags {
        config: Some(file.path().to_owned()),
        ..Flags::default()
    };
    (file, flags)
}

fn refused(flags: &Flags, environment: &[(&str, &str)]) -> String {
    match Config::load(flags, variables(environment)) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_defaults_alone_are_valid() {
    let config = Config::load(&Flags::default(), variables(&[])).unwrap();
    assert_eq!(config.grpc.listen.to_string(), "127.0.0.1:50051");
    assert_eq!(config.grpc.unix_socket, None);
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(config.catalog, None);
    assert_eq!(
        config.ledger,
        LedgerUrl::Sqlite(Path::new("tollgate-data/ledger.db").to_owned())
    );
    assert_eq!(config.settle.ack, SettleAck::Ledger);
    assert_eq!(config.reserve.replay_window_ms, 24 * 3_600_000);
    assert!(config.roles.has(Role::Gateway) && config.roles.has(Role::Admin));
}

/// The line-by-line reading of the defaults, the TOML parser's, and the readers agree; so no key
/// is listed that nothing reads, and none is read that is not listed.
#[test]
fn every_key_has_a_default_and_a_reader() {
    let keys: BTreeSet<String> = Config::keys().into_iter().collect();
    assert_eq!(keys.len(), Config::keys().len(), "a key stands twice");

    let table: toml::Table = Config::default_toml().parse().unwrap();
    let mut parsed = BTreeSet::new();
    for (name, value) in &table {
        match value.as_table() {
            Some(section) => parsed.extend(section.keys().map(|key| format!("{name}.{key}"))),
            None => drop(parsed.insert(name.clone())),
        }
    }
    assert_eq!(keys, parsed);

    let layers = Layers::collect(&Flags::default(), variables(&[])).unwrap();
    let mut reader = Reader::new(&layers);
    assert!(Config::read(&mut reader).is_some());
    let asked: BTreeSet<String> = reader.asked.iter().map(|key| (*key).to_owned()).collect();
    assert_eq!(keys, asked);
}

#[test]
fn every_key_has_a_comment_above_it() {
    let lines: Vec<&str> = Config::default_toml().lines().collect();
    for (i, line) in lines.iter().enumerate() {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(lines[i - 1].starts_with("# "), "{line} has no comment");
        }
    }
}

#[test]
fn no_two_keys_share_a_variable() {
    let names: BTreeSet<String> = Config::keys()
        .iter()
        .map(|key| Config::variable(key))
        .collect();
    assert_eq!(names.len(), Config::keys().len());
    assert!(names.contains("TOLLGATE_GRPC_LISTEN"));
    for name in names {
        assert!(variables::is_ours(&name, "1"), "{name} would be ignored");
    }
}

#[test]
fn each_layer_wins_over_the_one_below() {
    let (_file, mut flags) = file("shards = 2\n[grpc]\ncalls_max = 2\nlisten = \"127.0.0.1:2\"");
    let shards = |flags: &Flags, environment: &[(&str, &str)]| {
        Config::load(flags, variables(environment)).unwrap().shards
    };
    assert_eq!(shards(&Flags::default(), &[]), 64);
    assert_eq!(shards(&flags, &[]), 2);
    assert_eq!(shards(&flags, &[("TOLLGATE_SHARDS", "3")]), 3);
    flags.set.push("shards=4".to_owned());
    assert_eq!(shards(&flags, &[("TOLLGATE_SHARDS", "3")]), 4);

    flags.set.push("grpc.listen=127.0.0.1:4".to_owned());
    flags.grpc_listen = Some("127.0.0.1:5".to_owned());
    let config = Config::load(&flags, variables(&[("TOLLGATE_GRPC_LISTEN", "[::1]:3")])).unwrap();
    assert_eq!(config.grpc.listen.port(), 5, "a named flag wins over --set");
    assert_eq!(config.grpc.calls_max, 2, "what only the file has stands");
}

#[test]
fn the_file_can_be_named_by_a_variable_and_a_flag_wins() {
    let (from_variable, _) = file("shards = 2");
    let path = from_variable.path().to_str().unwrap().to_owned();
    let environment = [("TOLLGATE_CONFIG", path.as_str())];
    assert_eq!(
        Config::load(&Flags::default(), variables(&environment))
            .unwrap()
            .shards,
        2
    );
    let (_from_flag, flags) = file("shards = 3");
    assert_eq!(
        Config::load(&flags, variables(&environment))
            .unwrap()
            .shards,
        3
    );
}

#[test]
fn lists_are_parted_by_commas_in_texts() {
    for roles in ["gateway, settler", "settler,gateway"] {
        let flags = Flags {
            roles: Some(roles.to_owned()),
            ..Flags::default()
        };
        let config = Config::load(&flags, variables(&[])).unwrap();
        assert!(config.roles.has(Role::Gateway) && !config.roles.has(Role::Admin));
    }
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    for (text, expected) in [
        ("shard = 1", "shard: no such key"),
        ("shard = 1", "did you mean shards?"),
        (
            "listen = \"\"",
            "did you mean grpc.listen or http.listen or admin.listen?",
        ),
        ("[grpc]\nlisten_on = \"\"", "grpc.listen_on: no such key"),
        ("[grpc]\ndata_dir = \"\"", "did you mean data_dir?"),
        ("[grcp]\nlisten = \"\"", "did you mean grpc?"),
        ("[grpc.tls]\ncert = \"\"", "grpc.tls: no such key"),
        ("[qwertyuiop]", "--print-config` lists all keys"),
        ("grpc = 1", "grpc: is a section, not a key"),
        ("[shards]\nx = 1", "shards = { x = 1 }"),
    ] {
        let (_file, flags) = file(text);
        let error = refused(&flags, &[]);
        assert!(error.contains(expected), "{text}\n{error}");
    }
    let error = refused(&Flags::default(), &[("TOLLGATE_GRPC_LISTN", "x")]);
    assert!(
        error.contains("TOLLGATE_GRPC_LISTN: no such variable"),
        "{error}"
    );
    assert!(
        error.contains("did you mean TOLLGATE_GRPC_LISTEN?"),
        "{error}"
    );
    let error = refused(&set(&["grpc.listne=1"]), &[]);
    assert!(
        error.contains("grpc.listne: no such key (--set); did you mean grpc.listen"),
        "{error}"
    );
    let error = refused(&set(&["shards"]), &[]);
    assert!(error.contains("--set shards: must be KEY=VALUE"), "{error}");
}

#[test]
fn variables_that_are_not_configuration_are_left_alone() {
    let environment = [
        ("PATH", "/bin"),
        ("TOLLGATE_ENDPOINT", "127.0.0.1:50051"),
        ("TOLLGATE_TEST_PYTHON", "python3"),
        ("TOLLGATE_SERVICE_HOST", "10.0.0.1"),
        ("TOLLGATE_SERVICE_PORT", "50051"),
        ("TOLLGATE_SERVICE_PORT_GRPC", "50051"),
        ("TOLLGATE_PORT", "tcp://10.0.0.1:50051"),
        ("TOLLGATE_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
        ("TOLLGATE_PORT_50051_TCP_PROTO", "tcp"),
        ("TOLLGATE_PORT_50051_TCP_PORT", "50051"),
        ("TOLLGATE_PORT_50051_TCP_ADDR", "10.0.0.1"),
        ("TOLLGATE_ADMIN_SERVICE_HOST", "10.0.0.2"),
        ("TOLLGATE_ADMIN_PORT", "tcp://10.0.0.2:50051"),
    ];
    Config::load(&Flags::default(), variables(&environment)).unwrap();
    refused(&Flags::default(), &[("TOLLGATE_PORT", "50051")]);
    refused(&Flags::default(), &[("TOLLGATE_PORTS", "tcp://x")]);
}

#[test]
fn wrong_values_name_key_value_and_what_is_accepted() {
    for (pair, expected) in [
        (
            "grpc.listen=here",
            "grpc.listen = \"here\" (--set): must be an IP address and a port",
        ),
        ("grpc.listen=", "grpc.listen = \"\""),
        (
            "shards=0",
            "shards = 0 (--set): must be a whole number from 1 to 4096",
        ),
        ("shards=-1", "shards = -1"),
        ("shards=1.5", "shards = \"1.5\""),
        ("shards=4097", "shards = 4097"),
        (
            "shards=99999999999999999999",
            "shards = \"99999999999999999999\"",
        ),
        (
            "grpc.max_message_bytes=0",
            "must be a whole number from 1024 to 16777216",
        ),
        ("settle.ack=disk", "must be \"ledger\" or \"hot\""),
        ("log.format=xml", "must be \"text\" or \"json\""),
        ("log.filter=a=b=c", "must be a level (error, warn,"),
        ("roles=", "roles = [\"\"]"),
        ("roles=gateway,gateway", "each once"),
        (
            "roles=boss",
            "one or more of \"gateway\", \"admin\" or \"settler\"",
        ),
        ("data_dir=", "data_dir = \"\" (--set): must be a path"),
        (
            "hot=memcached://:pw@localhost",
            "hot = \"memcached://***@localhost\" (--set): must be \"memory:\", \"redis://HOST:PORT\"",
        ),
        ("hot=redis://", "must be \"memory:\""),
        ("redis.connections=0", "from 1 to 64"),
        ("redis.call_timeout_ms=0", "from 1 to 10000"),
        ("redis.outbox_max=10", "from 1000 to 1000000000"),
        ("ledger=postgres://", "must be \"sqlite://PATH\""),
        ("ledger=postgres://h/a db", "must be \"sqlite://PATH\""),
        ("ledger=mysql://h/db", "must be \"sqlite://PATH\""),
        ("postgres.migrate=yes", "must be \"auto\" or \"never\""),
        ("postgres.connections_max=0", "from 1 to 1000"),
        ("admin.listen=x", "e.g. 127.0.0.1:50052, or empty"),
        ("grpc.insecure_listen=x", "must be at most 8 addresses"),
        (
            "grpc.unix_socket_uids=me",
            "must be at most 64 whole numbers",
        ),
        (
            "grpc.unix_socket_mode=660x",
            "must be three or four octal digits",
        ),
        ("grpc.unix_socket_mode=0446", "that let the owner in"),
        (
            "grpc.unix_socket_mode=1660",
            "must be three or four octal digits",
        ),
        ("tls.client_cert=no", "must be \"required\" or \"optional\""),
        ("ledger=sqlite://", "must be \"sqlite://PATH\""),
        ("ledger=sqlite:x", "must be \"sqlite://PATH\""),
    ] {
        let error = refused(&set(&[pair]), &[]);
        assert!(error.contains(expected), "{pair}\n{error}");
    }
    let long = format!("grpc.unix_socket=/{}", "x".repeat(107));
    assert!(refused(&set(&[&long]), &[]).contains("at most 107 bytes"));
}

#[test]
fn types_count_in_a_file() {
    for text in [
        "shards = \"64\"",
        "data_dir = 1",
        "roles = \"gateway\"",
        "roles = [1]",
    ] {
        let (_file, flags) = file(text);
        assert!(refused(&flags, &[]).contains("must be"), "{text}");
    }
}

#[test]
fn values_that_do_not_fit_together_are_refused() {
    for (pairs, expected) in [
        (
            &["reserve.replay_window_ms=86399999"][..],
            "must be at least 86400000",
        ),
        (
            &["reserve.ttl_min_ms=600001"],
            "reserve.default_ttl_ms = 600000: must be from",
        ),
        (
            &["reserve.ttl_min_ms=43200001"],
            "must be at most reserve.ttl_max_ms, 43200000",
        ),
        (&["grpc.listen=127.0.0.1:9464"], "must be two addresses"),
        (&["roles=gateway,admin"], "must include \"settler\""),
        (&["tls.cert=a"], "tls.cert and tls.key: must both be given"),
        (&["tls.client_ca=a"], "needs tls.cert and tls.key"),
        (
            &["admin.listen=127.0.0.1:50051"],
            "grpc.listen and admin.listen = 127.0.0.1:50051",
        ),
        (
            &["admin.unix_socket=/a", "grpc.unix_socket=/a"],
            "must be two paths",
        ),
        (
            &["admin.listen=127.0.0.1:0", "roles=gateway,settler"],
            "must include \"admin\"",
        ),
        (
            &["grpc.listen=0.0.0.0:50051"],
            "say it twice, by grpc.insecure_listen = [\"0.0.0.0:50051\"]",
        ),
        (&["grpc.listen=[::]:1"], "there is no TLS"),
        (
            &["admin.listen=10.0.0.1:1"],
            "admin.listen = 10.0.0.1:1: others can reach it",
        ),
        (
            &["grpc.insecure_listen=0.0.0.0:50051"],
            "must repeat grpc.listen or admin.listen",
        ),
    ] {
        let error = refused(&set(pairs), &[]);
        assert!(error.contains(expected), "{pairs:?}\n{error}");
    }
    let same_port = set(&["grpc.listen=127.0.0.1:0", "http.listen=127.0.0.1:0"]);
    Config::load(&same_port, variables(&[])).unwrap();
}

#[test]
fn what_others_can_reach_is_open_where_it_is_meant_or_has_tls() {
    for pairs in [
        &["grpc.listen=127.0.0.2:1"][..],
        &["grpc.listen=[::1]:1"],
        &["grpc.listen=[::ffff:127.0.0.1]:1"],
        &["http.listen=0.0.0.0:9464"],
        &["grpc.listen=0.0.0.0:1", "tls.cert=a", "tls.key=b"],
        &[
            "grpc.listen=0.0.0.0:1",
            "admin.listen=0.0.0.0:2",
            "grpc.insecure_listen=0.0.0.0:1, 0.0.0.0:2",
        ],
    ] {
        let loaded = Config::load(&set(pairs), variables(&[]));
        assert!(loaded.is_ok(), "{pairs:?}: {loaded:?}");
    }
    let (_file, flags) = file("[grpc]\nunix_socket_uids = [1, 2]\nunix_socket_mode = \"600\"");
    let grpc = Config::load(&flags, variables(&[])).unwrap().grpc;
    assert_eq!(
        (grpc.unix_peers.uids, grpc.unix_socket_mode),
        (vec![1, 2], 0o600)
    );
    let environment = [
        ("TOLLGATE_GRPC_UNIX_SOCKET_GIDS", "3, 4"),
        ("TOLLGATE_GRPC_INSECURE_LISTEN", ""),
    ];
    let grpc = Config::load(&Flags::default(), variables(&environment))
        .unwrap()
        .grpc;
    assert_eq!(grpc.unix_peers.gids, [3, 4]);
    assert!(!grpc.unix_peers.admit(0, 0) && grpc.unix_peers.admit(0, 4));
}

#[test]
fn all_problems_are_reported_at_once() {
    let error = refused(
        &set(&["shards=0", "settle.ack=x", "nope=1"]),
        &[("TOLLGATE_X", "1")],
    );
    assert_eq!(error.lines().count(), 4, "{error}");
}

#[test]
fn a_file_that_is_no_toml_is_shown_with_its_line() {
    let (_file, flags) = file("shards = 1\nshards = 2\n");
    let error = refused(&flags, &[]);
    assert!(
        error.contains("is not valid TOML") && error.contains("line 2"),
        "{error}"
    );
    let (_file, flags) = file("hot = \"redis://user:hunter2@host\" extra");
    let error = refused(&flags, &[]);
    assert!(
        error.contains("***@host") && !error.contains("hunter2"),
        "{error}"
    );
    let missing = Flags {
        config: Some("/nowhere/x.toml".into()),
        ..Flags::default()
    };
    assert!(refused(&missing, &[]).contains("cannot read the configuration file /nowhere/x.toml"));
    let (_file, flags) = file(&"#".repeat(300_000));
    assert!(refused(&flags, &[]).contains("larger than"));
}

#[test]
fn secrets_never_show() {
    for url in [
        "redis://user:hunter2@host:6379/0",
        "rediss://:hunter2@host",
        "redis://user:hun@ter2/hunter2@host",
        "postgres://host/db?password=hunter2",
    ] {
        for key in ["hot", "ledger"] {
            let flags = set(&[&format!("{key}={url}")]);
            // As a ledger one of them is fine, and then the configuration itself must not show it.
            let loaded = match Config::load(&flags, variables(&[])) {
                Ok(config) => format!("{config:?} {}", config.ledger),
                Err(error) => format!("{error} {error:?}"),
            };
            let printed = Config::print(&flags, variables(&[])).unwrap();
            let shown = format!("{loaded} {printed}");
            assert!(
                !shown.contains("hunter2") && !shown.contains("ter2"),
                "{shown}"
            );
            assert!(shown.contains("host"), "{shown}");
        }
        let flags = Flags {
            hot: Some(url.to_owned()),
            ..Flags::default()
        };
        let shown = format!("{flags:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn the_printed_configuration_reads_back_as_itself() {
    let (_file, mut flags) = file("shards = 2");
    flags.roles = Some("settler,gateway".to_owned());
    flags.catalog = Some("a \"b\".yaml".to_owned());
    let environment = [("TOLLGATE_GRPC_CALLS_MAX", "7")];
    let printed = Config::print(&flags, variables(&environment)).unwrap();
    assert!(
        printed.contains("calls_max = 7  # TOLLGATE_GRPC_CALLS_MAX\n"),
        "{printed}"
    );
    assert!(
        printed.contains("roles = [\"settler\", \"gateway\"]  # --roles\n"),
        "{printed}"
    );

    let config = Config::load(&flags, variables(&environment)).unwrap();
    let (_printed, again) = file(&printed);
    assert_eq!(config, Config::load(&again, variables(&[])).unwrap());

    let untouched = Config::print(&Flags::default(), variables(&[])).unwrap();
    assert_eq!(untouched, Config::default_toml());
}
