//! Below the messages: bytes that no client of ours would send, and calls that a plain HTTP/2
//! client makes, so that what the server says is seen as it is.

use axum::body::Body;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, Status};

use super::world::{World, reason};

/// The start of every HTTP/2 connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One call by a client that knows nothing of gRPC: what the server answers in its headers.
pub async fn call(
    address: &str,
    path: &str,
    headers: &[(&'static str, &'static str)],
    body: Vec<u8>,
) -> http::Response<Incoming> {
    let mut sender = connect(address).await;
    let request = request(address, path, headers, Body::from(body));
    sender.send_request(request).await.unwrap()
}

/// A call whose message never comes, for as long as this is polled.
pub async fn call_without_end(
    address: &str,
    path: &str,
    headers: &[(&'static str, &'static str)],
) -> http::Response<Incoming> {
    let mut sender = connect(address).await;
    let never = tokio_stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let request = request(address, path, headers, Body::from_stream(never));
    sender.send_request(request).await.unwrap()
}

async fn connect(address: &str) -> http2::SendRequest<Body> {
    let host = address.strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(host).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn request(
    address: &str,
    path: &str,
    headers: &[(&'static str, &'static str)],
    body: Body,
) -> http::Request<Body> {
    let mut request = http::Request::post(format!("{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

/// The error in an answer's headers.
pub fn status(response: &http::Response<Incoming>) -> Status {
    Status::from_header_map(response.headers()).expect("an error")
}

/// A message as gRPC frames it, with a length that may be a lie.
pub fn framed(length: u32, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_callers_mistake() {
    let world = World::new().await;
    let path = "/tollgate.v1.QuotaService/Reserve";
    let garbage = framed(4, &[0xff; 4]);
    let half = framed(100, b"half");
    for body in [garbage, half] {
        let status = status(&call(&world.address, path, &[], body).await);
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert_eq!(reason(&status), "NOT_A_MESSAGE");
    }
}

#[tokio::test]
async fn an_unknown_method_is_answered_with_the_services_that_there_are() {
    let world = World::new().await;
    for path in ["/tollgate.v1.QuotaService/Steal", "/", "/x/y/z"] {
        let status = status(&call(&world.address, path, &[], framed(0, b"")).await);
        assert_eq!(status.code(), Code::Unimplemented);
        assert_eq!(reason(&status), "METHOD_NOT_SERVED");
        assert!(
            status.message().contains("tollgate.v1.AdminService"),
            "{status:?}"
        );
    }
    let text = world.metrics.render().unwrap();
    assert!(text.contains(r#"rpc_method="_OTHER""#), "{text}");
}

/// It keeps the place of one that has something to ask, so it is closed after ten seconds.
#[tokio::test]
async fn a_connection_that_never_begins_is_closed() {
    let world = World::new().await;
    let host = world.address.strip_prefix("http://").unwrap();
    let mut silent = TcpStream::connect(host).await.unwrap();
    let mut half = TcpStream::connect(host).await.unwrap();
    half.write_all(&PREFACE[..10]).await.unwrap();
    for stream in [&mut silent, &mut half] {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
    }
    let text = world.metrics.render().unwrap();
    let line = r#"tollgate_connections_refused_total{reason="preface_timeout"} 2"#;
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn garbage_closes_its_own_connection_only() {
    let mut world = World::new().await;
    world.account("acme").await;
    let host = world.address.strip_prefix("http://").unwrap().to_owned();
    let mut half_frame = PREFACE.to_vec();
    half_frame.extend_from_slice(&[0, 0, 50, 1, 4, 0, 0, 0, 1, 0x82]);
    let cases: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        &[0xff; 4096],
        &PREFACE[..10],
        &half_frame,
    ];
    for bytes in cases {
        let mut stream = TcpStream::connect(&host).await.unwrap();
        // The server may close before everything is written.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        world.reserve("acme", "", 1).await;
    }
}
