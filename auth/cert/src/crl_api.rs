//! `crls/`, and fetching lists anew.

use std::{collections::BTreeMap, sync::Arc};

use holdfast_logical::{Check, Error, Fields, Response, Revision, StoreError, Txn};
use serde_json::{Map, Value, json};

use crate::{
    certificate::Certificate,
    crl::{Crl, Revoked, der_of},
    engine::Certs,
};

/// A list is fetched anew this long before it gets old, in seconds.
const EARLY: i64 = 600;

/// A list that does not say when it gets old is fetched anew after this time, in seconds.
const OFTEN: i64 = 3600;

impl Certs {
    async fn crl(&self, name: &str) -> Result<Option<(Crl, Revision)>, Error> {
        Ok(self.services.view.get_json(&format!("crl/{name}")).await?)
    }

    /// All lists, each read anew when it was changed. They come from the store, so that the first login after a start
    /// finds them as every other does.
    pub async fn revoked(&self) -> Result<Vec<Arc<Revoked>>, Error> {
        let mut all = Vec::new();
        for name in self.services.view.list("crl/", "", 0).await? {
            let Some((crl, revision)) = self.crl(&name).await? else { continue };
            let kept = self.crls.lock().get(&name).filter(|(of, _)| *of == revision).map(|(_, crl)| crl.clone());
            all.push(match kept {
                Some(kept) => kept,
                None => {
                    let damaged = || Error::Internal(format!("the revocation list {name:?} is damaged"));
                    let read = Arc::new(crl.revoked().ok_or_else(damaged)?);
                    self.crls.lock().insert(name, (revision, read.clone()));
                    read
                }
            });
        }
        Ok(all)
    }

    pub async fn read_crl(&self, name: &str) -> Result<Response, Error> {
        let (crl, _) = self.crl(name).await?.ok_or_else(Error::not_found)?;
        let revoked = crl.revoked();
        let serials: BTreeMap<String, Value> =
            revoked.iter().flat_map(Revoked::serials).map(|serial| (serial.clone(), json!({}))).collect();
        let mut data = Map::from_iter([("serials".to_owned(), json!(serials))]);
        if !crl.url.is_empty() {
            data.insert("cdp".to_owned(), json!({"url": crl.url}));
        }
        Ok(Response::data(data))
    }

    pub async fn delete_crl(&self, name: &str) -> Result<Response, Error> {
        self.services.view.delete(&format!("crl/{name}")).await?;
        self.crls.lock().remove(name);
        Ok(Response::empty())
    }

    pub async fn write_crl(&self, name: &str, fields: &Fields) -> Result<Response, Error> {
        let given = |field: &str| fields.string(field).map(str::trim).filter(|text| !text.is_empty());
        let crl = match (given("crl"), given("url")) {
            (Some(_), Some(_)) => return Err(Error::invalid("give one of crl and url")),
            (None, None) => return Err(Error::invalid("one of crl and url must be given")),
            (Some(text), None) => {
                let der = der_of(text.as_bytes()).filter(|der| Revoked::read(der).is_some());
                Crl::of("", &der.ok_or_else(|| Error::invalid("failed to parse CRL: it is none in PEM or base64"))?)
            }
            (None, Some(url)) => self.fetched(url).await.map_err(Error::Invalid)?,
        };
        self.services.view.put_json(&format!("crl/{name}"), &crl).await?;
        Ok(Response::empty())
    }

    /// Fetches a list. Nobody on the way may have changed it: it must be signed by a CA of a role, or, if no role has
    /// one of that name, at least have come over TLS.
    async fn fetched(&self, url: &str) -> Result<Crl, String> {
        let answer = self.fetcher.get("", url, "application/pkix-crl, */*").await.map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("{url} answered with status {}", answer.status));
        }
        let der = der_of(&answer.body).ok_or_else(|| format!("{url} is no revocation list"))?;
        let revoked = Revoked::read(&der).ok_or_else(|| format!("{url} is no revocation list"))?;
        let trusts = self.trusts("").await.map_err(|error| error.to_string())?;
        let mut authorities =
            trusts.iter().flat_map(|trust| &trust.certificates).filter(|authority| revoked.names(authority)).peekable();
        if authorities.peek().is_none() {
            return match url.starts_with("https://") {
                true => Ok(Crl::of(url, &der)),
                false => Err(format!("{url}: write the role with the CA that signs the list first, or use https")),
            };
        }
        match authorities.any(|authority: &Certificate| revoked.signed_by(authority)) {
            true => Ok(Crl::of(url, &der)),
            false => Err(format!("{url}: the list is not signed by its issuer")),
        }
    }

    /// Fetches lists anew that have a URL and get old. A list that is older than the one that is kept is not taken.
    pub async fn refresh(&self) -> Result<(), Error> {
        let now = self.services.clock.now().as_second();
        for name in self.services.view.list("crl/", "", 0).await? {
            let Some((crl, revision)) = self.crl(&name).await? else { continue };
            let Some(kept) = crl.revoked().filter(|_| !crl.url.is_empty()) else { continue };
            let due = kept.next_update.map_or(kept.this_update + OFTEN, |next| next - EARLY);
            if now < due || !self.may_ask(&name) {
                continue;
            }
            match self.fetched(&crl.url).await {
                Ok(new) if new.revoked().is_some_and(|new| new.this_update > kept.this_update) => {
                    let mut txn = Txn::new();
                    let path = self.services.view.path(&format!("crl/{name}"));
                    txn.check(path.clone(), Check::At(revision)).put_json(path, &new)?;
                    match self.services.view.commit(txn).await {
                        Ok(_) | Err(StoreError::Conflict) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(_) => {}
                Err(reason) => tracing::warn!(name, reason, "a revocation list could not be fetched anew"),
            }
        }
        Ok(())
    }
}
