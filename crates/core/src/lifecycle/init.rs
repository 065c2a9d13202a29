//! Initialising a new store.

use holdfast_api_types::{InitRequest, InitResponse};
use holdfast_barrier::{InitError, UNTOLD};
use holdfast_base::id;
use holdfast_failpoint::failpoint;
use holdfast_logical::StoreError;
use holdfast_seal::ShareConfig;
use holdfast_secret::SecretBytes;

use super::{
    ROOT_KEY, SEAL_CONFIG, SELF_INIT, SealConfig,
    keyholders::{self, Recipients, hand_out},
};
use crate::{Core, Error, open::Open};

/// What is made in memory before anything is stored.
struct Plan {
    root_key: SecretBytes,
    /// What the shares of people combine to: the root key or the recovery key.
    held: Option<SecretBytes>,
    shares: Vec<SecretBytes>,
    clear: Vec<(String, Vec<u8>)>,
    /// Marks the store until somebody is told; empty where nobody is.
    mark: Vec<u8>,
}

impl Core {
    /// `PUT sys/init`: makes keyring, shares and the first root token. A server whose seal stores the key is open
    /// afterwards, one with unseal shares is sealed.
    pub async fn initialize(&self, request: InitRequest) -> Result<InitResponse, Error> {
        let ceremony = self.ceremony.lock().await;
        if self.config().barrier.initialized().await? {
            return Err(Error::invalid("Vault is already initialized"));
        }
        let stored = self.config().seal.stored_keys();
        // Whoever is faster than the server's own start would get a root token.
        if stored && !self.config().initialize.is_empty() {
            return Err(Error::invalid(
                "this server initializes itself, with the initialize steps of its configuration",
            ));
        }
        let wanted = shares_wanted(&request, stored, self.config().seal.kind())?;
        let entropy = self.config().entropy.as_ref();
        // Read before anything is made: a key that cannot be used ends it here.
        let pgp_keys = if stored { &request.recovery_pgp_keys } else { &request.pgp_keys };
        let recipients = Recipients::read(pgp_keys, wanted.map_or(0, |config| config.shares()), entropy)?;
        let token_key = request.root_token_pgp_key.as_deref().filter(|key| !key.is_empty());
        if let Some(key) = token_key {
            keyholders::encrypt_to(key, "", entropy)?;
        }
        let plan = self.plan(wanted, false).await?;
        failpoint!("init.planned").await;
        self.store(&plan).await?;
        let root_token = match stored {
            true => {
                let open = self.activate().await?;
                if let (Some(key), Some(config)) = (&plan.held, wanted) {
                    keyholders::keep_recovery(&open, key, config).await?;
                }
                open.root_token(None).await?
            }
            // Sealed again at once: only what is written counts, no background work starts.
            false => {
                let open = Open::load(std::sync::Weak::new(), self.shared_config()).await?;
                let token = open.root_token(None).await;
                self.config().barrier.seal().await;
                token?
            }
        };
        failpoint!("init.root-token-made").await;
        let keyholders::Handout { keys, keys_base64, .. } = hand_out(&recipients, &plan.shares)?;
        let root_token = match token_key {
            Some(key) => keyholders::encrypt_to(key, root_token.id.expose(), entropy)?.0,
            None => root_token.id.expose().to_owned(),
        };
        if let Err(error) = self.config().barrier.told(&plan.mark).await {
            self.deactivate();
            self.config().barrier.seal().await;
            return Err(match error {
                StoreError::Conflict => Error::invalid("another initialization was made at the same time"),
                error => error.into(),
            });
        }
        drop(ceremony);
        tracing::info!(seal = self.config().seal.kind(), shares = plan.shares.len(), "initialized");
        Ok(match stored {
            true => InitResponse {
                recovery_keys: keys,
                recovery_keys_base64: keys_base64,
                root_token,
                ..InitResponse::default()
            },
            false => InitResponse { keys, keys_base64, root_token, ..InitResponse::default() },
        })
    }

