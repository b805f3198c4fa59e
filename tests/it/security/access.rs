//! Who may do what: every method by every role, scopes, and each way to be known.

use prost::Message;
use tollgate::{
    access::{
        Refreshed,
        table::{Role, TABLE},
        token,
    },
    config::{AdminConfig, ClientCert, GrpcConfig, UnixPeers},
    grpc::Security,
    pb,
};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{AccessFolder, Files, NAME, handshakes, principal};
use crate::grpc::{
    wire,
    world::{World, action, commit, config, metadata, reason, reserve},
};

async fn world(security: Security) -> World {
    World::guarded(config(), &AdminConfig::default(), security, (true, true)).await
}

/// A message as gRPC frames it.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

/// Every request of the contract that names an account has it as its first field.
fn about(account_id: &str) -> Vec<u8> {
    pb::GetBalanceRequest {
        account_id: account_id.to_owned(),
    }
    .encode_to_vec()
}

/// The error of one call with a token, if it had one.
async fn call(world: &World, method: &str, token: &str, message: &[u8]) -> Option<Status> {
    let header: &'static str = format!("Bearer {token}").leak();
    let headers: &[_] = match token {
        "" => &[],
        _ => &[("authorization", header)],
    };
    let path = format!("/{method}");
    let answer = wire::call(&world.address, &path, headers, framed(message)).await;
    Status::from_header_map(answer.headers()).filter(|status| status.code() != Code::Ok)
}

fn is_kept_out(status: Option<&Status>) -> bool {
    let kept_out = [Code::Unauthenticated, Code::PermissionDenied];
    status.is_some_and(|status| kept_out.contains(&status.code()))
}

#[tokio::test]
async fn each_role_may_call_what_the_table_says_and_nothing_else() {
    let tokens = Role::ALL.map(|role| {
        let (text, token) = principal(role.name(), &format!("{:?}", role.name()), "");
        (role, text, token)
    });
    let text: String = tokens.iter().map(|(_, text, _)| text.as_str()).collect();
    let access = AccessFolder::new(&text);
    let world = world(access.security()).await;
    for (method, allowed) in TABLE {
        for (role, _, token) in &tokens {
            let status = call(&world, method, token, b"").await;
            let case = format!("{method} by {}: {status:?}", role.name());
            if allowed.contains(role) {
                assert!(!is_kept_out(status.as_ref()), "{case}");
                continue;
            }
            let status = status.expect(&case);
            assert_eq!(status.code(), Code::PermissionDenied, "{case}");
            assert_eq!(reason(&status), "ROLE_MISSING");
            let needed: Vec<&str> = allowed.iter().map(|role| role.name()).collect();
            assert_eq!(metadata(&status, "needed"), needed.join(", "));
            assert_eq!(metadata(&status, "principal"), role.name());
        }
        let unknown = token::make().unwrap();
        let strangers = [("", "CALLER_UNKNOWN"), (unknown.as_str(), "TOKEN_UNKNOWN")];
        for (token, expected) in strangers {
            let status = call(&world, method, token, b"").await.unwrap();
            assert_eq!(status.code(), Code::Unauthenticated, "{method}");
            assert_eq!(reason(&status), expected);
        }
    }
}

#[tokio::test]
async fn a_scope_holds_for_every_method_and_tells_nothing() {
    let all = "\"gateway\", \"runner\", \"support\", \"billing\", \"viewer\"";
    let (eu, eu_token) = principal("eu", all, "accounts = [\"eu-\", \"ch-\"]");
    let (whole, token) = principal("all", all, "");
    let access = AccessFolder::new(&format!("{eu}{whole}"));
    let world = world(access.security()).await;
    let without_account = [
        "tollgate.v1.QuotaService/Quote",
        "tollgate.v1.AdminService/GetConversation",
        "tollgate.v1.AdminService/GetCatalog",
    ];
    for (method, _) in TABLE {
        let elsewhere = call(&world, method, &eu_token, &about("us-1")).await;
        let nowhere = call(&world, method, &eu_token, b"").await;
        if without_account.contains(&method) {
            assert!(!is_kept_out(nowhere.as_ref()), "{method}: {nowhere:?}");
            continue;
        }
        let mut refused = vec![nowhere];
        // A list of all accounts has no field for one.
        if !method.ends_with("/ListAccounts") {
            refused.push(elsewhere);
        }
        for status in refused {
            let status = status.unwrap_or_else(|| panic!("{method} was let through"));
            assert_eq!(
                status.code(),
                Code::PermissionDenied,
                "{method}: {status:?}"
            );
            assert_eq!(reason(&status), "ACCOUNT_OUT_OF_SCOPE");
            assert_eq!(metadata(&status, "accounts"), "eu-, ch-");
        }
        let inside = call(&world, method, &eu_token, &about("eu-1")).await;
        let unscoped = call(&world, method, &token, &about("us-1")).await;
        for status in [inside, unscoped] {
            assert!(!is_kept_out(status.as_ref()), "{method}: {status:?}");
        }
    }
}

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

