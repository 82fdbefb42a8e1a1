//! The second factor over HTTP: a code of an app, or one of ten recovery codes.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::SessionId;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::act::entry;
use super::command::SecretText;
use super::store::{
    account_fetch, account_now, account_totp_begin, account_totp_confirm, account_totp_remove,
    account_totp_step, recovery_replace, recovery_use,
};
use super::totp::{TotpSecret, recovery_codes};
use super::{Account, Entered, Password, Second};
use crate::app::App;
use crate::audit::Actor;
use crate::db::StoreError;
use crate::http::extract::Json;
use crate::http::problem::ApiError;
use crate::mail::text;
use crate::openapi::responses::{Any, Fresh, MayConflict, WithBody};
use crate::secret::seal::SealKey;
use crate::secret::token::{Token, TokenHash};
use crate::session::act::renew;
use crate::session::api::{Client, SignedIn, verify_own};
use crate::session::store::{session_confirm, session_is_active_now};
use crate::write::{Act, Writing};

/// Whether a code is right now, and uses it up.
pub(crate) async fn check(
    writing: &mut Writing<'_>,
    account: &Account,
    code: Entered,
    seal: &SealKey,
) -> Result<bool, StoreError> {
    let Second::Active(sealed) = &account.second else { return Ok(false) };
    match code {
        Entered::Recovery(hash) => recovery_use(writing.tx, account.id, &hash, writing.now).await,
        Entered::Totp(digits) => {
            let step = step_of(account, sealed, &digits, seal, writing);
            let Some(step) = step else { return Ok(false) };
            account_totp_step(writing.tx, account.id, step).await
        }
    }
}

fn step_of(
    account: &Account,
    sealed: &[u8],
    digits: &[u8; 6],
    seal: &SealKey,
    writing: &Writing<'_>,
) -> Option<i64> {
    let Some(secret) = seal.open(account.id.get(), sealed) else {
        // An error of the store would take the others of this commit along.
        tracing::error!(
            account.id = %account.id,
            "a second factor cannot be opened: accounts.secret_key is another than it was made with"
        );
        return None;
    };
    let digits = std::str::from_utf8(digits).ok()?;
    TotpSecret::from_bytes(secret).check(digits, writing.now)
}

/// A second factor that is to be set up.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct TotpView {
    /// To be typed into an app, in base32.
    pub(crate) secret: String,
    /// To be shown as a QR code, for an app to scan.
    pub(crate) uri: String,
}

impl TotpView {
    fn of(app: &App, secret: &TotpSecret, account: &Account) -> Result<Self, ApiError> {
        let issuer = format!("Carom ({})", app.control_url().host().as_str());
        let uri = secret.uri(&issuer, account.email.as_str())?;
        Ok(Self { secret: secret.base32(), uri })
    }
}

/// The second factor that an account is setting up; `None` if it does not, or if what it was sealed
/// with is another key by now. For whoever has just shown who they are.
pub(crate) fn pending(app: &App, account: &Account) -> Result<Option<TotpView>, ApiError> {
    let Second::Pending(sealed) = &account.second else { return Ok(None) };
    let secret = app.accounts().seal.open(account.id.get(), sealed).map(TotpSecret::from_bytes);
    secret.map(|secret| TotpView::of(app, &secret, account)).transpose()
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CodeBody {
    /// Six digits of the app.
    #[schema(value_type = String, max_length = 64)]
    code: SecretText,
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordBody {
    #[schema(value_type = String, max_length = 1024)]
    password: SecretText,
}

/// What signs in when the app is lost. Shown once.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct RecoveryCodes {
    /// Ten; each works once.
    recovery_codes: Vec<String>,
}

/// Begins to set up a second factor
///
/// It counts once a code confirmed it. Asked again before that, the answer is another secret.
#[utoipa::path(
    post,
    path = "/api/v1/account/totp",
    tag = "account",
    security(("session" = [])),
    responses((status = 200, body = TotpView), Any, Fresh, MayConflict),
    operation_id = "begin_totp",
)]
pub(crate) async fn begin(
    State(app): State<App>,
    signed_in: SignedIn,
) -> Result<Response, ApiError> {
    signed_in.require_fresh(app.now())?;
    let account = fetch(&app, &signed_in).await?;
    let secret = TotpSecret::generate(app.random());
    let sealed = app.accounts().seal.seal(account.id.get(), secret.as_bytes(), app.random());
    if !app.act(Begin { account: account.id, sealed }).await? {
        return Err(ApiError::Conflict("there is a second factor; remove it first".into()));
    }
    Ok(Json(TotpView::of(&app, &secret, &account)?).into_response())
}

