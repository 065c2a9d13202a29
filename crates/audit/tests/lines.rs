//! What a line says, and what it must not.

use std::collections::BTreeMap;

use holdfast_audit::*;
use holdfast_secret::{SecretBytes, SecretString};
use serde_json::{Value, json};

#[test]
fn a_line_has_vaults_names_and_no_secret() {
    let hasher = Hasher::new(&SecretBytes::new(vec![7; 32]), Options::default()).unwrap();
    let token = SecretString::new("hvs.PLAIN");
    let policies = ["default".to_owned(), "app".to_owned()];
    let granting = [("app".to_owned(), "secret/*".to_owned())];
    let body = json!({"data": {"password": "PLAIN", "n": 5, "on": true}, "options": {"note": "open"}});
    let auth = Auth {
        client_token: Some(&token),
        accessor: "PLAINaccessor",
        display_name: "kubernetes-shop",
        policies: &policies,
        token_policies: &policies,
        policy_results: Some(PolicyResults { allowed: true, namespace_id: "", granting: &granting }),
        token_type: "service",
        token_ttl: 3600,
        ..Auth::default()
    };
    let clear = ["note".to_owned()];
    let request = Request {
        id: "11111111-2222-4333-8444-555555555555",
        operation: "update",
        mount_point: "secret/",
        mount_type: "kv",
        client_token: Some(&token),
        client_token_accessor: "PLAINaccessor",
        path: "secret/data/app",
        data: body.as_object(),
        remote_address: "10.0.0.7".to_owned(),
        remote_port: 4711,
        headers: BTreeMap::from([("x-extra".to_owned(), Header { values: vec!["PLAIN".to_owned()], clear: false })]),
        clear_keys: &clear,
        ..Request::default()
    };
    let made =
        ResponseAuth { client_token: "hvs.PLAIN2", accessor: "PLAIN2", token_ttl: 60, ..ResponseAuth::default() };
    let answer = json!({"password": "PLAIN", "keys": ["PLAIN"]});
    let response = Response {
        auth: Some(made),
        data: answer.as_object(),
        lease_id: "database/creds/r/abc",
        wrap_info: Some(WrapInfo { token: "hvs.PLAIN3", accessor: "PLAIN3", ttl: 60, ..WrapInfo::default() }),
        ..Response::default()
    };
    let entry = RequestEntry { auth: auth.clone(), request: request.clone(), ..RequestEntry::default() };
    let asked = hasher.request(&entry).unwrap();
    let entry = ResponseEntry { auth, request, response, error: Some("it failed"), ..ResponseEntry::default() };
    let answered = hasher.response(&entry).unwrap();
    for record in [&asked, &answered] {
        assert!(!record.line().contains("PLAIN"), "{}", record.line());
        assert!(!record.line().contains('\n'));
    }
    let line: Value = serde_json::from_str(asked.line()).unwrap();
    assert_eq!(line["type"], "request");
    assert_eq!(line["time"], "1970-01-01T00:00:00Z");
    assert_eq!(line["auth"]["client_token"], hasher.hash("hvs.PLAIN"));
    assert_eq!(line["auth"]["accessor"], hasher.hash("PLAINaccessor"));
    assert_eq!(line["auth"]["policy_results"]["allowed"], true);
    assert_eq!(line["auth"]["policy_results"]["granting_policies"][0]["name"], "app");
    assert_eq!(line["request"]["namespace"], json!({"id": "root"}));
    assert_eq!(line["request"]["data"]["data"]["password"], hasher.hash("PLAIN"));
    assert_eq!(line["request"]["data"]["data"]["n"], 5);
    assert_eq!(line["request"]["data"]["options"]["note"], "open");
    assert!(line.get("response").is_none() && line.get("error").is_none());
    let line: Value = serde_json::from_str(answered.line()).unwrap();
    assert_eq!(line["type"], "response");
    assert_eq!(line["error"], "it failed");
    assert_eq!(line["response"]["auth"]["client_token"], hasher.hash("hvs.PLAIN2"));
    assert_eq!(line["response"]["secret"]["lease_id"], "database/creds/r/abc");
    assert_eq!(line["response"]["wrap_info"]["token"], hasher.hash("hvs.PLAIN3"));
    assert_eq!(line["response"]["data"]["keys"][0], hasher.hash("PLAIN"));
}

#[test]
fn accessors_in_clear_on_request() {
    let hasher =
        Hasher::new(&SecretBytes::new(vec![7; 32]), Options { hash_accessors: false, ..Options::default() }).unwrap();
    let auth = Auth { accessor: "acc", ..Auth::default() };
    let record = hasher.request(&RequestEntry { auth, ..RequestEntry::default() }).unwrap();
    let line: Value = serde_json::from_str(record.line()).unwrap();
    assert_eq!(line["auth"]["accessor"], "acc");
    assert!(line["auth"].get("client_token").is_none(), "an absent token has no hash");
}
