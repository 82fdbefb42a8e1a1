//! What is checked of an answer is tried over the whole API, in `tests/it/accounts/passkeys.rs`.

use super::*;

#[test]
fn passkeys_are_for_names_and_not_for_numbers() {
    for (base, expected) in [
        ("https://admin.example", Some(("admin.example", "https://admin.example"))),
        ("https://admin.example:8443", Some(("admin.example", "https://admin.example:8443"))),
        ("http://localhost:8081", Some(("localhost", "http://localhost:8081"))),
        (
            "https://xn--bcher-kva.example",
            Some(("xn--bcher-kva.example", "https://xn--bcher-kva.example")),
        ),
        ("http://127.0.0.1:8081", None),
        ("https://[::1]", None),
        ("", None),
    ] {
        let verifier = Verifier::new(base);
        let found = verifier.as_ref().map(|it| (it.rp_id(), it.0.rp_origins[0].as_str()));
        assert_eq!(found, expected, "{base}");
    }
}

#[test]
fn what_cannot_be_read_names_no_challenge() {
    let verifier = Verifier::new("https://admin.example").unwrap();
    for text in ["", "=", "e30", "bm8ganNvbg", "ééé"] {
        assert_eq!(verifier.challenge(text), None, "{text}");
    }
    assert_eq!(verifier.credential_id("AP8"), Some(vec![0, 0xff]));
    assert_eq!(verifier.credential_id("A+8="), None);
}
