//! CVE-2024-2660: what several responders say together, and whose answers count.

use bytes::Bytes;
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, SigningKey};
use serde_json::{Value, json};
use x509_cert::{
    Certificate,
    der::{
        Any, Decode, Encode,
        asn1::{BitString, GeneralizedTime, Null, ObjectIdentifier, OctetString},
    },
    spki::AlgorithmIdentifierOwned,
};
use x509_ocsp::{
    BasicOcspResponse, CertStatus, OcspGeneralizedTime, OcspRequest, OcspResponse, OcspResponseStatus, ResponderId,
    ResponseBytes, ResponseData, RevokedInfo, SingleResponse, Version,
};

use crate::{
    authority::{Authority, Issued, params},
    mount::{Mount, with},
    publisher::Publisher,
};

const NOW: u64 = 1_700_000_000;
const DAY: u64 = 86_400;

fn time(seconds: u64) -> OcspGeneralizedTime {
    OcspGeneralizedTime(GeneralizedTime::from_unix_duration(std::time::Duration::from_secs(seconds)).unwrap())
}

fn good() -> CertStatus {
    CertStatus::Good(Null)
}

fn revoked() -> CertStatus {
    CertStatus::Revoked(RevokedInfo { revocation_time: time(NOW - DAY), revocation_reason: None })
}

/// How a responder answers.
#[derive(Clone)]
struct Answer {
    status: CertStatus,
    this_update: u64,
    next_update: Option<u64>,
    /// Added to the serial number that was asked for.
    other: u8,
    signer: String,
    /// Certificate of the signer, if it is not the CA.
    certificate: Option<Vec<u8>>,
}

impl Answer {
    fn by_ca(ca: &Authority, status: CertStatus) -> Self {
        Self {
            status,
            this_update: NOW - 60,
            next_update: Some(NOW + DAY),
            other: 0,
            signer: ca.key_pem(),
            certificate: None,
        }
    }

    fn by(issued: &Issued, status: CertStatus, ca: &Authority) -> Self {
        Self { signer: issued.key.serialize_pem(), certificate: Some(issued.der.clone()), ..Self::by_ca(ca, status) }
    }

    fn to(&self, question: &[u8]) -> Vec<u8> {
        let question = OcspRequest::from_der(question).unwrap();
        let mut cert_id = question.tbs_request.request_list[0].req_cert.clone();
        if self.other > 0 {
            cert_id.serial_number = x509_cert::serial_number::SerialNumber::new(&[self.other]).unwrap();
        }
        let tbs_response_data = ResponseData {
            version: Version::V1,
            responder_id: ResponderId::ByKey(OctetString::new(vec![0; 20]).unwrap()),
            produced_at: time(NOW),
            responses: vec![SingleResponse {
                cert_id,
                cert_status: self.status,
                this_update: time(self.this_update),
                next_update: self.next_update.map(time),
                single_extensions: None,
            }],
            response_extensions: None,
        };
        let signer = KeyPair::from_pem(&self.signer).unwrap();
        let signature = signer.sign(&tbs_response_data.to_der().unwrap()).unwrap();
        let certs = self.certificate.as_ref().map(|der| vec![Certificate::from_der(der).unwrap()]);
        let basic = BasicOcspResponse {
            tbs_response_data,
            signature_algorithm: AlgorithmIdentifierOwned {
                oid: ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2"),
                parameters: None::<Any>,
            },
            signature: BitString::from_bytes(&signature).unwrap(),
            certs,
        };
        let response_bytes = Some(ResponseBytes {
            response_type: ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1"),
            response: OctetString::new(basic.to_der().unwrap()).unwrap(),
        });
        OcspResponse { response_status: OcspResponseStatus::Successful, response_bytes }.to_der().unwrap()
    }
}

/// Responders that answer so; `None` does not answer at all.
async fn responders(answers: &[Option<Answer>]) -> Vec<String> {
    let mut urls = Vec::new();
    for answer in answers {
        urls.push(match answer.clone() {
            None => "http://127.0.0.1:1/".to_owned(),
            Some(answer) => Publisher::start(move |question| Bytes::from(answer.to(&question))).await.url,
        });
    }
    urls
}