#[tokio::test]
async fn a_conversation_shows_the_accounts_in_scope_only() {
    let all = "\"gateway\", \"support\", \"billing\"";
    let (eu, eu_token) = principal("eu", all, "accounts = [\"eu-\"]");
    let (us, us_token) = principal("us", all, "accounts = [\"us-\"]");
    let (other, other_token) = principal("other", all, "accounts = [\"x\"]");
    let access = AccessFolder::new(&format!("{eu}{us}{other}"));
    let mut world = world(access.security()).await;
    for (account, token) in [("eu-1", &eu_token), ("us-1", &us_token)] {
        let create = crate::grpc::world::create(account);
        world
            .admin
            .create_account(with_token(create, token))
            .await
            .unwrap();
        let mut hold = reserve(account, "chat", 5);
        hold.action.as_mut().unwrap().conversation_id = "conv".to_owned();
        world.quota.reserve(with_token(hold, token)).await.unwrap();
        world
            .quota
            .commit(with_token(commit(account, "chat", 3), token))
            .await
            .unwrap();
    }
    let ask = || pb::GetConversationRequest {
        conversation_id: "conv".to_owned(),
        ..Default::default()
    };
    for (account, token) in [("eu-1", &eu_token), ("us-1", &us_token)] {
        let answer = world.admin.get_conversation(with_token(ask(), token)).await;
        let answer = answer.unwrap().into_inner();
        assert_eq!(answer.credits, 3);
        assert!(
            answer
                .entries
                .iter()
                .all(|entry| entry.account_id == account)
        );
    }
    let none = world
        .admin
        .get_conversation(with_token(ask(), &other_token))
        .await;
    assert_eq!(reason(&none.unwrap_err()), "CONVERSATION_NOT_FOUND");
}