/// Confirms the second factor with a code
///
/// From now on signing in asks for one. Other sessions end, and this one gets a new token.
#[utoipa::path(
    post,
    path = "/api/v1/account/totp/confirm",
    tag = "account",
    security(("session" = [])),
    request_body = CodeBody,
    responses((status = 200, body = RecoveryCodes), Any, WithBody, Fresh),
    operation_id = "confirm_totp",
)]
pub(crate) async fn confirm(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
    Json(body): Json<CodeBody>,
) -> Result<Response, ApiError> {
    signed_in.require_fresh(app.now())?;
    app.limits().totp(signed_in.account).await?;
    let Some(Entered::Totp(digits)) = Entered::parse(body.code.as_str()) else {
        return Err(ApiError::WrongLogin);
    };
    let account = fetch(&app, &signed_in).await?;
    let (codes, hashes): (Vec<_>, Vec<_>) = recovery_codes(app.random()).into_iter().unzip();
    let token = Token::generate(app.random());
    let confirm = ConfirmTotp {
        digits,
        hashes,
        seal: app.accounts().seal.clone(),
        change: Change::of(&account, &signed_in, &token, &client),
    };
    if !app.act(confirm).await? {
        return Err(ApiError::WrongLogin);
    }
    client.cookie.set(&signed_in.current, &token, app.now());
    app.accounts().notify(&account.email, text::SECOND_ON);
    Ok(Json(RecoveryCodes { recovery_codes: codes }).into_response())
}

/// Removes the second factor
///
/// The password has to be long enough to stand alone: 15 characters.
#[utoipa::path(
    post,
    path = "/api/v1/account/totp/remove",
    tag = "account",
    security(("session" = [])),
    request_body = PasswordBody,
    responses((status = 204, description = "The password alone signs in"), Any, WithBody, Fresh, MayConflict),
    operation_id = "remove_totp",
)]
pub(crate) async fn remove(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
    Json(body): Json<PasswordBody>,
) -> Result<Response, ApiError> {
    signed_in.require_fresh(app.now())?;
    let account = fetch(&app, &signed_in).await?;
    app.limits().confirm(signed_in.session).await?;
    verify_own(&app, &client, &account, body.password.as_str()).await?;
    if !Password::entered(body.password.as_str()).is_some_and(|it| it.suffices_alone()) {
        let detail = "the password is too short to stand alone: set one of 15 characters first";
        return Err(ApiError::Conflict(detail.into()));
    }
    let token = Token::generate(app.random());
    let removed = app.act(Remove(Change::of(&account, &signed_in, &token, &client))).await?;
    if !removed {
        return Err(ApiError::Conflict("there is no second factor".into()));
    }
    client.cookie.set(&signed_in.current, &token, app.now());
    app.accounts().notify(&account.email, text::SECOND_OFF);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Makes new recovery codes
///
/// Those of before do not work any more.
#[utoipa::path(
    post,
    path = "/api/v1/account/recovery-codes",
    tag = "account",
    security(("session" = [])),
    responses((status = 200, body = RecoveryCodes), Any, Fresh, MayConflict),
    operation_id = "renew_recovery_codes",
)]
pub(crate) async fn renew_codes(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
) -> Result<Response, ApiError> {
    signed_in.require_fresh(app.now())?;
    let account = fetch(&app, &signed_in).await?;
    let (codes, hashes): (Vec<_>, Vec<_>) = recovery_codes(app.random()).into_iter().unzip();
    let token = Token::generate(app.random());
    let change = Change::of(&account, &signed_in, &token, &client);
    if !app.act(RenewCodes { hashes, change }).await? {
        return Err(ApiError::Conflict("there is no second factor".into()));
    }
    client.cookie.set(&signed_in.current, &token, app.now());
    app.accounts().notify(&account.email, text::CODES_NEW);
    Ok(Json(RecoveryCodes { recovery_codes: codes }).into_response())
}

