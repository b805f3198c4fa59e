//! Keys, and where their values come from: defaults, the file, variables, flags.

use super::*;

#[test]
fn the_defaults_alone_are_valid() {
    let config = Config::load(&Flags::default(), variables(&[])).unwrap();
    assert_eq!(config.grpc.listen.to_string(), "127.0.0.1:50051");
    assert_eq!(config.grpc.unix_socket, None);
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(config.catalog, None);
    assert_eq!(
        config.ledger,
        Some(LedgerUrl::Sqlite(
            Path::new("tollgate-data/ledger.db").to_owned()
        ))
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
                Ok(config) => {
                    let ledger = config.ledger.as_ref().map(LedgerUrl::to_string);
                    format!("{config:?} {ledger:?}")
                }
                Err(error) => format!("{error} {error:?}"),
            };
            let printed = Config::printed(&flags, variables(&[])).unwrap();
            let json = serde_json::to_string(&printed).unwrap();
            let shown = format!("{loaded} {} {json}", printed.text());
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
fn a_list_may_be_given_as_a_file_has_it() {
    for given in [
        "settler,gateway",
        r#"["settler", "gateway"]"#,
        r#"["settler","gateway",]"#,
    ] {
        let flags = set(&[&format!("roles={given}")]);
        let of_flag = Config::load(&flags, variables(&[])).unwrap();
        let of_variable = Config::load(&Flags::default(), variables(&[("TOLLGATE_ROLES", given)]));
        let (_file, file) = file(r#"roles = ["settler", "gateway"]"#);
        let of_file = Config::load(&file, variables(&[])).unwrap();
        assert_eq!(of_flag, of_file, "{given}");
        assert_eq!(of_variable.unwrap(), of_file, "{given}");
    }
}

#[test]
fn the_printed_configuration_reads_back_as_itself() {
    let (_file, mut flags) = file("shards = 2");
    flags.roles = Some("settler,gateway".to_owned());
    flags.catalog = Some("a \"b\".yaml".to_owned());
    let environment = [("TOLLGATE_GRPC_CALLS_MAX", "7")];
    let printed = Config::printed(&flags, variables(&environment)).unwrap();
    let json = serde_json::to_value(&printed).unwrap();
    let printed = printed.text();
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

    let untouched = Config::printed(&Flags::default(), variables(&[])).unwrap();
    assert_eq!(untouched.text(), Config::default_toml());

    let keys = json.as_object().unwrap();
    assert_eq!(keys.len(), Config::keys().len());
    let path = flags.config.unwrap().display().to_string();
    for (key, value, source) in [
        ("shards", serde_json::json!(2), path.as_str()),
        (
            "roles",
            serde_json::json!(["settler", "gateway"]),
            "--roles",
        ),
        (
            "grpc.calls_max",
            serde_json::json!(7),
            "TOLLGATE_GRPC_CALLS_MAX",
        ),
        ("telemetry.trace_ratio", serde_json::json!(0.01), "default"),
    ] {
        let expected = serde_json::json!({"value": value, "source": source});
        assert_eq!(keys[key], expected, "{key}");
    }
}
