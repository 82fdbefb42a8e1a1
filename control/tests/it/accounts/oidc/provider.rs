//! A provider of OpenID Connect: discovery, keys, tokens signed by ES256, and the user's claims. It
//! checks what a client owes it: its secret, the redirect address, PKCE, a code used once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use carom_shared::UnixMillis;
use http::{HeaderMap, StatusCode};
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use url::Url;

pub(super) const CLIENT: &str = "carom";
pub(super) const SECRET: &str = "a secret of the test, 32 characters";
const REDIRECT: &str = "https://admin.example/sign-in/callback";

/// How a token is false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twist {
    None,
    Nonce,
    NoNonce,
    Audience,
    MoreAudiences,
    Issuer,
    /// Signed by nobody, and saying so.
    AlgNone,
    /// Signed with the client's secret.
    AlgHs256,
    /// Signed with the public key, as if it were a secret.
    AlgHs256OfKey,
    OtherKey,
    ChangedAfterwards,
    Expired,
    NotYet,
    LongAgo,
    NoSubject,
    NoToken,
    Critical,
}

impl Twist {
    pub(super) const ALL: [Self; 17] = [
        Self::None,
        Self::Nonce,
        Self::NoNonce,
        Self::Audience,
        Self::MoreAudiences,
        Self::Issuer,
        Self::AlgNone,
        Self::AlgHs256,
        Self::AlgHs256OfKey,
        Self::OtherKey,
        Self::ChangedAfterwards,
        Self::Expired,
        Self::NotYet,
        Self::LongAgo,
        Self::NoSubject,
        Self::NoToken,
        Self::Critical,
    ];
}

pub(super) struct Provider {
    pub(super) issuer: String,
    state: Shared,
}

type Shared = Arc<Mutex<Inner>>;

struct Inner {
    issuer: String,
    key: EcdsaKeyPair,
    kid: u32,
    now: UnixMillis,
    twist: Twist,
    claims: Value,
    user_info: Value,
    /// What each code was given for: nonce and PKCE challenge.
    codes: HashMap<String, (String, String)>,
    made: u32,
}

fn key() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let of = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(of, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(of, document.as_ref(), &random).unwrap()
}

impl Provider {
    pub(super) async fn start(now: UnixMillis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(Inner {
            issuer: issuer.clone(),
            key: key(),
            kid: 1,
            now,
            twist: Twist::None,
            claims: json!({}),
            user_info: Value::Null,
            codes: HashMap::new(),
            made: 0,
        }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/me", get(me))
            .with_state(Arc::clone(&state));
        TaskTracker::new().spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { issuer, state }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn says(&self, claims: Value) {
        self.with(|inner| (inner.claims, inner.user_info) = (claims, Value::Null));
    }

    pub(super) fn user_info(&self, claims: Value) {
        self.with(|inner| inner.user_info = claims);
    }

    pub(super) fn at(&self, now: UnixMillis) {
        self.with(|inner| inner.now = now);
    }

    pub(super) fn twist(&self, twist: Twist) {
        self.with(|inner| inner.twist = twist);
    }

    pub(super) fn change_key(&self) {
        self.with(|inner| (inner.key, inner.kid) = (key(), inner.kid + 1));
    }

    /// What a person does who says yes; where their browser goes back to.
    pub(super) fn authorize(&self, url: &Url) -> String {
        assert!(url.as_str().starts_with(&format!("{}/authorize?", self.issuer)), "{url}");
        let asked: HashMap<_, _> = url.query_pairs().into_owned().collect();
        for (name, value) in [
            ("response_type", "code"),
            ("client_id", CLIENT),
            ("redirect_uri", REDIRECT),
            ("code_challenge_method", "S256"),
            ("scope", "openid email profile"),
        ] {
            assert_eq!(asked[name], value, "{name}");
        }
        let code = self.with(|inner| {
            inner.made += 1;
            let code = format!("code-{}", inner.made);
            let of = (asked["nonce"].clone(), asked["code_challenge"].clone());
            inner.codes.insert(code.clone(), of);
            code
        });
        let issuer: String = url::form_urlencoded::byte_serialize(self.issuer.as_bytes()).collect();
        // A parameter of its own, as Keycloak has one.
        format!(
            "/sign-in/callback?code={code}&state={}&iss={issuer}&session_state=x",
            asked["state"]
        )
    }
}

fn json_answer(value: &Value) -> Response {
    ([("content-type", "application/json")], value.to_string()).into_response()
}

async fn discovery(State(state): State<Shared>) -> Response {
    let issuer = state.lock().unwrap().issuer.clone();
    json_answer(&json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/me"),
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        // What it says of itself does not decide what is taken.
        "id_token_signing_alg_values_supported": ["ES256", "HS256", "none"],
        "authorization_response_iss_parameter_supported": true,
    }))
}