async fn fetch(app: &App, signed_in: &SignedIn) -> Result<Account, ApiError> {
    account_fetch(app.read(), signed_in.account).await?.ok_or(ApiError::NoCredentials)
}

/// What every change of how somebody signs in brings with it.
pub(super) struct Change {
    /// As it was when it was decided.
    pub(super) account: Account,
    pub(super) session: SessionId,
    pub(super) token: TokenHash,
    pub(super) actor: Actor,
}

impl Change {
    pub(super) fn of(account: &Account, by: &SignedIn, token: &Token, client: &Client) -> Self {
        Self {
            account: account.clone(),
            session: by.session,
            token: token.hash(),
            actor: client.acting(account.id),
        }
    }

    /// The account as it is now, if it is what it was, and the session has not been ended since the
    /// request began: its body may have taken its time.
    pub(super) async fn account_now(
        &self,
        writing: &mut Writing<'_>,
    ) -> Result<Option<Account>, StoreError> {
        if !session_is_active_now(writing.tx, self.session, writing.now).await? {
            return Ok(None);
        }
        let account = account_now(writing.tx, self.account.id).await?;
        Ok(account.filter(|it| !it.is_disabled && it.bound() == self.account.bound()))
    }

    /// Ends other sessions, gives this one a new token, and writes the entry.
    pub(super) async fn finish(
        &self,
        writing: &mut Writing<'_>,
        action: &'static str,
    ) -> Result<(), StoreError> {
        renew(writing, &self.account, self.session, &self.token).await?;
        writing.note(&self.actor, entry(action, self.account.id, json!({}))).await
    }
}

struct Begin {
    account: carom_shared::AccountId,
    sealed: Vec<u8>,
}

impl Act for Begin {
    /// False: there is one that counts.
    type Done = bool;

    async fn act(self, writing: &mut Writing<'_>) -> Result<bool, StoreError> {
        account_totp_begin(writing.tx, self.account, &self.sealed).await
    }
}

struct ConfirmTotp {
    digits: [u8; 6],
    hashes: Vec<[u8; 32]>,
    seal: SealKey,
    change: Change,
}

impl Act for ConfirmTotp {
    /// Whether the code was right, and there was something to confirm.
    type Done = bool;

    async fn act(self, writing: &mut Writing<'_>) -> Result<bool, StoreError> {
        let Self { digits, hashes, seal, change } = self;
        let Some(account) = change.account_now(writing).await? else { return Ok(false) };
        let Second::Pending(sealed) = &account.second else { return Ok(false) };
        let step = step_of(&account, sealed, &digits, &seal, writing);
        let Some(step) = step else { return Ok(false) };
        account_totp_confirm(writing.tx, account.id, writing.now, step).await?;
        recovery_replace(writing.tx, account.id, &hashes).await?;
        session_confirm(writing.tx, change.session, true, writing.now).await?;
        change.finish(writing, "account.second_factor_add").await?;
        Ok(true)
    }
}

struct Remove(Change);

impl Act for Remove {
    /// Whether there was one.
    type Done = bool;

    async fn act(self, writing: &mut Writing<'_>) -> Result<bool, StoreError> {
        let account = self.0.account_now(writing).await?;
        if !account.is_some_and(|account| account.has_second()) {
            return Ok(false);
        }
        account_totp_remove(writing.tx, self.0.account.id).await?;
        recovery_replace(writing.tx, self.0.account.id, &[]).await?;
        self.0.finish(writing, "account.second_factor_remove").await?;
        Ok(true)
    }
}

struct RenewCodes {
    hashes: Vec<[u8; 32]>,
    change: Change,
}

impl Act for RenewCodes {
    /// Whether there is a second factor.
    type Done = bool;

    async fn act(self, writing: &mut Writing<'_>) -> Result<bool, StoreError> {
        let Self { hashes, change } = self;
        let account = change.account_now(writing).await?;
        if !account.is_some_and(|account| account.has_second()) {
            return Ok(false);
        }
        recovery_replace(writing.tx, change.account.id, &hashes).await?;
        change.finish(writing, "account.recovery_codes_renew").await?;
        Ok(true)
    }
}
