//! An authenticator in software, with the client around it: it makes credentials and signs, rightly, or
//! with whatever it is told to write.

use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

/// Flags of what is signed (Web Authentication, 6.1).
pub(super) const PRESENT: u8 = 0x01;
pub(super) const VERIFIED: u8 = 0x04;
pub(super) const MAY_BE_COPIED: u8 = 0x08;
pub(super) const COPIED: u8 = 0x10;
const HAS_CREDENTIAL: u8 = 0x40;

const ES256: u8 = 0x26;

/// One credential.
pub(super) struct Authenticator {
    pair: EcdsaKeyPair,
    id: Vec<u8>,
    handle: String,
    /// As the next signature says.
    pub(super) counter: u32,
    pub(super) flags: u8,
}

/// What is written and signed.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) kind: &'static str,
    pub(super) challenge: String,
    pub(super) origin: String,
    pub(super) is_framed: bool,
    pub(super) rp_id: String,
    pub(super) flags: u8,
    pub(super) counter: u32,
    pub(super) handle: Option<String>,
    pub(super) algorithm: u8,
    /// As the client calls the credential.
    pub(super) id: String,
    /// Whether a bit of the signature is turned.
    pub(super) is_spoilt: bool,
}

impl Draft {
    fn client_data(&self) -> Vec<u8> {
        let data = json!({
            "type": self.kind, "challenge": self.challenge, "origin": self.origin,
            "crossOrigin": self.is_framed,
        });
        data.to_string().into_bytes()
    }

    fn authenticator_data(&self, credential: &[u8]) -> Vec<u8> {
        let mut data = digest(&SHA256, self.rp_id.as_bytes()).as_ref().to_vec();
        data.push(self.flags);
        data.extend(self.counter.to_be_bytes());
        data.extend(credential);
        data
    }
}

impl Authenticator {
    /// As one does that counts, is bound to its device, and has looked at whoever uses it.
    pub(super) fn new() -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random);
        let mut id = vec![0; 16];
        ring::rand::SecureRandom::fill(&random, &mut id).unwrap();
        let flags = PRESENT | VERIFIED;
        Self { pair: pair.unwrap(), id, handle: String::new(), counter: 0, flags }
    }

    fn draft(&mut self, kind: &'static str, options: &Value) -> Draft {
        self.counter += u32::from(self.counter > 0);
        let rp_id = options["rpId"].as_str().or(options["rp"]["id"].as_str()).unwrap();
        Draft {
            kind,
            challenge: options["challenge"].as_str().unwrap().to_owned(),
            origin: super::ORIGIN.into(),
            is_framed: false,
            rp_id: rp_id.to_owned(),
            flags: self.flags,
            counter: self.counter,
            handle: Some(self.handle.clone()),
            algorithm: ES256,
            id: base64url(&self.id),
            is_spoilt: false,
        }
    }

    /// A credential for whom the options name.
    pub(super) fn make(&mut self, options: &Value) -> Draft {
        options["user"]["id"].as_str().unwrap().clone_into(&mut self.handle);
        let draft = self.draft("webauthn.create", options);
        Draft { flags: draft.flags | HAS_CREDENTIAL, ..draft }
    }

    pub(super) fn show(&mut self, options: &Value) -> Draft {
        self.draft("webauthn.get", options)
    }

    /// As `PublicKeyCredential.toJSON` gives it.
    pub(super) fn made(&self, draft: &Draft) -> Value {
        let public = self.pair.public_key().as_ref();
        // Which authenticator it is: none says so where nobody asked.
        let mut credential = vec![0; 16];
        credential.extend(u16::try_from(self.id.len()).unwrap().to_be_bytes());
        credential.extend(&self.id);
        // {1: 2, 3: algorithm, -1: 1, -2: x, -3: y}, of CBOR (RFC 8949).
        credential.extend([0xa5, 0x01, 0x02, 0x03, draft.algorithm, 0x20, 0x01, 0x21, 0x58, 32]);
        credential.extend(&public[1..33]);
        credential.extend([0x22, 0x58, 32]);
        credential.extend(&public[33..65]);
        let data = draft.authenticator_data(&credential);
        let mut attestation = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".to_vec();
        attestation.push(u8::try_from(data.len()).unwrap());
        attestation.extend(&data);
        json!({
            "id": draft.id, "rawId": draft.id, "type": "public-key",
            "authenticatorAttachment": "platform", "clientExtensionResults": {"credProps": {"rk": true}},
            "response": {
                "clientDataJSON": base64url(&draft.client_data()),
                "attestationObject": base64url(&attestation),
                "transports": ["internal", "hybrid", "something-new"],
                "publicKeyAlgorithm": -7,
            },
        })
    }

    /// As `PublicKeyCredential.toJSON` gives it.
    pub(super) fn shown(&self, draft: &Draft) -> Value {
        let (client_data, data) = (draft.client_data(), draft.authenticator_data(&[]));
        let signed = [&data, digest(&SHA256, &client_data).as_ref()].concat();
        let mut signature =
            self.pair.sign(&SystemRandom::new(), &signed).unwrap().as_ref().to_vec();
        if draft.is_spoilt {
            *signature.last_mut().unwrap() ^= 1;
        }
        json!({
            "id": draft.id, "rawId": draft.id, "type": "public-key", "clientExtensionResults": {},
            "response": {
                "clientDataJSON": base64url(&client_data),
                "authenticatorData": base64url(&data),
                "signature": base64url(&signature),
                "userHandle": draft.handle,
            },
        })
    }
}

/// RFC 4648, 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const SYMBOLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let symbols = bytes.chunks(3).flat_map(|chunk| {
        let group = chunk.iter().fold(0_usize, |group, byte| group << 8 | usize::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        (0..=chunk.len()).map(move |at| char::from(SYMBOLS[group >> (18 - 6 * at) & 63]))
    });
    symbols.collect()
}
