//! What the real binary says about itself: on `/metrics`, to a collector, and in its log.

pub mod collector;
mod logs;
mod scrape;
mod traces;

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use tollgate::pb::{
    Action, CommitRequest, CreateAccountRequest, ReserveRequest, Usage, commit_request,
    reserve_request,
};

use crate::process::Sidecar;

/// What the HTTP port answers.
fn get(sidecar: &Sidecar, path: &str, accept: &str) -> String {
    let mut stream = TcpStream::connect(&sidecar.http).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nAccept: {accept}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// `/metrics`, without the headers.
fn metrics(sidecar: &Sidecar) -> String {
    let answer = get(sidecar, "/metrics", "*/*");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    body.to_owned()
}

/// The value of a sample, named with its labels; absent: zero.
fn value(text: &str, sample: &str) -> f64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(sample));
    let found = lines.find_map(|rest| rest.strip_prefix(' '));
    found.map_or(0.0, |value| value.parse().unwrap())
}

async fn create(sidecar: &Sidecar, account_id: &str, plan_id: &str) {
    let create = CreateAccountRequest {
        account_id: account_id.into(),
        plan_id: plan_id.into(),
        ..CreateAccountRequest::default()
    };
    sidecar.admin().await.create_account(create).await.unwrap();
}

fn usage(input_tokens: u64, output_tokens: u64) -> Usage {
    Usage {
        input_tokens,
        output_tokens,
        ..Usage::default()
    }
}

fn reserve(account_id: &str, id: &str) -> ReserveRequest {
    ReserveRequest {
        account_id: account_id.into(),
        reservation_id: id.into(),
        action: Some(Action {
            mode: "agent".into(),
            model: "claude-sonnet-4-5".into(),
            conversation_id: "conv-7".into(),
            ..Action::default()
        }),
        amount: Some(reserve_request::Amount::Estimate(usage(2_000, 500))),
        ..ReserveRequest::default()
    }
}

fn commit(account_id: &str, id: &str) -> CommitRequest {
    CommitRequest {
        account_id: account_id.into(),
        reservation_id: id.into(),
        amount: Some(commit_request::Amount::Usage(usage(2_100, 400))),
        ..CommitRequest::default()
    }
}
