//! The provider: found by its discovery document when it is first needed, and asked through the crate
//! `openidconnect`, which checks what it says.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carom_shared::UnixMillis;
use chrono::DateTime;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClient,
    CoreClientAuthMethod, CoreGenderClaim, CoreGrantType, CoreIdTokenClaims, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreJwsSigningAlgorithm,
    CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType, CoreTokenResponse,
};
use openidconnect::{
    AccessToken, AdditionalProviderMetadata, AuthType, AuthorizationCode, ClaimsVerificationError,
    ClientId, ClientSecret, CsrfToken, EmptyAdditionalClaims, EndUserName, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, HttpRequest, IssuerUrl, LocalizedClaim, Nonce,
    OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, ProviderMetadata, RedirectUrl, Scope,
    SignatureVerificationError, StandardErrorResponse, TokenResponse, UserInfoClaims,
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::client::Client as Http;
use super::{Claims, ProviderError, Question};
use crate::account::Email;
use crate::config::OidcConfig;

/// How long a discovery document is believed.
const KNOWN_FOR: Duration = Duration::from_hours(1);
/// How soon after reading it the keys are asked for again, when a token is signed by one that is not
/// known: the provider has changed them, or somebody invents tokens.
const KEYS_AGAIN: Duration = Duration::from_secs(10);
/// All that a person waits for, below the time that a request may take.
const ASK_MAX: Duration = Duration::from_secs(8);
/// How wrong the provider's clock may be.
const SKEW: Duration = Duration::from_secs(60);
/// How old an ID token may be that was just asked for.
const AGE_MAX: Duration = Duration::from_mins(10);
/// OpenID Connect Core, 2: a subject has at most 255 ASCII characters.
const SUBJECT_MAX: usize = 255;
/// Characters of a name that are taken.
const NAME_MAX: usize = 100;
/// What signatures may be made with: the provider's private key, never a secret that both have, and
/// never nothing. (RS1 and the like do not exist here.)
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// RFC 9207, 3.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Additional {
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for Additional {}

type Metadata = ProviderMetadata<
    Additional,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// A provider that people sign in with.
#[derive(Debug)]
pub(crate) struct Provider {
    issuer: IssuerUrl,
    client_id: ClientId,
    client_secret: Option<ClientSecret>,
    redirect: RedirectUrl,
    label: String,
    scopes: Vec<Scope>,
    is_email_trusted: bool,
    http: Http,
    known: Mutex<Option<Known>>,
    /// Held while it is asked for its document: one at a time.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Known {
    metadata: Arc<Metadata>,
    since: UnixMillis,
}

fn away(error: impl std::fmt::Display) -> ProviderError {
    ProviderError::Away(error.to_string())
}

fn refused(error: impl std::fmt::Display) -> ProviderError {
    ProviderError::Refused(error.to_string())
}

impl Provider {
    /// Of settings that were checked; `base` is what addresses of this control plane begin with.
    /// Nothing is asked yet. `None` if there is none.
    pub(crate) fn new(config: &OidcConfig, base: &str) -> Option<Self> {
        if !config.is_set() {
            return None;
        }
        let secret = (!config.client_secret.is_empty())
            .then(|| ClientSecret::new(config.client_secret.clone()));
        let words = config.scopes.split(' ').filter(|scope| !scope.is_empty());
        Some(Self {
            issuer: IssuerUrl::new(config.issuer.clone()).ok()?,
            client_id: ClientId::new(config.client_id.clone()),
            client_secret: secret,
            redirect: RedirectUrl::new(format!("{base}/sign-in/callback")).ok()?,
            label: config.label.clone(),
            scopes: words.map(|scope| Scope::new(scope.to_owned())).collect(),
            is_email_trusted: config.trust_email,
            http: Http::new(config.issuer.starts_with("http://")),
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    pub(crate) fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    pub(crate) const fn is_email_trusted(&self) -> bool {
        self.is_email_trusted
    }

    /// Where a browser goes with a question.
    pub(crate) async fn address(
        &self,
        question: &Question,
        now: UnixMillis,
    ) -> Result<String, ProviderError> {
        let metadata = self.within(self.metadata(KNOWN_FOR, now)).await?;
        let client = self.client(&metadata);
        let Question { state, nonce, verifier, is_anew } = question.clone();
        let verifier = PkceCodeVerifier::new(verifier);
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let mut request = client
            .authorize_url(flow, || CsrfToken::new(state), || Nonce::new(nonce))
            .add_scopes(self.scopes.iter().cloned())
            .set_pkce_challenge(challenge);
        if is_anew {
            request = request.set_max_age(Duration::ZERO);
        }
        Ok(request.url().0.to_string())
    }

    /// Whether the answer says that it comes from this provider (RFC 9207, 2.4). One that promises to
    /// say so and does not is refused as well.
    pub(crate) async fn check_issuer(
        &self,
        said: Option<&str>,
        now: UnixMillis,
    ) -> Result<(), ProviderError> {
        match said {
            Some(said) if said == self.issuer() => Ok(()),
            Some(_) => Err(refused("it names another issuer")),
            None => {
                let metadata = self.within(self.metadata(KNOWN_FOR, now)).await?;
                match metadata.additional_metadata().authorization_response_iss_parameter_supported
                {
                    true => {
                        Err(refused("it does not name its issuer, and says that it always does"))
                    }
                    false => Ok(()),
                }
            }
        }
    }

    /// Redeems a code, and says whose it is.
    pub(crate) async fn redeem(
        &self,
        code: String,
        question: &Question,
        now: UnixMillis,
    ) -> Result<Claims, ProviderError> {
        self.within(async {
            let metadata = self.metadata(KNOWN_FOR, now).await?;
            let client = self.client(&metadata);
            let http = self.http();
            let request = client.exchange_code(AuthorizationCode::new(code)).map_err(refused)?;
            let request =
                request.set_pkce_verifier(PkceCodeVerifier::new(question.verifier.clone()));
            let answer = request.request_async(&http).await;
            let token = answer.map_err(|error| token_error(&error))?;
            let claims = self.checked(&token, &metadata, question, now).await?;
            let mut read = read(&claims)?;
            // Most say it in the token; those that keep to the letter (Core, 5.4) here.
            let has_endpoint = metadata.userinfo_endpoint().is_some();
            if read.email.is_none() && has_endpoint {
                let more = self.user_info(&client, token.access_token(), &claims).await?;
                read.email = more.email().and_then(|it| Email::parse(it.as_str(), "#").ok());
                read.is_email_verified = more.email_verified().unwrap_or_default();
                if read.name.is_empty() {
                    read.name = name_of(more.name());
                }
            }
            Ok(read)
        })
        .await
    }

    async fn user_info(
        &self,
        client: &Client,
        token: &AccessToken,
        claims: &CoreIdTokenClaims,
    ) -> Result<UserInfoClaims<EmptyAdditionalClaims, CoreGenderClaim>, ProviderError> {
        // Whose it is, is compared: it is the same subject.
        let subject = Some(claims.subject().clone());
        let request = client.user_info(token.clone(), subject).map_err(refused)?;
        request.request_async(&self.http()).await.map_err(away)
    }

    /// The claims of the ID token. With a key that is not known, the keys are asked for once more.
    async fn checked(
        &self,
        token: &CoreTokenResponse,
        metadata: &Known,
        question: &Question,
        now: UnixMillis,
    ) -> Result<CoreIdTokenClaims, ProviderError> {
        match self.verify(token, metadata, question, now) {
            Err(ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            )) => {
                let metadata = self.metadata(KEYS_AGAIN, now).await?;
                self.verify(token, &metadata, question, now).map_err(refused)
            }
            verified => verified.map_err(refused),
        }
    }

    fn verify(
        &self,
        token: &CoreTokenResponse,
        metadata: &Metadata,
        question: &Question,
        now: UnixMillis,
    ) -> Result<CoreIdTokenClaims, ClaimsVerificationError> {
        let at = |ms: i64| DateTime::from_timestamp_millis(ms).unwrap_or_default();
        let skew = i64::try_from(SKEW.as_millis()).unwrap_or_default();
        let age = i64::try_from(AGE_MAX.as_millis()).unwrap_or_default();
        let client = self.client(metadata);
        let verifier = client
            .id_token_verifier()
            .set_allowed_algs(ALGORITHMS)
            .set_time_fn(move || at(now.get().saturating_sub(skew)))
            .set_issue_time_verifier_fn(move |issued| {
                let off = issued.timestamp_millis().saturating_sub(now.get());
                match (-(age + skew)..=skew).contains(&off) {
                    true => Ok(()),
                    false => Err(format!("it was issued at {issued}")),
                }
            });
        let token = token.id_token();
        let token = token.ok_or_else(|| ClaimsVerificationError::Other("no ID token".into()))?;
        token.claims(&verifier, &Nonce::new(question.nonce.clone())).cloned()
    }

    fn client(&self, metadata: &Metadata) -> Client {
        let (id, secret) = (self.client_id.clone(), self.client_secret.clone());
        let client = CoreClient::from_provider_metadata(metadata.clone(), id, secret);
        // Without a word, the secret goes into a header (Core, 9).
        let methods = metadata.token_endpoint_auth_methods_supported();
        let is_basic = methods.is_none_or(|all| {
            all.contains(&CoreClientAuthMethod::ClientSecretBasic)
                || !all.contains(&CoreClientAuthMethod::ClientSecretPost)
        });
        let auth = if is_basic { AuthType::BasicAuth } else { AuthType::RequestBody };
        client.set_redirect_uri(self.redirect.clone()).set_auth_type(auth)
    }

    /// What the provider says of itself: asked for if nobody has, or not lately.
    async fn metadata(&self, at_most: Duration, now: UnixMillis) -> Result<Known, ProviderError> {
        if let Some(known) = self.known(at_most, now) {
            return Ok(known);
        }
        let _asking = self.asking.lock().await;
        // Whoever asked before may have found it.
        if let Some(known) = self.known(at_most, now) {
            return Ok(known);
        }
        let http = self.http();
        let metadata = Metadata::discover_async(self.issuer.clone(), &http).await;
        let metadata = Arc::new(metadata.map_err(away)?);
        let known = Known { metadata, since: now };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known.clone());
        Ok(known)
    }

    fn known(&self, at_most: Duration, now: UnixMillis) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone().filter(|known| now < known.since.saturating_add(at_most))
    }

    fn http(&self) -> impl Fn(HttpRequest) -> HttpAnswer + use<> {
        let http = self.http.clone();
        move |request| Box::pin(http.clone().call(request))
    }

    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let late = |_| away("it does not answer in time");
        timeout(ASK_MAX, work).await.map_err(late)?
    }
}