/// Is the client let in with these answers and settings?
async fn let_in(ca: &Authority, client: &Issued, answers: &[Option<Answer>], settings: Value) -> bool {
    let mount = Mount::of(&ca.pem).await;
    let mut role =
        json!({"ocsp_enabled": true, "ocsp_servers_override": responders(answers).await, "ocsp_max_retries": 0});
    role.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    mount.role(role).await;
    mount.login(&[&client.der]).await.is_ok()
}

#[tokio::test]
async fn cve_2024_2660_only_what_is_reliable_counts() {
    let (ca, namesake) = (Authority::new("ca"), Authority::new("ca"));
    let client = ca.issue(params("ada", 5));
    let mut named = params("responder", 6);
    named.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    let (named, foreign, unnamed) =
        (ca.issue(named.clone()), namesake.issue(named), ca.issue(params("other client", 7)));
    let of_ca = |status| Answer::by_ca(&ca, status);
    for (answer, reliable) in [
        (of_ca(good()), true),
        (Answer::by(&named, good(), &ca), true),
        (of_ca(CertStatus::Unknown(Null)), false),
        (Answer { next_update: Some(NOW - DAY), this_update: NOW - 2 * DAY, ..of_ca(good()) }, false),
        (Answer { this_update: NOW + DAY, ..of_ca(good()) }, false),
        (Answer { other: 9, ..of_ca(good()) }, false),
        (Answer::by_ca(&namesake, good()), false),
        (Answer::by(&unnamed, good(), &ca), false),
        (Answer::by(&foreign, good(), &ca), false),
        (Answer { certificate: Some(named.der.clone()), ..Answer::by_ca(&namesake, good()) }, false),
    ] {
        let answers = [Some(answer)];
        assert_eq!(let_in(&ca, &client, &answers, json!({})).await, reliable);
        assert!(let_in(&ca, &client, &answers, json!({"ocsp_fail_open": true})).await);
    }
    for answer in [of_ca(revoked()), Answer::by(&named, revoked(), &ca)] {
        assert!(!let_in(&ca, &client, &[Some(answer)], json!({"ocsp_fail_open": true})).await);
    }
    let old = Answer { this_update: NOW - DAY, next_update: None, ..of_ca(good()) };
    assert!(let_in(&ca, &client, &[Some(old.clone())], json!({})).await);
    assert!(!let_in(&ca, &client, &[Some(old)], json!({"ocsp_this_update_max_age": "1h"})).await);
}

#[tokio::test]
async fn cve_2024_2660_what_several_responders_say_together() {
    let ca = Authority::new("ca");
    let client = ca.issue(params("ada", 5));
    let (yes, no) = (Some(Answer::by_ca(&ca, good())), Some(Answer::by_ca(&ca, revoked())));
    let forged = Some(Answer::by_ca(&Authority::new("ca"), good()));
    let all = json!({"ocsp_query_all_servers": true});
    for (answers, first, every) in [
        (vec![yes.clone(), yes.clone()], true, true),
        (vec![yes.clone(), no.clone()], true, false),
        (vec![no.clone(), yes.clone()], false, false),
        (vec![None, yes.clone()], true, false),
        (vec![yes.clone(), None], true, false),
        (vec![forged.clone(), no.clone()], false, false),
        (vec![forged.clone(), yes.clone()], true, false),
        (vec![forged, None], false, false),
        (vec![], false, false),
    ] {
        assert_eq!(let_in(&ca, &client, &answers, json!({})).await, first);
        assert_eq!(let_in(&ca, &client, &answers, all.clone()).await, every);
    }
}

#[tokio::test]
async fn renewals_ask_too_and_bad_settings_are_refused() {
    let ca = Authority::new("ca");
    let client = ca.issue(params("ada", 5));
    let mount = Mount::of(&ca.pem).await;
    let grant = mount.login(&[&client.der]).await.unwrap();
    let servers = responders(&[Some(Answer::by_ca(&ca, revoked()))]).await;
    mount.role(json!({"ocsp_enabled": true, "ocsp_servers_override": servers})).await;
    assert!(mount.backend.renew_grant(grant, &with(&[&client.der])).await.is_err());
    assert_eq!(mount.get("certs/app").await["ocsp_servers_override"], json!(servers));
    for (body, part) in
        [(json!({"ocsp_ca_certificates": "x"}), "ocsp_ca"), (json!({"ocsp_max_retries": -1}), "retries")]
    {
        assert!(mount.refused("certs/app", body).await.contains(part));
    }
}