#[tokio::test]
async fn tokens_are_rotated_on_a_connection_that_stays() {
    let (old_text, old) = principal("gateway", "\"gateway\"", "");
    let (new_text, new) = principal("gateway", "\"gateway\"", "");
    let access = AccessFolder::new(&old_text);
    let mut world = world(access.security()).await;
    let mut balance = async |token: &str| {
        let request = pb::GetBalanceRequest {
            account_id: "acme".to_owned(),
        };
        let answer = world.quota.get_balance(with_token(request, token)).await;
        reason(&answer.unwrap_err())
    };
    assert_eq!(balance(&old).await, "ACCOUNT_NOT_FOUND");
    assert_eq!(balance(&new).await, "TOKEN_UNKNOWN");
    let hash = |text: &str| {
        text.split('"')
            .find(|part| part.starts_with("sha256:"))
            .unwrap()
            .to_owned()
    };
    let both = old_text.replace(
        &format!("\"{}\"", hash(&old_text)),
        &format!("\"{}\", \"{}\"", hash(&old_text), hash(&new_text)),
    );
    let steps = [(both, "ACCOUNT_NOT_FOUND"), (new_text, "TOKEN_UNKNOWN")];
    for (text, of_old) in steps {
        std::fs::write(&access.path, text).unwrap();
        assert_eq!(access.file.refresh().unwrap(), Refreshed::Changed);
        assert_eq!(balance(&old).await, of_old);
        assert_eq!(balance(&new).await, "ACCOUNT_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_header_that_is_no_bearer_token_is_told_so() {
    let (text, token) = principal("gateway", "\"gateway\"", "");
    let access = AccessFolder::new(&text);
    let world = world(access.security()).await;
    let path = "/tollgate.v1.QuotaService/GetBalance";
    for (value, expected) in [
        (format!("bearer {token}"), "BAD_REQUEST"),
        (token.clone(), "NOT_A_TOKEN"),
        ("Basic eDp5".to_owned(), "NOT_A_TOKEN"),
        ("Bearer".to_owned(), "NOT_A_TOKEN"),
        ("Bearer ".to_owned(), "NOT_A_TOKEN"),
        ("Bearer x".to_owned(), "TOKEN_UNKNOWN"),
    ] {
        let headers: [(_, &'static str); 1] = [("authorization", value.clone().leak())];
        let answer = wire::call(&world.address, path, &headers, framed(b"")).await;
        let status = wire::status(&answer);
        assert_eq!(reason(&status), expected, "{value:?}");
        assert!(!status.message().contains(&token));
    }
}

#[tokio::test]
async fn whoever_probes_needs_no_credentials_and_whoever_reflects_does() {
    let (text, token) = principal("viewer", "\"viewer\"", "");
    let access = AccessFolder::new(&text);
    let world = world(access.security()).await;
    let channel = crate::grpc::world::channel(&world.address).await;
    let check = HealthCheckRequest::default();
    HealthClient::new(channel).check(check).await.unwrap();
    let reflect = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let status = call(&world, reflect, "", b"").await.unwrap();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(!is_kept_out(
        call(&world, reflect, &token, b"").await.as_ref()
    ));
}

async fn over_tls(world: &World, files: &Files, pair: &crate::support::pki::Pair) -> Channel {
    let tls = files.authority.client(Some(pair)).domain_name(NAME);
    Endpoint::from_shared(world.address.replace("http://", "https://"))
        .unwrap()
        .tls_config(tls)
        .unwrap()
        .connect()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_certificate_says_who_calls_and_a_token_overrules_it() {
    let files = Files::new(ClientCert::Required);
    let (viewer, token) = principal("viewer", "\"viewer\"", "");
    let access = AccessFolder::new(&format!(
        "{viewer}[[principal]]\nname = \"gateway\"\nroles = [\"gateway\"]\n\
         spiffe = [\"spiffe://test/gateway\"]\ndns = [\"gateway.test\"]\n"
    ));
    let security = Security {
        tls: Some(handshakes(files.open())),
        ..access.security()
    };
    let world = world(security).await;
    let by_uri = files.authority.caller("spiffe://test/gateway");
    let by_name = files.authority.caller_named("gateway.test");
    let stranger = files.authority.caller("spiffe://test/gateway/other");
    let hold = |channel| {
        let mut quota = pb::quota_service_client::QuotaServiceClient::new(channel);
        async move { quota.reserve(reserve("acme", "one", 1)).await.unwrap_err() }
    };
    for pair in [&by_uri, &by_name] {
        let status = hold(over_tls(&world, &files, pair).await).await;
        assert_eq!(reason(&status), "ACCOUNT_NOT_FOUND");
    }
    let status = hold(over_tls(&world, &files, &stranger).await).await;
    assert_eq!(reason(&status), "CALLER_UNKNOWN");
    assert!(
        status.message().contains("spiffe://test/gateway/other"),
        "{status:?}"
    );

    let mut quota =
        pb::quota_service_client::QuotaServiceClient::new(over_tls(&world, &files, &by_uri).await);
    let as_viewer = quota
        .reserve(with_token(reserve("acme", "one", 1), &token))
        .await;
    assert_eq!(reason(&as_viewer.unwrap_err()), "ROLE_MISSING");
}

async fn over_socket(world: &World) -> Result<Channel, tonic::transport::Error> {
    let path = world.socket.clone();
    Endpoint::from_static("http://localhost")
        .connect_with_connector(tower::service_fn(move |_| {
            let path = path.clone();
            async move {
                let stream = tokio::net::UnixStream::connect(path).await;
                stream.map(hyper_util::rt::TokioIo::new)
            }
        }))
        .await
}

async fn quote(channel: Channel) -> Result<(), Status> {
    let request = pb::QuoteRequest {
        action: action("discuss", "claude-haiku-4-5"),
        estimate: Some(pb::Usage::default()),
    };
    let mut quota = pb::quota_service_client::QuotaServiceClient::new(channel);
    quota.quote(request).await.map(drop)
}

#[tokio::test]
async fn a_unix_socket_knows_the_user_at_the_other_end() {
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
    for (known, expected) in [(uid, None), (uid + 1, Some("CALLER_UNKNOWN"))] {
        let access = AccessFolder::new(&format!(
            "[[principal]]\nname = \"me\"\nroles = [\"gateway\"]\nuids = [{known}]\n"
        ));
        let world = world(access.security()).await;
        let answer = quote(over_socket(&world).await.unwrap()).await;
        assert_eq!(
            answer.err().map(|status| reason(&status)).as_deref(),
            expected
        );
        let tcp = quote(crate::grpc::world::channel(&world.address).await).await;
        assert_eq!(reason(&tcp.unwrap_err()), "CALLER_UNKNOWN");
    }
    for (admitted, is_in) in [(uid, true), (uid + 1, false)] {
        let config = GrpcConfig {
            unix_socket_mode: 0o600,
            unix_peers: UnixPeers {
                uids: vec![admitted],
                gids: Vec::new(),
            },
            ..config()
        };
        let world = World::with(config, true, true).await;
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&world.socket)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let answer = match over_socket(&world).await {
            Ok(channel) => quote(channel).await.is_ok(),
            Err(_) => false,
        };
        assert_eq!(answer, is_in);
        let counted = world.metrics.render().unwrap();
        let refused = "tollgate_connections_refused_total{reason=\"unix_peer\"} 0\n";
        assert_eq!(counted.contains(refused), is_in);
    }
}

#[tokio::test]
async fn admin_service_on_its_own_listener_is_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let admin = AdminConfig {
        listen: Some("127.0.0.1:0".parse().unwrap()),
        unix_socket: Some(folder.path().join("admin.sock")),
    };
    let both = (true, true);
    let mut world = World::guarded(config(), &admin, Security::default(), both).await;
    world.account("acme").await;
    world.reserve("acme", "one", 1).await;
    assert!(folder.path().join("admin.sock").exists());
    let apart = world.admin_address.clone().unwrap();
    let get_balance = "/tollgate.v1.QuotaService/GetBalance";
    let get_account = "/tollgate.v1.AdminService/GetAccount";
    for (address, path, served) in [
        (&world.address, get_balance, true),
        (&world.address, get_account, false),
        (&apart, get_account, true),
        (&apart, get_balance, false),
    ] {
        let answer = wire::call(address, path, &[], framed(&about("acme"))).await;
        let status = Status::from_header_map(answer.headers());
        let refused = status.filter(|status| status.code() == Code::Unimplemented);
        assert_eq!(refused.is_none(), served, "{path} on {address}");
    }
}