type HttpAnswer = std::pin::Pin<
    Box<dyn Future<Output = Result<openidconnect::HttpResponse, super::client::HttpError>> + Send>,
>;

impl std::ops::Deref for Known {
    type Target = Metadata;

    fn deref(&self) -> &Metadata {
        &self.metadata
    }
}

type TokenError = openidconnect::RequestTokenError<
    super::client::HttpError,
    StandardErrorResponse<openidconnect::core::CoreErrorResponseType>,
>;

/// Without what the answer held beside the error: it may be a token.
fn token_error(error: &TokenError) -> ProviderError {
    match error {
        TokenError::ServerResponse(answer) => refused(answer.error()),
        TokenError::Request(error) => away(error),
        TokenError::Parse(..) => refused("it cannot be read"),
        TokenError::Other(text) => refused(text),
    }
}

/// What the claims say, in types of this crate.
fn read(claims: &CoreIdTokenClaims) -> Result<Claims, ProviderError> {
    let subject = claims.subject().as_str();
    if subject.is_empty() || subject.len() > SUBJECT_MAX || !subject.is_ascii() {
        return Err(refused("its subject is not 1 to 255 ASCII characters"));
    }
    Ok(Claims {
        subject: subject.to_owned(),
        email: claims.email().and_then(|email| Email::parse(email.as_str(), "#").ok()),
        is_email_verified: claims.email_verified().unwrap_or_default(),
        name: name_of(claims.name()),
        auth_at: claims.auth_time().map(|at| UnixMillis::new(at.timestamp_millis())),
    })
}

/// What somebody is called, as one short line; may be empty.
fn name_of(names: Option<&LocalizedClaim<EndUserName>>) -> String {
    let name = names.and_then(|names| names.get(None)).map(|name| name.as_str());
    let name = name.unwrap_or_default().chars().filter(|c| !c.is_control()).take(NAME_MAX);
    name.collect::<String>().trim().to_owned()
}