async fn keys(State(state): State<Shared>) -> Response {
    let inner = state.lock().unwrap();
    let public = inner.key.public_key().as_ref();
    json_answer(&json!({"keys": [{
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": inner.kid.to_string(),
        "x": base64url(&public[1..33]), "y": base64url(&public[33..65]),
    }]}))
}

async fn me(State(state): State<Shared>, headers: HeaderMap) -> Response {
    assert_eq!(headers["authorization"], "Bearer access");
    let inner = state.lock().unwrap();
    if inner.user_info.is_null() {
        json_answer(&inner.claims)
    } else {
        json_answer(&inner.user_info)
    }
}

async fn token(State(state): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let form: HashMap<_, _> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let encoded =
        |text: &str| -> String { url::form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let basic = format!("{CLIENT}:{}", encoded(SECRET));
    assert_eq!(headers["authorization"], format!("Basic {}", base64(basic.as_bytes())).as_str());
    assert_eq!(
        (form["grant_type"].as_str(), form["redirect_uri"].as_str()),
        ("authorization_code", REDIRECT)
    );
    let mut inner = state.lock().unwrap();
    let given = inner.codes.remove(&form["code"]);
    let challenge = base64url(digest(&SHA256, form["code_verifier"].as_bytes()).as_ref());
    let Some((nonce, _)) = given.filter(|(_, expected)| *expected == challenge) else {
        let body = json!({"error": "invalid_grant"}).to_string();
        return (StatusCode::BAD_REQUEST, [("content-type", "application/json")], body)
            .into_response();
    };
    let mut answer = json!({"access_token": "access", "token_type": "Bearer", "expires_in": 60});
    if inner.twist != Twist::NoToken {
        answer["id_token"] = inner.id_token(&nonce).into();
    }
    json_answer(&answer)
}

impl Inner {
    fn id_token(&self, nonce: &str) -> String {
        let now = self.now.as_secs();
        let mut header = json!({"alg": "ES256", "typ": "JWT", "kid": self.kid.to_string()});
        let mut claims = json!({
            "iss": self.issuer, "aud": CLIENT, "nonce": nonce, "iat": now, "exp": now + 300,
        });
        for (name, value) in self.claims.as_object().unwrap() {
            claims[name] = value.clone();
        }
        match self.twist {
            Twist::Nonce => claims["nonce"] = "another".into(),
            Twist::NoNonce => drop(claims.as_object_mut().unwrap().remove("nonce")),
            Twist::Audience => claims["aud"] = "another".into(),
            Twist::MoreAudiences => claims["aud"] = json!([CLIENT, "another"]),
            Twist::Issuer => claims["iss"] = "https://evil.example".into(),
            Twist::AlgNone => header["alg"] = "none".into(),
            Twist::AlgHs256 | Twist::AlgHs256OfKey => header["alg"] = "HS256".into(),
            // More than the minute that clocks may differ.
            Twist::Expired => claims["exp"] = (now - 61).into(),
            Twist::NotYet => claims["iat"] = (now + 120).into(),
            Twist::LongAgo => claims["iat"] = (now - 900).into(),
            Twist::NoSubject => drop(claims.as_object_mut().unwrap().remove("sub")),
            Twist::Critical => {
                header["crit"] = json!(["exp2"]);
                header["exp2"] = 1.into();
            }
            Twist::None | Twist::OtherKey | Twist::ChangedAfterwards | Twist::NoToken => {}
        }
        let part = |value: &Value| base64url(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let hmac = |secret: &[u8]| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes())
                .as_ref()
                .to_vec()
        };
        let ecdsa = |key: &EcdsaKeyPair| {
            key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec()
        };
        let signature = match self.twist {
            Twist::AlgNone => Vec::new(),
            Twist::AlgHs256 => hmac(SECRET.as_bytes()),
            Twist::AlgHs256OfKey => hmac(self.key.public_key().as_ref()),
            Twist::OtherKey => ecdsa(&key()),
            _ => ecdsa(&self.key),
        };
        let signed = match self.twist {
            Twist::ChangedAfterwards => {
                claims["sub"] = "somebody else".into();
                format!("{}.{}", part(&header), part(&claims))
            }
            _ => signed,
        };
        format!("{signed}.{}", base64url(&signature))
    }
}

fn base64_with(bytes: &[u8], symbols: &[u8; 64]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_usize, |group, byte| group << 8 | usize::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        for at in 0..=chunk.len() {
            text.push(char::from(symbols[group >> (18 - 6 * at) & 63]));
        }
    }
    text
}

fn base64url(bytes: &[u8]) -> String {
    base64_with(bytes, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
}

fn base64(bytes: &[u8]) -> String {
    let symbols = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = base64_with(bytes, symbols);
    format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4))
}
