//! The second factor, and passkeys. A secret that is being set up is shown to whoever has just shown who they are,
//! in an answer that is not compressed: how well it compresses would tell of what is in it (BREACH).

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use carom_shared::PasskeyId;
use http::header;

use super::profile::account;
use super::{Frame, Part, open};
use crate::account::Second;
use crate::account::factor::{TotpView, pending};
use crate::account::passkey::store::passkey_list;
use crate::account::passkey::{NAME_MAX, PER_ACCOUNT_MAX, Passkey};
use crate::account::store::recovery_left;
use crate::app::App;
use crate::http::extract::{NoParams, Params};
use crate::page::message::filters;
use crate::page::respond::{Page, PageError};
use crate::page::shell::{Shell, Viewer};
use crate::page::text::time;
use crate::qr::{Design, svg};

/// Pixels of the code's side.
const QR_SIZE: u32 = 200;

/// How far somebody's second factor is.
enum Factor {
    None,
    /// It was begun, and whoever looks does not see the secret now.
    Begun,
    Pending(Secret),
    /// With so many recovery codes.
    Active(u64),
}

struct Secret {
    base32: String,
    uri: String,
    /// `None`: it cannot be drawn; it can be typed.
    qr: Option<String>,
}

impl From<TotpView> for Secret {
    fn from(view: TotpView) -> Self {
        let qr = svg(&view.uri, &Design { size: QR_SIZE, ..Design::default() }).ok();
        Self { base32: view.secret, uri: view.uri, qr }
    }
}

struct PasskeyRow {
    id: PasskeyId,
    name: String,
    is_backed_up: bool,
    created_at: String,
    used_at: Option<String>,
}

impl From<Passkey> for PasskeyRow {
    fn from(passkey: Passkey) -> Self {
        Self {
            id: passkey.id,
            name: passkey.name,
            is_backed_up: passkey.credential.is_backed_up,
            created_at: time(passkey.created_at),
            used_at: passkey.used_at.map(time),
        }
    }
}

#[derive(Template)]
#[template(path = "settings/factor.html")]
struct SecondFactor {
    shell: Shell,
    frame: Frame,
    factor: Factor,
    email: String,
    /// `None`: there are none in this build.
    passkeys: Option<Vec<PasskeyRow>>,
    max: usize,
    name_max: usize,
}

pub(super) async fn show(
    State(app): State<App>,
    viewer: Viewer,
    _: Params<NoParams>,
) -> Result<Response, PageError> {
    let (shell, frame) = open(&app, &viewer, Part::Factor)?;
    let account = account(&app, &viewer).await?;
    let is_fresh = viewer.signed_in.is_fresh(app.now());
    let factor = match &account.second {
        Second::None => Factor::None,
        Second::Active(_) => Factor::Active(recovery_left(app.read(), account.id).await?),
        Second::Pending(_) => match pending(&app, &account)?.filter(|_| is_fresh) {
            Some(view) => Factor::Pending(view.into()),
            None => Factor::Begun,
        },
    };
    let is_secret = matches!(factor, Factor::Pending(_));
    let passkeys = match app.accounts().passkeys {
        Some(_) => Some(passkey_list(app.read(), account.id).await?),
        None => None,
    };
    let page = SecondFactor {
        shell,
        frame,
        factor,
        email: account.email.to_string(),
        passkeys: passkeys.map(|all| all.into_iter().map(PasskeyRow::from).collect()),
        max: PER_ACCOUNT_MAX,
        name_max: NAME_MAX,
    };
    let mut headers = viewer.headers;
    if is_secret {
        headers.remove(header::ACCEPT_ENCODING);
    }
    Ok(Page::of(&page).respond(&headers))
}
