//! Asking OCSP responders, and what their answers together mean.

use std::time::Duration;

use bytes::Bytes;
use holdfast_logical::Error;
use http::{Request, header};

use crate::{
    certificate::Certificate,
    engine::Certs,
    ocsp::{Question, Status},
    role_api::Trust,
};

/// Most responders that are asked.
const MOST: usize = 8;

/// Largest answer in bytes.
const LARGEST: usize = 64 << 10;

/// For all responders together.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Certs {
    /// Do the responders let the certificate in? `chain`: the certificate and its issuers.
    ///
    /// `revoked` by any of those that are asked is final. Otherwise one `good` suffices, or all must say so
    /// (`ocsp_query_all_servers`). Where nothing reliable is said, `ocsp_fail_open` decides.
    pub async fn online(&self, trust: &Trust, chain: &[Certificate]) -> Result<bool, Error> {
        let Some(certificate) = chain.first() else { return Ok(false) };
        let (ocsp, trusted) = (&trust.role.ocsp, trust.role.ocsp.authorities()?);
        let issuers = chain.iter().skip(1).chain(&trust.certificates).chain(&trusted);
        let Some(issuer) = issuers.clone().find(|issuer| certificate.issued_by(issuer)) else {
            tracing::warn!(role = trust.name, "OCSP: the issuer of a certificate is not known");
            return Ok(ocsp.fail_open);
        };
        let now = self.services.clock.now().as_second();
        let question = Question { certificate, issuer, trusted: &trusted, now, max_age: ocsp.max_age };
        let servers = if ocsp.servers.is_empty() { &certificate.responders } else { &ocsp.servers };
        let verdict = tokio::time::timeout(TIMEOUT, self.ask(trust, servers, &question)).await;
        Ok(verdict.unwrap_or(None).unwrap_or(ocsp.fail_open))
    }

    /// Good or not; `None` if nothing reliable was said.
    async fn ask(&self, trust: &Trust, servers: &[String], question: &Question<'_>) -> Option<bool> {
        let (mut good, mut unsure) = (0, servers.is_empty());
        for server in servers.iter().take(MOST) {
            match self.status(server, trust.role.ocsp.retries, question).await {
                Status::Revoked => return Some(false),
                Status::Good if !trust.role.ocsp.query_all => return Some(true),
                Status::Good => good += 1,
                Status::Unsure(reason) => {
                    tracing::warn!(role = trust.name, server, reason, "OCSP: an answer is of no use");
                    unsure = true;
                }
            }
        }
        (good > 0 && !unsure).then_some(true)
    }

    async fn status(&self, server: &str, retries: u64, question: &Question<'_>) -> Status {
        let Some(der) = question.der() else { return Status::Unsure("there is no question to be asked") };
        for _ in 0..=retries.min(4) {
            let request = Request::post(server)
                .header(header::CONTENT_TYPE, "application/ocsp-request")
                .header(header::ACCEPT, "application/ocsp-response")
                .body(Bytes::from(der.clone()));
            let Ok(request) = request else { return Status::Unsure("its address is no URL") };
            match self.fetcher.send("", request, LARGEST).await {
                Ok(answer) if answer.status == 200 => return question.read(&answer.body),
                Ok(_) => return Status::Unsure("it answered with another status than 200"),
                Err(error) => tracing::debug!(server, %error, "OCSP: no answer"),
            }
        }
        Status::Unsure("it did not answer")
    }
}
