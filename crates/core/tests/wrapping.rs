//! Wrapped answers, opened once.

use std::time::Duration;

use holdfast_api_types::WrapInfo;
use holdfast_core::{Answer, Raw, Verb};
use serde_json::{Value, json};

use crate::bench::{Bench, data, envelope};

async fn wrap(bench: &Bench, verb: Verb, path: &str, body: Value) -> WrapInfo {
    let raw = bench.raw(&bench.root, verb, path, body);
    let wrapped = envelope(path, bench.core.handle(Raw { wrap_ttl: Some(Duration::from_secs(60)), ..raw }).await);
    assert!(wrapped.request_id.is_empty() && wrapped.data.is_none() && wrapped.auth.is_none());
    wrapped.wrap_info.unwrap()
}

fn body(answer: Answer) -> Option<Value> {
    match answer {
        Answer::Raw { status: 200, body, .. } => serde_json::from_slice(&body).ok(),
        Answer::Error(error) => {
            assert!(error.to_string().contains("wrapping token is not valid or does not exist"), "{error}");
            None
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_wrapped_answer_is_opened_exactly_once() {
    let bench = Bench::open().await;
    let info = wrap(&bench, Verb::Write, "sys/wrapping/wrap", json!({"a": "b"})).await;
    assert_eq!((info.ttl, info.creation_path.as_str()), (60, "sys/wrapping/wrap"));
    let looked = data(bench.ok("", Verb::Write, "sys/wrapping/lookup", json!({"token": info.token})).await);
    assert_eq!(looked["creation_ttl"], 60);

    let unwrap = || bench.answer(&info.token, Verb::Write, "sys/wrapping/unwrap", json!({}));
    let opened: Vec<_> =
        futures::future::join_all((0..8).map(|_| unwrap())).await.into_iter().filter_map(body).collect();
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0]["data"], json!({"a": "b"}));
    assert_eq!(body(unwrap().await), None);
}

#[tokio::test]
async fn the_token_in_the_body_is_opened_with_the_callers_own() {
    let bench = Bench::open().await;
    let info = wrap(&bench, Verb::Write, "auth/token/create", json!({"ttl": "1h"})).await;
    assert!(!info.wrapped_accessor.is_empty());
    let unwrap = || bench.answer(&bench.root, Verb::Write, "sys/wrapping/unwrap", json!({"token": info.token}));
    let opened: Vec<_> =
        futures::future::join_all((0..8).map(|_| unwrap())).await.into_iter().filter_map(body).collect();
    assert_eq!(opened.len(), 1);
    assert!(bench.is_good(opened[0]["auth"]["client_token"].as_str().unwrap()).await);
}

#[tokio::test]
async fn a_rewrapped_token_replaces_the_old_one_and_time_ends_it() {
    let bench = Bench::open().await;
    let first = wrap(&bench, Verb::Write, "sys/wrapping/wrap", json!({"a": "b"})).await;
    let body_of = json!({"token": first.token});
    let second = bench.write("sys/wrapping/rewrap", body_of).await.wrap_info.unwrap();
    assert_eq!((second.ttl, &second.creation_path), (60, &first.creation_path));
    assert_eq!(body(bench.answer(&first.token, Verb::Write, "sys/wrapping/unwrap", json!({})).await), None);
    bench.advance(61);
    assert_eq!(body(bench.answer(&second.token, Verb::Write, "sys/wrapping/unwrap", json!({})).await), None);
}

#[tokio::test]
async fn a_wrapping_token_is_good_for_nothing_else() {
    let bench = Bench::open().await;
    let info = wrap(&bench, Verb::Write, "sys/wrapping/wrap", json!({"a": "b"})).await;
    bench.fails(&info.token, Verb::Read, "auth/token/lookup-self", json!({})).await;
    let error = bench.fails(&bench.root, Verb::Write, "sys/wrapping/wrap", json!({"a": 1})).await;
    assert_eq!(error.to_string(), "endpoint requires response wrapping to be used");
}

#[tokio::test]
async fn nobody_stores_anything_by_asking_for_an_open_answer_wrapped() {
    let bench = Bench::open().await;
    for ttl in [60, u64::MAX] {
        let raw = bench.raw("", Verb::Read, "sys/internal/ui/mounts", json!({}));
        let answer = bench.core.handle(Raw { wrap_ttl: Some(Duration::from_secs(ttl)), ..raw }).await;
        let shown = envelope("sys/internal/ui/mounts", answer);
        assert!(shown.wrap_info.is_none() && shown.data.is_some());
    }
}

#[tokio::test]
async fn a_wrapping_ttl_beyond_all_time_is_a_long_one() {
    let bench = Bench::open().await;
    let raw = bench.raw(&bench.root, Verb::Write, "sys/wrapping/wrap", json!({"a": "b"}));
    let answer = bench.core.handle(Raw { wrap_ttl: Some(Duration::from_secs(u64::MAX)), ..raw }).await;
    let token = envelope("sys/wrapping/wrap", answer).wrap_info.unwrap().token;
    assert!(body(bench.answer(&token, Verb::Write, "sys/wrapping/unwrap", json!({})).await).is_some());
}

#[tokio::test]
async fn a_wrapping_token_lives_no_longer_than_any_token_may() {
    let bench = Bench::open().await;
    let raw = bench.raw(&bench.root, Verb::Write, "sys/wrapping/wrap", json!({"a": 1}));
    let year = Some(Duration::from_secs(365 * 24 * 3600));
    let wrapped = envelope("wrap", bench.core.handle(Raw { wrap_ttl: year, ..raw }).await);
    assert_eq!(wrapped.wrap_info.unwrap().ttl, holdfast_core::SYSTEM_TTL.as_secs());
}
