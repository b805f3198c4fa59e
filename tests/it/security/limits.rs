//! What one caller may take of everything, as a real client meets it.

use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tollgate::config::GrpcConfig;

use crate::grpc::{
    odd::{Odd, serve},
    world::{World, config},
};

const PATIENCE: Duration = Duration::from_secs(60);
const BALANCE: &str = "/tollgate.v1.QuotaService/GetBalance";
const RESERVE: &str = "/tollgate.v1.QuotaService/Reserve";

type Sender = http2::SendRequest<axum::body::Body>;
type Ended = tokio::task::JoinHandle<hyper::Result<()>>;

async fn connect(address: &str) -> (Sender, Ended) {
    let host = address.strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(host).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    (sender, tokio::spawn(connection))
}

fn request(address: &str, path: &str, padding: usize) -> http::Request<axum::body::Body> {
    http::Request::post(format!("{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-padding", "x".repeat(padding))
        .body(axum::body::Body::from(vec![0; 5]))
        .unwrap()
}

/// One call with a header of so many bytes; the HTTP status of its answer.
async fn call(sender: &mut Sender, address: &str, path: &str, padding: usize) -> u16 {
    let answer = sender.send_request(request(address, path, padding));
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    answer.unwrap().map_or(0, |answer| answer.status().as_u16())
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused_and_nothing_else_is() {
    let config = GrpcConfig {
        max_header_bytes: 8 * 1024,
        ..config()
    };
    let world = World::with(config, true, true).await;
    let (mut sender, _ended) = connect(&world.address).await;
    assert_eq!(
        call(&mut sender, &world.address, BALANCE, 4 * 1024).await,
        200
    );
    let refused = call(&mut sender, &world.address, BALANCE, 9 * 1024).await;
    assert_eq!(refused, 431);
    assert_eq!(call(&mut sender, &world.address, BALANCE, 10).await, 200);
}

#[tokio::test]
async fn connections_beyond_the_most_wait_until_one_is_closed() {
    let config = GrpcConfig {
        connections_max: 2,
        ..config()
    };
    let world = World::with(config, true, true).await;
    let (mut first, first_ended) = connect(&world.address).await;
    let (mut second, _ended) = connect(&world.address).await;
    assert_eq!(call(&mut first, &world.address, BALANCE, 0).await, 200);
    assert_eq!(call(&mut second, &world.address, BALANCE, 0).await, 200);
    let address = world.address.clone();
    let third = tokio::spawn(async move {
        let (mut third, _ended) = connect(&address).await;
        call(&mut third, &address, BALANCE, 0).await
    });
    for _ in 0..20 {
        assert_eq!(call(&mut second, &world.address, BALANCE, 0).await, 200);
    }
    assert!(!third.is_finished(), "there was no place for it");
    drop(first);
    first_ended.await.unwrap().unwrap();
    let served = tokio::time::timeout(PATIENCE, third).await;
    assert_eq!(served.unwrap().unwrap(), 200);
    // A Unix socket has places of its own.
    assert!(world.socket.exists());
}

#[tokio::test]
async fn calls_beyond_the_most_of_a_connection_wait_for_one_of_its_own_to_end() {
    let odd = Odd::default();
    let config = GrpcConfig {
        calls_per_connection_max: 2,
        ..config()
    };
    let (_server, _stop, address) = serve(odd.clone(), config).await;
    let (mut sender, _ended) = connect(&address).await;
    // With the first answer the caller knows the bound.
    assert_eq!(call(&mut sender, &address, BALANCE, 0).await, 200);
    let start = |path| {
        let (mut sender, address) = (sender.clone(), address.clone());
        tokio::spawn(async move { call(&mut sender, &address, path, 0).await })
    };
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(start(RESERVE));
        odd.entered.notified().await;
    }
    let third = start(BALANCE);
    let (mut other, _other_ended) = connect(&address).await;
    for _ in 0..20 {
        assert_eq!(call(&mut other, &address, BALANCE, 0).await, 200);
    }
    assert!(!third.is_finished(), "its connection has two already");
    odd.let_go.notify_one();
    let served = tokio::time::timeout(PATIENCE, third).await;
    assert_eq!(served.unwrap().unwrap(), 200);
    odd.let_go.notify_one();
    for one in open {
        assert_eq!(one.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn an_old_connection_ends_without_a_failed_call() {
    let config = GrpcConfig {
        connection_age_max_ms: 100,
        ..config()
    };
    let world = World::with(config, true, true).await;
    let (mut sender, ended) = connect(&world.address).await;
    assert_eq!(call(&mut sender, &world.address, BALANCE, 0).await, 200);
    let ended = tokio::time::timeout(PATIENCE, ended).await;
    ended.expect("the server ends it").unwrap().unwrap();

    // Whoever makes a new connection when one ends gets an answer to each of its calls: what the
    // server has begun it finishes, and what it has not seen can be sent again.
    let begun = tokio::time::Instant::now();
    let (mut sender, mut connections, mut calls) = (connect(&world.address).await.0, 1, 0);
    while begun.elapsed() < Duration::from_millis(600) || connections < 4 {
        if sender.ready().await.is_err() {
            sender = connect(&world.address).await.0;
            connections += 1;
            continue;
        }
        let request = request(&world.address, BALANCE, 0);
        match sender.try_send_request(request).await {
            Ok(answer) => assert_eq!(answer.status(), 200),
            // Given back as it was: it never left.
            Err(error) => assert!(error.message().is_some(), "{:?}", error.into_error()),
        }
        calls += 1;
    }
    assert!(calls > connections);
}

#[tokio::test]
async fn what_an_old_connection_still_does_is_cut_after_the_grace() {
    let odd = Odd::default();
    let config = GrpcConfig {
        connection_age_max_ms: 50,
        connection_age_grace_ms: 50,
        ..config()
    };
    let (_server, _stop, address) = serve(odd.clone(), config).await;
    let (mut sender, ended) = connect(&address).await;
    let status = call(&mut sender, &address, RESERVE, 0).await;
    assert_eq!(
        status, 0,
        "the call was never let go, and its connection is gone"
    );
    let ended = tokio::time::timeout(PATIENCE, ended).await;
    assert!(ended.is_ok());
}
