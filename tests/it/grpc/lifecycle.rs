//! Sockets, health, reflection, and the end of it all.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use tokio_stream::StreamExt;
use tollgate::{
    config::GrpcConfig,
    grpc::{BindError, Sockets},
    pb,
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

use super::world::{World, channel, config, reason};

fn ask(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

#[tokio::test]
async fn health_is_one_switch_for_all_services() {
    let world = World::new().await;
    let mut health = HealthClient::new(channel(&world.address).await);
    let services = ["", "tollgate.v1.QuotaService", "tollgate.v1.AdminService"];
    for (serving, expected) in [
        (true, ServingStatus::Serving),
        (false, ServingStatus::NotServing),
    ] {
        world.server.health().set_serving(serving);
        for service in services {
            let answer = health.check(ask(service)).await.unwrap().into_inner();
            assert_eq!(answer.status(), expected, "{service:?}");
        }
    }
    let unknown = health.check(ask("other")).await.unwrap_err();
    assert_eq!(
        (unknown.code(), reason(&unknown).as_str()),
        (Code::NotFound, "SERVICE_NOT_FOUND")
    );
}

#[tokio::test]
async fn a_watch_sees_every_change_and_does_not_hold_up_the_end() {
    let world = World::new().await;
    let mut health = HealthClient::new(channel(&world.address).await);
    let mut watch = health.watch(ask("")).await.unwrap().into_inner();
    let mut unknown = health.watch(ask("other")).await.unwrap().into_inner();
    let mut next = async || watch.next().await.map(|answer| answer.unwrap().status());
    assert_eq!(next().await, Some(ServingStatus::Serving));
    world.server.health().set_serving(false);
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    world.server.health().set_serving(true);
    assert_eq!(next().await, Some(ServingStatus::Serving));
    let answer = unknown.next().await.unwrap().unwrap();
    assert_eq!(answer.status(), ServingStatus::ServiceUnknown);

    world.stop.cancel();
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    assert_eq!(next().await, None);
    let end = tokio::time::timeout(Duration::from_secs(10), world.server.stopped()).await;
    assert!(end.is_ok(), "the open watches must not hold it up");
    assert!(!world.socket.exists(), "the socket's file is gone");
    let host = world.address.strip_prefix("http://").unwrap().to_owned();
    assert!(tokio::net::TcpStream::connect(host).await.is_err());
}

#[tokio::test]
async fn reflection_lists_what_is_served_in_both_versions() {
    let world = World::new().await;
    let channel = channel(&world.address).await;
    macro_rules! reflect {
        ($version:ident, $question:ident, $text:expr) => {{
            let request = $version::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(
                    $version::server_reflection_request::MessageRequest::$question($text.into()),
                ),
            };
            let mut client =
                $version::server_reflection_client::ServerReflectionClient::new(channel.clone());
            let answers = client
                .server_reflection_info(tokio_stream::once(request))
                .await;
            answers
                .unwrap()
                .into_inner()
                .next()
                .await
                .unwrap()
                .unwrap()
                .message_response
                .unwrap()
        }};
    }
    macro_rules! check {
        ($version:ident) => {{
            use $version::server_reflection_response::MessageResponse as Answer;
            let Answer::ListServicesResponse(list) = reflect!($version, ListServices, "") else {
                panic!("no list")
            };
            let mut names: Vec<String> = list.service.into_iter().map(|one| one.name).collect();
            names.sort();
            let ours = ["tollgate.v1.AdminService", "tollgate.v1.QuotaService"];
            assert!(
                names.contains(&"grpc.health.v1.Health".to_owned()),
                "{names:?}"
            );
            assert!(
                ours.iter().all(|name| names.contains(&(*name).to_owned())),
                "{names:?}"
            );
            for symbol in [
                "tollgate.v1.QuotaService.Reserve",
                "google.rpc.BadRequest",
                "google.rpc.ErrorInfo",
            ] {
                let found = reflect!($version, FileContainingSymbol, symbol);
                assert!(
                    matches!(found, Answer::FileDescriptorResponse(_)),
                    "{symbol}: {found:?}"
                );
            }
        }};
    }
    check!(v1);
    check!(v1alpha);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let world = World::new().await;
    let listen = world
        .address
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    let error = Sockets::bind(&GrpcConfig { listen, ..config() })
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, BindError::Tcp { .. }));
    assert!(
        text.contains(&listen.to_string()) && text.contains("--grpc-listen"),
        "{text}"
    );
}

#[tokio::test]
async fn only_a_stale_socket_is_replaced() {
    let world = World::new().await;
    let mode = std::fs::metadata(&world.socket)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    let bind = async |path: &std::path::Path| {
        Sockets::bind(&GrpcConfig {
            unix_socket: Some(path.to_owned()),
            ..config()
        })
        .await
    };
    let text = bind(&world.socket).await.unwrap_err().to_string();
    assert!(
        text.contains("tollgate.sock") && text.contains("--unix-socket"),
        "{text}"
    );

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let text = bind(&file).await.unwrap_err().to_string();
    assert!(text.contains("not a socket"), "{text}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");

    let stale = folder.path().join("stale");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    let sockets = bind(&stale).await.unwrap();
    assert_eq!(sockets.unix_path(), Some(stale.as_path()));
    drop(sockets);
    assert!(!stale.exists(), "removed with what was bound");
}

#[tokio::test]
async fn calls_are_counted_and_timed_by_method_and_code() {
    let mut world = World::new().await;
    world.account("acme").await;
    world.balance("acme").await;
    let request = pb::GetBalanceRequest {
        account_id: "nobody".to_owned(),
    };
    world.quota.get_balance(request).await.unwrap_err();
    let text = world.metrics.render().unwrap();
    for code in ["OK", "NOT_FOUND"] {
        let found = text.lines().any(|line| {
            line.starts_with("rpc_server_call_duration_seconds_count")
                && line.contains(r#"rpc_method="tollgate.v1.QuotaService/GetBalance""#)
                && line.contains(&format!(r#"rpc_response_status_code="{code}""#))
                && line.ends_with(" 1")
        });
        assert!(found, "{code} is not in\n{text}");
    }
}
