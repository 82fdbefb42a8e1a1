//! Pages in the language of who looks, and that every word of them is a message.

use super::*;

/// Whose text is a programs' name for something, or a statement that stays English.
const KEPT: [&str; 2] = ["translate=\"no\"", "lang=\""];
const VOID: [&str; 6] = ["input", "meta", "link", "br", "img", "rect"];
/// Attributes that people read or hear.
const SAID: [&str; 6] = ["aria-label", "title", "placeholder", "alt", "data-say", "data-sure"];
/// What is the same in every language, and what the test itself wrote.
const DATA: [&str; 26] = [
    "https://example.com/?Text", "https://example.com/?", "example.com", "own.example.com",
    "go.example", "o@example.com", "new@example.com", "192.0.2.0/24", "Text", "bad", "crm_", "UTC",
    "Carom", "TXT", "CSV", "QR", "Deutsch", "English", "utm_", "en", "Esc", "admin.example",
    "https://", "text", "http", "a.example",
];

/// What a page says: its texts, with a bar between elements, and its attributes.
fn said(html: &str) -> (String, Vec<(String, String)>) {
    let (mut text, mut attributes) = (String::new(), Vec::new());
    // Elements that are open within one that is kept as it is.
    let mut kept: Vec<String> = Vec::new();
    let mut rest = html;
    while let Some((before, after)) = rest.split_once('<') {
        if kept.is_empty() {
            text.push_str(before);
        }
        let mut quote = None;
        let end = after.find(|it: char| match (quote, it) {
            (None, '>') => true,
            (None, '"' | '\'') => {
                quote = Some(it);
                false
            }
            (Some(open), it) if open == it => {
                quote = None;
                false
            }
            _ => false,
        });
        let (tag, after) = after.split_at(end.unwrap_or(after.len()));
        rest = after.strip_prefix('>').unwrap_or_default();
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap_or_default();
        if tag.starts_with('/') {
            kept.pop_if(|open| open == name);
            continue;
        }
        let is_kept = KEPT.iter().any(|it| tag.contains(it)) && name != "html";
        let is_code = ["time", "script", "style", "textarea"].contains(&name);
        if !kept.is_empty() || is_kept || is_code {
            if !VOID.contains(&name) && !tag.ends_with('/') {
                kept.push(name.to_owned());
            }
            continue;
        }
        for attribute in SAID {
            let found = tag.split_once(&format!(" {attribute}=\""));
            if let Some((value, _)) = found.and_then(|(_, rest)| rest.split_once('"')) {
                attributes.push((attribute.to_owned(), value.to_owned()));
            }
        }
    }
    (text, attributes)
}

/// What stands outside brackets and is no data.
fn forgotten(text: &str) -> Option<String> {
    let (mut depth, mut outside) = (0_u32, String::new());
    for it in text.chars() {
        match it {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            it if depth == 0 => outside.push(it),
            _ => {}
        }
    }
    let mut data = DATA;
    data.sort_by_key(|it| std::cmp::Reverse(it.len()));
    for data in data {
        outside = outside.replace(data, " ");
    }
    let mut words = outside.split(|it: char| !it.is_alphabetic());
    words.any(|word| word.chars().count() > 1).then(|| {
        let lines = outside.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join(" | ")
    })
}

async fn in_language(people: &People, person: Option<&Person>, path: &str, tag: &str) -> Answer {
    let mut request = Request::builder().uri(path);
    if let Some(person) = person {
        request = people.signed(request, person);
    }
    let request = request.header("cookie", format!("carom_language={tag}"));
    send(api_router(&people.app), request.body(Body::empty()).unwrap()).await
}

/// A language that does not exist says each message in brackets: what is outside was forgotten.
#[tokio::test]
async fn every_word_of_every_page_is_a_message() {
    let people = People::new().await;
    let owner = people.member("o@example.com", "owner").await;
    super::settings::furnished(&people, &owner, "Text").await;
    let [key, domain] = super::settings::ids(&people, &owner).await;
    let links = people.call(&owner, Method::GET, "/links", &Value::Null).await.json();
    let link = format!("/links/{}", links["data"][0]["id"].as_str().unwrap());
    let shared = json!({"name": "Text", "link_id": links["data"][0]["id"]});
    let shared = people.call(&owner, Method::POST, "/shares", &shared).await;
    assert_eq!(shared.status, 201, "{}", shared.body);
    let own = [
        "/links", "/links?q=nothing&show=disabled", &link, "/analytics",
        "/analytics?period=7d&compare=previous", "/missing", "/shares", "/links/999", &key,
        &domain, "/settings/data",
    ];
    let parts = super::settings::PARTS.map(|(path, _)| path);
    let mut wrong = Vec::new();
    let gates = [
        "/sign-in", "/setup", "/register", "/forgot", "/reset", "/account/email", "/undo-email",
        "/invitation", "/share/nothing",
    ];
    let all = own.into_iter().chain(parts).map(|path| (Some(&owner), path));
    for (person, path) in all.chain(gates.map(|path| (None, path))) {
        let shown = in_language(&people, person, path, "en-XA").await;
        assert!(shown.body.contains("<html lang=\"en-XA\">"), "{path}: {}", shown.body);
        let (text, attributes) = said(&shown.body);
        wrong.extend(forgotten(&text).map(|words| format!("{path}: {words}")));
        for (name, value) in attributes {
            wrong.extend(forgotten(&value).map(|words| format!("{path}: {name}: {words}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The language is what was chosen, or what the browser asks for; an English page asks for no messages.
#[tokio::test]
async fn pages_are_in_the_language_of_who_looks() {
    let people = People::new().await;
    let ada = people.member("ada@example.com", "viewer").await;
    let german = in_language(&people, Some(&ada), "/links", "de").await;
    assert_eq!(german.headers["content-language"], "de");
    assert_eq!(german.headers["vary"], "Accept-Encoding, Accept-Language, Cookie");
    assert!(german.body.contains("<html lang=\"de\">"), "{}", german.body);
    assert!(german.body.contains(">Abmelden</button>"), "{}", german.body);
    let script = german.body.split('"').find(|it| it.ends_with("/messages.de.js")).unwrap();
    let script = page(&people, None, script).await;
    assert_eq!(script.headers["content-type"], "text/javascript");
    assert!(script.body.starts_with("globalThis.messages = {"), "{}", script.body);
    let english = page(&people, Some(&ada), "/links").await.body;
    assert!(english.contains("<html lang=\"en\">") && !english.contains("messages."), "{english}");

    let request = Request::builder().uri("/sign-in").header("accept-language", "de-AT, en;q=0.5");
    let gate = send(api_router(&people.app), request.body(Body::empty()).unwrap()).await;
    assert!(gate.body.contains("<h1>Anmelden</h1>"), "{}", gate.body);
    // Errors too, also where there is no route.
    for path in ["/links/999", "/nowhere"] {
        let request = Request::builder().uri(path).header("accept", "text/html");
        let request = people.signed(request, &ada).header("accept-language", "de");
        let gone = send(api_router(&people.app), request.body(Body::empty()).unwrap()).await;
        assert_eq!(gone.status, 404, "{path}");
        assert!(gone.body.contains("<html lang=\"de\">"), "{path}: {}", gone.body);
        assert!(!gone.body.contains("There is"), "{path}: {}", gone.body);
    }
    let chosen = in_language(&people, Some(&ada), "/settings/profile", "de").await.body;
    assert!(chosen.contains("<option value=\"de\" lang=\"de\" selected>Deutsch"), "{chosen}");
    assert!(chosen.contains("<option value=\"\">"), "{chosen}");
}
