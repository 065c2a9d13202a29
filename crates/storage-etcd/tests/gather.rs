//! Reads that come together.

use holdfast_storage::{Error, Op, Range, Storage, Txn};
use holdfast_storage_etcd::{Config, EtcdStorage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::etcd::Etcd;

/// How many calls etcd has answered, reads and writes.
async fn calls(etcd: &Etcd) -> u64 {
    let mut stream = TcpStream::connect(etcd.endpoint.trim_start_matches("http://")).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let of_kv = |line: &&str| line.starts_with("grpc_server_handled_total") && line.contains("etcdserverpb.KV");
    let counts = text.lines().filter(of_kv).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
    counts.map(|count| count as u64).sum()
}

#[tokio::test]
async fn they_travel_together_and_each_has_its_own_answer() {
    let etcd = Etcd::start().await;
    let config = Config { endpoints: vec![etcd.endpoint.clone()], prefix: "p/".to_owned(), ..Config::default() };
    let storage = EtcdStorage::connect(config).await.unwrap();
    let put = |key: String, value: String| Txn { then: vec![Op::put(key, value)], ..Txn::default() };
    let mut revision = 0;
    for number in 0..100 {
        let put = put(format!("key{number}"), format!("value{number}"));
        revision = storage.txn(put).await.unwrap().revision;
    }
    let before = calls(&etcd).await;
    let reads = (0..200).map(|number| storage.get(format!("key{number}").leak().as_bytes()));
    for (number, answer) in futures::future::join_all(reads).await.into_iter().enumerate() {
        let (item, at) = answer.unwrap();
        let value = item.map(|item| (item.key, item.value));
        assert_eq!(value, (number < 100).then(|| (format!("key{number}").into(), format!("value{number}").into())));
        assert_eq!(at, revision);
    }
    let made = calls(&etcd).await - before;
    assert!(made <= 20, "{made} calls for 200 reads");
}

#[tokio::test]
async fn what_is_wrong_with_one_is_not_wrong_with_others() {
    let etcd = Etcd::start().await;
    let config = Config { endpoints: vec![etcd.endpoint.clone()], ..Config::default() };
    let storage = EtcdStorage::connect(config).await.unwrap();
    let put = |value: &'static str| Txn { then: vec![Op::put("key", value)], ..Txn::default() };
    let first = storage.txn(put("one")).await.unwrap().revision;
    let second = storage.txn(put("two")).await.unwrap().revision;
    storage.txn(put("three")).await.unwrap();
    storage.compact(second).await.unwrap();
    // The first goes alone, the others together.
    let ats = [None, Some(first), Some(second), Some(second + 7), None];
    let reads = ats.map(|at| storage.range(Range { at, ..Range::key("key") }));
    let answers = futures::future::join_all(reads).await.into_iter();
    let values = answers.map(|answer| answer.map(|page| page.items[0].value.clone()));
    let [now, two] = ["three", "two"].map(|value| Ok(value.into()));
    let expected = [now.clone(), Err(Error::Compacted(0)), two, Err(Error::Future), now];
    assert_eq!(values.collect::<Vec<_>>(), expected);
}
