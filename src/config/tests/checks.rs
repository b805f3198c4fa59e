//! Values that are wrong, by themselves or together.

use super::*;

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
        ("log.filter=warning", "must be a level (error, warn,"),
        ("log.filter=info,loud", "must be a level (error, warn,"),
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

/// Else the first start without the layer above would fail.
#[test]
fn a_wrong_value_is_refused_though_a_higher_layer_overrides_it() {
    let (file, mut flags) = file("shards = \"many\"\n[reserve]\nttl_min_ms = 0\n");
    let path = file.path().display();
    let environment = [
        ("TOLLGATE_SHARDS", "4097"),
        ("TOLLGATE_RESERVE_TTL_MIN_MS", "1000"),
        ("TOLLGATE_HOT", "memcached://:pw@h"),
        ("TOLLGATE_GRPC_LISTEN", "here"),
    ];
    flags.set = vec!["shards=0".to_owned(), "shards=64".to_owned()];
    flags.hot = Some("memory:".to_owned());
    flags.grpc_listen = Some("there".to_owned());
    let error = refused(&flags, &environment);
    let shards = "must be a whole number from 1 to 4096";
    for expected in [
        format!("shards = \"many\" ({path}, overridden by --set): {shards}"),
        format!("shards = 4097 (TOLLGATE_SHARDS, overridden by --set): {shards}"),
        format!("shards = 0 (--set, overridden by --set): {shards}"),
        format!(
            "reserve.ttl_min_ms = 0 ({path}, overridden by TOLLGATE_RESERVE_TTL_MIN_MS): must be"
        ),
        "hot = \"memcached://***@h\" (TOLLGATE_HOT, overridden by --hot): must be".to_owned(),
        "grpc.listen = \"there\" (--grpc-listen): must be".to_owned(),
        "grpc.listen = \"here\" (TOLLGATE_GRPC_LISTEN, overridden by --grpc-listen): must be"
            .to_owned(),
    ] {
        assert!(error.contains(&expected), "{expected}\n{error}");
    }
    assert_eq!(error.lines().count(), 7, "{error}");
}

/// What the lower layers come to without the higher ones is nobody's configuration.
#[test]
fn only_values_that_count_must_fit_together() {
    let (_file, mut flags) = file("roles = [\"gateway\"]\n[reserve]\nreplay_window_ms = 1000\n");
    let alone = refused(&flags, &[]);
    assert!(
        alone.contains("reserve.replay_window_ms = 1000: must be at least"),
        "{alone}"
    );
    assert!(alone.contains("must include \"settler\""), "{alone}");
    flags.roles = Some("gateway,admin,settler".to_owned());
    let environment = [("TOLLGATE_RESERVE_REPLAY_WINDOW_MS", "86400000")];
    Config::load(&flags, variables(&environment)).unwrap();
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
        (
            &["hot=redis://h", "roles=gateway", "ledger=sqlite://a"],
            "ledger = \"sqlite://a\": must be left out where roles = [\"gateway\"]",
        ),
        (
            &["hot=redis://h", "roles=gateway", "catalog=c.yaml"],
            "catalog = \"c.yaml\": must be left out",
        ),
        (
            &["hot=redis://h", "redis.load_timeout_ms=2001"],
            "must be at most grpc.request_timeout_ms, 2000",
        ),
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
fn only_a_gateway_has_no_ledger() {
    for (roles, has_ledger) in [
        ("gateway", false),
        ("admin", true),
        ("settler", true),
        ("gateway,admin", true),
    ] {
        let roles = format!("roles={roles}");
        let flags = set(&["hot=redis://h", &roles]);
        let config = Config::load(&flags, variables(&[])).unwrap();
        assert_eq!(config.ledger.is_some(), has_ledger, "{roles}");
    }
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
