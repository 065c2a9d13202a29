//! Bodies of POST /mutate: any are refused or answered, and an answer names the uid of its question.
#![no_main]

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use holdfast_webhook::{
    cluster::{Answer, Cluster, Located},
    mutate::Settings,
    profile::Namespace,
    review,
    rules::Rules,
};
use serde_json::Value;

struct Nothing;

impl Cluster for Nothing {
    fn locate<'a>(&'a self, _: &'a str, _: &'a str) -> Answer<'a, Option<Located>> {
        Box::pin(async { Ok(None) })
    }

    fn namespace<'a>(&'a self, name: &'a str) -> Answer<'a, Namespace> {
        Box::pin(async move { Ok(Namespace { name: name.to_owned(), ..Namespace::default() }) })
    }
}

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let rules = Rules { settings: Settings::default(), document: Default::default() };
    let answer = pin!(review::answer(body, &rules, &Nothing));
    let Poll::Ready(answer) = answer.poll(&mut Context::from_waker(Waker::noop())) else { panic!("nothing to wait for") };
    if let Ok(reviewed) = answer {
        let answer = reviewed.answer;
        let question: Value = serde_json::from_slice(body).expect("it was read");
        assert_eq!(answer["response"]["uid"], question["request"]["uid"]);
        assert!(answer["response"]["allowed"].is_boolean());
    }
});
