use super::*;

const FILE: &str = r#"
[[principal]]
name = "gateway"
roles = ["gateway"]
spiffe = ["spiffe://prod/ns/ai/sa/gateway"]
uids = [1000]

[[principal]]
name = "support-eu"
roles = ["support", "viewer"]
dns = ["Support.Example"]
gids = [2000]
accounts = ["eu-", "ch-"]
"#;

#[test]
fn a_principal_is_known_by_each_of_its_marks() {
    let access = Access::parse(FILE).unwrap();
    assert_eq!(access.len(), 2);
    let whose = |credentials: &Credentials| {
        let found = access.by_connection(credentials);
        found.map(|principal| principal.name.clone())
    };
    let uri = |uri: &str| Credentials {
        uris: vec!["spiffe://other".to_owned(), uri.to_owned()],
        ..Credentials::default()
    };
    assert_eq!(
        whose(&uri("spiffe://prod/ns/ai/sa/gateway")).as_deref(),
        Some("gateway")
    );
    assert_eq!(whose(&uri("spiffe://prod/ns/ai/sa/gateway2")), None);
    let dns = Credentials {
        dns: vec!["SUPPORT.example".to_owned()],
        ..Credentials::default()
    };
    assert_eq!(whose(&dns).as_deref(), Some("support-eu"));
    let unix = |uid, gid| Credentials {
        unix: Some((uid, gid)),
        ..Credentials::default()
    };
    assert_eq!(whose(&unix(1000, 5)).as_deref(), Some("gateway"));
    assert_eq!(whose(&unix(5, 2000)).as_deref(), Some("support-eu"));
    assert_eq!(whose(&unix(2000, 1000)), None);
    assert_eq!(whose(&Credentials::default()), None);
}

#[test]
fn a_scope_is_the_start_of_an_id() {
    let access = Access::parse(FILE).unwrap();
    let unix = |uid, gid| Credentials {
        unix: Some((uid, gid)),
        ..Credentials::default()
    };
    let support = access.by_connection(&unix(0, 2000)).unwrap();
    assert!(support.is_scoped() && support.has_account("eu-1") && support.has_account("ch-"));
    for other in ["", "eu", "us-1", "EU-1", "xeu-1"] {
        assert!(!support.has_account(other), "{other}");
    }
    let gateway = access.by_connection(&unix(1000, 0)).unwrap();
    assert!(!gateway.is_scoped() && gateway.has_account("") && gateway.has_account("us-1"));
}

#[test]
fn a_token_is_known_by_its_hash_alone() {
    let (one, two) = (token::make().unwrap(), token::make().unwrap());
    assert_ne!(one, two);
    assert!(
        one.starts_with(token::TOKEN_PREFIX) && one.len() == 9 + 64,
        "{one}"
    );
    let hash = TokenHash::of(&one).to_string();
    assert!(
        TokenHash::parse(&hash)
            .unwrap()
            .equals(&TokenHash::of(&one))
    );
    let text =
        format!("[[principal]]\nname = \"a\"\nroles = [\"viewer\"]\ntokens = [\"{hash}\"]\n");
    let access = Access::parse(&text).unwrap();
    assert_eq!(access.by_token(&one).unwrap().name, "a");
    for other in [two.as_str(), "", &hash, &one[..one.len() - 1]] {
        assert!(access.by_token(other).is_none());
    }
    let shown = format!("{access:?}");
    assert!(!shown.contains(&hash[10..]), "{shown}");
}

#[test]
fn a_bad_file_is_refused_with_what_is_accepted() {
    let token = TokenHash::of("x");
    let upper = token.to_string().replace("sha256:", "sha256:AB")[..71].to_owned();
    let principal = |rest: &str| format!("[[principal]]\nname = \"a\"\n{rest}");
    for (text, expected) in [
        ("x = 1".to_owned(), "unknown field"),
        (
            "[[principal]]\nname = \"a\"".to_owned(),
            "missing field `roles`",
        ),
        (
            principal("roles = []\nuids = [1]"),
            "must have one or more of gateway, runner",
        ),
        (
            principal("roles = [\"boss\"]\nuids = [1]"),
            "no role \"boss\": there are gateway",
        ),
        (
            principal("roles = [\"viewer\", \"viewer\"]\nuids = [1]"),
            "stands twice",
        ),
        (principal("roles = [\"viewer\"]"), "is known by nothing"),
        (principal("roles = [\"viewer\"]\nuids = [-1]"), "line 4"),
        (
            principal("roles = [\"viewer\"]\nuids = [1, 1]"),
            "Uid(1) is \"a\"'s already",
        ),
        (
            principal("roles = [\"viewer\"]\nspiffe = [\"spiffe://\"]"),
            "must be a whole id",
        ),
        (
            principal("roles = [\"viewer\"]\ndns = [\"*.example\"]"),
            "without wildcards",
        ),
        (
            principal("roles = [\"viewer\"]\nuids = [1]\naccounts = []"),
            "leave it out for all",
        ),
        (
            principal("roles = [\"viewer\"]\nuids = [1]\naccounts = [\"\"]"),
            "each not empty",
        ),
        (
            principal("roles = [\"viewer\"]\ntokens = [\"secret\"]"),
            "as `tollgate token` prints it",
        ),
        (
            principal(&format!("roles = [\"viewer\"]\ntokens = [\"{upper}\"]")),
            "must be sha256:",
        ),
        (
            principal(&format!(
                "roles = [\"viewer\"]\ntokens = [\"{token}\", \"{token}\"]"
            )),
            "one stands twice",
        ),
        (
            principal("roles = [\"viewer\"]\nuids = [1]\nrole = 1"),
            "unknown field",
        ),
        (
            format!(
                "{}\n{}",
                principal("roles = [\"viewer\"]\nuids = [1]"),
                principal("roles = [\"viewer\"]\nuids = [2]")
            ),
            "\"a\": stands twice",
        ),
        (
            "[[principal]]\nname = \"a b\"\nroles = [\"viewer\"]".to_owned(),
            "must be of A-Z",
        ),
    ] {
        let error = Access::parse(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}\n{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn a_changed_file_is_used_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.toml");
    assert!(matches!(
        AccessFile::open(&path),
        Err(AccessError::Read { .. })
    ));
    fs::write(&path, FILE).unwrap();
    let file = AccessFile::open(&path).unwrap();
    assert_eq!(file.refresh().unwrap(), Refreshed::Same);
    fs::write(&path, "nonsense").unwrap();
    assert!(file.refresh().is_err());
    assert_eq!(file.refresh().unwrap(), Refreshed::Same, "told once");
    assert_eq!(file.current().len(), 2);
    fs::remove_file(&path).unwrap();
    assert!(file.refresh().is_err());
    assert_eq!(file.refresh().unwrap(), Refreshed::Same);
    assert_eq!(file.current().len(), 2);
    fs::write(&path, "").unwrap();
    assert!(matches!(file.refresh(), Err(AccessError::Nobody)));
    assert_eq!(file.current().len(), 2);
    // Somebody writes it just now: a part of it is not used, though it could be.
    fs::write(&path, FILE.split("\n\n").next().unwrap()).unwrap();
    let rest = FILE.replace("gateway\"\n", "gate\"\n");
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(WRITING / 4);
            fs::write(&path, rest).unwrap();
        });
        assert_eq!(file.refresh().unwrap(), Refreshed::Same);
    });
    assert_eq!(file.current().len(), 2);
    assert_eq!(file.refresh().unwrap(), Refreshed::Changed);
    assert_eq!(file.current().len(), 2);
}