    /// Initialises without shares and without a root token; the marker for the `initialize` steps is stored in the same
    /// transaction. Nothing happens if another replica was faster.
    pub(super) async fn initialize_quietly(&self) -> Result<(), Error> {
        let _ceremony = self.ceremony.lock().await;
        let plan = self.plan(None, true).await?;
        match self.config().barrier.initialize_with(&plan.root_key, plan.clear).await {
            Ok(()) => {
                tracing::info!(steps = self.config().initialize.len(), "initialized itself");
                Ok(())
            }
            Err(InitError::AlreadyInitialized) => Ok(()),
            Err(error) => Err(init_error(error)),
        }
    }

    async fn plan(&self, config: Option<ShareConfig>, steps: bool) -> Result<Plan, Error> {
        let (seal, entropy) = (&self.config().seal, self.config().entropy.as_ref());
        let root_key = self.fresh_key();
        let (shares, threshold) = config.map_or((0, 0), |config| (config.shares(), config.threshold()));
        let mut clear = Vec::new();
        let (held, stored) = match seal.stored_keys() {
            true => {
                let wrapped = seal.wrap(&root_key).await.map_err(|error| Error::internal(error.to_string()))?;
                clear.push((ROOT_KEY.to_owned(), wrapped));
                let stored = SealConfig {
                    kind: seal.kind().to_owned(),
                    shares: 1,
                    threshold: 1,
                    recovery_shares: shares,
                    recovery_threshold: threshold,
                    recovery_check: String::new(),
                };
                (config.map(|_| self.fresh_key()), stored)
            }
            false => {
                let stored = SealConfig {
                    kind: seal.kind().to_owned(),
                    shares,
                    threshold,
                    recovery_shares: 0,
                    recovery_threshold: 0,
                    recovery_check: String::new(),
                };
                (Some(root_key.duplicate()), stored)
            }
        };
        clear.push((SEAL_CONFIG.to_owned(), stored.encode()?));
        let mark = if steps { Vec::new() } else { id::hex(entropy, 16).into_bytes() };
        clear.push(match steps {
            true => (SELF_INIT.to_owned(), b"0".to_vec()),
            false => (UNTOLD.to_owned(), mark.clone()),
        });
        let shares = match (config, &held) {
            (Some(config), Some(held)) => {
                config.split(held, entropy).map_err(|error| Error::internal(error.to_string()))?
            }
            _ => Vec::new(),
        };
        Ok(Plan { root_key, held, shares, clear, mark })
    }

    async fn store(&self, plan: &Plan) -> Result<(), Error> {
        let barrier = &self.config().barrier;
        barrier.initialize_with(&plan.root_key, plan.clear.clone()).await.map_err(init_error)?;
        failpoint!("init.stored").await;
        barrier.unseal(plan.root_key.duplicate()).await.map_err(super::unseal::error)
    }
}

fn shares_wanted(request: &InitRequest, stored: bool, kind: &str) -> Result<Option<ShareConfig>, Error> {
    let given = |number: Option<u64>| number.filter(|number| *number > 0);
    let unseal = (given(request.secret_shares), given(request.secret_threshold));
    let recovery = (given(request.recovery_shares), given(request.recovery_threshold));
    let (wanted, other, names) = match stored {
        true => (recovery, unseal, "secret_shares,secret_threshold"),
        false => (unseal, recovery, "recovery_shares,recovery_threshold"),
    };
    // Clients send 1 of 1 for the family that does not apply.
    if other.0.is_some_and(|shares| shares > 1) || other.1.is_some_and(|threshold| threshold > 1) {
        return Err(Error::invalid(format!("parameters {names} not applicable to seal type {kind}")));
    }
    if stored && wanted == (None, None) {
        return Ok(None);
    }
    let small = |number: Option<u64>| {
        u8::try_from(number.unwrap_or(0)).map_err(|_| Error::invalid("shares must be at most 255"))
    };
    let config = ShareConfig::new(small(wanted.0)?, small(wanted.1)?);
    config.map(Some).map_err(|error| Error::invalid(format!("invalid seal configuration: {error}")))
}

fn init_error(error: InitError) -> Error {
    match error {
        InitError::AlreadyInitialized => Error::invalid("Vault is already initialized"),
        InitError::RootKeyLength => Error::internal(error.to_string()),
        InitError::Store(error) => error.into(),
    }
}
