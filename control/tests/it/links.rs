//! What the pages of links ask of the API beside a link itself: QR codes, codes that are free, tags,
//! and links and clicks as files.

use super::people::{People, Person};
use super::*;
use axum::body::Bytes;
use http::header::HeaderMap;
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn link(test: &Test, body: &Value) -> String {
    let made = test.post("/api/v1/links", &body.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.body);
    made.json()["id"].as_str().unwrap().to_owned()
}

/// As [`Test::get`], for what is no text.
async fn bytes(test: &Test, path: &str, header: (&str, &str)) -> (StatusCode, HeaderMap, Bytes) {
    let request = Request::get(path)
        .header("authorization", format!("Bearer {}", test.key))
        .header(header.0, header.1);
    let answer = test.api().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = answer.into_parts();
    (head.status, head.headers, to_bytes(body, 10 << 20).await.unwrap())
}

#[tokio::test]
async fn qr_codes_are_drawn_as_asked_and_known_by_their_tags() {
    let test = Test::new().await;
    let id = link(&test, &json!({"url": "https://example.com/", "code": "poster"})).await;
    let path = format!("/api/v1/links/{id}/qr");
    let none = ("x", "y");
    let (status, headers, svg) = bytes(&test, &path, none).await;
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::OK, &"image/svg+xml".parse().unwrap())
    );
    assert_eq!(headers["cache-control"], "private, max-age=3600");
    assert!(svg.starts_with(b"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"512\""));
    let tag = headers["etag"].to_str().unwrap().to_owned();
    let (status, headers, body) = bytes(&test, &path, ("if-none-match", &tag)).await;
    assert_eq!(
        (status, body.len(), headers["etag"].to_str().unwrap()),
        (StatusCode::NOT_MODIFIED, 0, &*tag)
    );

    let design = format!(
        "{path}?format=png&size=300&level=h&margin=2&foreground=0a6b4f&background=%23dcefe7"
    );
    let (status, headers, png) = bytes(&test, &design, ("if-none-match", &tag)).await;
    assert_eq!((status, &headers["content-type"]), (StatusCode::OK, &"image/png".parse().unwrap()));
    assert_eq!(
        (&png[..8], &png[16..24]),
        (&b"\x89PNG\r\n\x1a\n"[..], &[0, 0, 1, 44, 0, 0, 1, 44][..])
    );
    assert_ne!(headers["etag"].to_str().unwrap(), tag);

    for (query, says) in [
        ("size=10", "size is from 64 to 4096 pixels"),
        ("margin=17", "margin is from 0 to 16 modules"),
        ("foreground=ffffff&background=000000", "swap foreground and background"),
        ("foreground=ffff00", "too alike"),
        ("foreground=red", "six hexadecimal digits"),
        ("format=gif", "cannot read the query"),
        ("colour=000000", "unknown field"),
    ] {
        let refused = test.get(&format!("{path}?{query}")).await;
        assert_eq!((refused.status, query), (StatusCode::BAD_REQUEST, query));
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(says), "{detail}");
    }
    test.call(Method::DELETE, &format!("/api/v1/links/{id}"), "").await;
    assert_eq!(test.get(&path).await.status, StatusCode::NOT_FOUND);
}

/// Pictures and downloads of a page send no header: they are of the workspace that it shows.
#[tokio::test]
async fn what_a_page_loads_is_of_the_workspace_that_it_shows() {
    let people = People::new().await;
    let ada = people.member("ada@example.com", "owner").await;
    let other = people.call(&ada, Method::POST, "/workspaces", &json!({"name": "B"})).await;
    let other = other.json()["id"].as_str().unwrap().to_owned();
    let there = Person { workspace: Some(other.clone()), ..ada.clone() };
    let body = json!({"url": "https://example.com/", "code": "b"});
    let made = people.call(&there, Method::POST, "/links", &body).await;
    let path = format!("/api/v1/links/{}/qr", made.json()["id"].as_str().unwrap());
    let by_cookie = async |method: Method, path: &str, cookie: &str| {
        let request = people.signed(Request::builder().method(method).uri(path), &ada);
        let request = request.header("cookie", cookie).header("content-type", "application/json");
        let router = api_router(&people.app);
        router.oneshot(request.body(Body::from("{}")).unwrap()).await.unwrap().status()
    };
    let shown = format!("carom_workspace={other}");
    assert_eq!(by_cookie(Method::GET, &path, &shown).await, StatusCode::OK);
    assert_eq!(by_cookie(Method::GET, &path, "x=y").await, StatusCode::NOT_FOUND);
    // A workspace that they are not in is as good as none: the first one is meant.
    for stale in ["carom_workspace=7", "carom_workspace=x"] {
        assert_eq!(by_cookie(Method::GET, "/api/v1/links", stale).await, StatusCode::OK);
    }
    // A change is made where its header says, or in the first.
    let change = path.replace("/qr", "");
    assert_eq!(by_cookie(Method::PATCH, &change, &shown).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_code_is_free_until_it_is_taken() {
    let people = People::new().await;
    let ada = people.member("ada@example.com", "owner").await;
    let body = json!({"url": "https://example.com/", "code": "mine"});
    let made = people.call(&ada, Method::POST, "/links", &body).await;
    let id = made.json()["id"].clone();
    let ask = async |person: &Person, code: &str| {
        people.call(person, Method::GET, &format!("/codes/{code}"), &Value::Null).await.json()
    };
    let free =
        json!({"code": "free", "available": true, "reason": null, "detail": null, "link": null});
    assert_eq!(ask(&ada, "free").await, free);
    let mine = ask(&ada, "mine").await;
    assert_eq!(
        (&mine["available"], &mine["reason"], &mine["link"]),
        (&json!(false), &json!("taken"), &id)
    );
    assert_eq!(ask(&ada, "api").await["reason"], "reserved");
    for code in ["a%20b", "%C3%A9", &*"x".repeat(65)] {
        let malformed = ask(&ada, code).await;
        assert_eq!(
            (&malformed["reason"], &malformed["available"]),
            (&json!("malformed"), &json!(false))
        );
        assert!(malformed["detail"].as_str().unwrap().len() > 10, "{malformed}");
    }
    // Who deleted it can have it again, and others cannot.
    let other = people.call(&ada, Method::POST, "/workspaces", &json!({"name": "B"})).await;
    let there = Person { workspace: other.json()["id"].as_str().map(str::to_owned), ..ada.clone() };
    let path = format!("/links/{}", id.as_str().unwrap());
    people.call(&ada, Method::DELETE, &path, &Value::Null).await;
    assert_eq!(ask(&ada, "mine").await["available"], true);
    let theirs = ask(&there, "mine").await;
    assert_eq!((&theirs["reason"], &theirs["link"]), (&json!("taken"), &json!(null)));
    let viewer = people.member("v@example.com", "viewer").await;
    let refused = people.call(&viewer, Method::GET, "/codes/free", &Value::Null).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let nowhere =
        people.call(&ada, Method::GET, "/codes/free?domain=no.example", &Value::Null).await;
    assert_eq!(nowhere.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn tags_are_listed_once() {
    let test = Test::new().await;
    for (code, tags) in
        [("a", json!(["Sale", "x"])), ("b", json!(["sale", "été"])), ("c", json!([]))]
    {
        link(&test, &json!({"url": "https://example.com/", "code": code, "tags": tags})).await;
    }
    assert_eq!(test.get("/api/v1/tags").await.json(), json!({"data": ["sale", "x", "été"]}));
}

const IMPORT: &str = "/api/v1/links/import";

fn outcomes(answer: &Answer) -> Vec<String> {
    let answer = answer.json();
    let results = answer["results"].as_array().unwrap_or_else(|| panic!("{answer}")).clone();
    results.iter().map(|result| result["outcome"].as_str().unwrap().to_owned()).collect()
}

/// What is exported comes back as it was: on another installation, as lines of either kind.
#[tokio::test]
async fn exported_links_can_be_imported() {
    let test = Test::new().await;
    for n in 0..501 {
        let body = json!({
            "url": format!("https://example.com/{n}"), "code": format!("c{n}"),
            "title": if n == 7 { "=1+1, \"quoted\"" } else { "" },
            "tags": if n == 7 { json!(["a|b", "c"]) } else { json!([]) },
            "query": {"forward": ["ref"], "prefer": "visitor"},
        });
        link(&test, &body).await;
    }
    let csv = test.get("/api/v1/links/export").await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8; header=present");
    assert_eq!(
        csv.headers["content-disposition"],
        "attachment; filename=\"carom-links-2026-01-01.csv\""
    );
    assert_eq!(csv.body.lines().count(), 502);
    assert!(csv.body.starts_with("code,url,domain,title,"), "{}", csv.body);
    assert!(csv.body.contains("\"'=1+1, \"\"quoted\"\"\""));
    let lines = test.get("/api/v1/links/export?format=jsonl").await.body;
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let codes: BTreeSet<&str> = rows.iter().filter_map(|row| row["code"].as_str()).collect();
    assert_eq!((rows.len(), codes.len()), (501, 501));

    let other = Test::new().await;
    let body = json!({"dry_run": true, "rows": rows}).to_string();
    assert_eq!(outcomes(&other.post(IMPORT, &body).await), vec!["made"; 501]);
    assert_eq!(other.get("/api/v1/links").await.json()["data"], json!([]));
    let body = json!({"rows": rows}).to_string();
    assert_eq!(outcomes(&other.post(IMPORT, &body).await), vec!["made"; 501]);
    assert_eq!(outcomes(&other.post(IMPORT, &body).await), vec!["present"; 501]);
    let there = other.get("/api/v1/links?q=%3D1%2B1").await.json()["data"][0].clone();
    assert_eq!((&there["code"], &there["tags"]), (&json!("c7"), &json!(["a|b", "c"])));
    assert_eq!(there["query"], json!({"forward": ["ref"], "prefer": "visitor"}));
    // Its id is not taken over: it could be one that somebody else had.
    assert!(rows.iter().all(|row| row["id"] != there["id"]));
    let audit = other.get("/api/v1/audit?action=link.import").await;
    assert!(audit.body.contains("\"made\":501"), "{}", audit.body);
}

#[tokio::test]
async fn an_import_says_what_became_of_each_row() {
    let test = Test::new().await;
    link(&test, &json!({"url": "https://example.com/a", "code": "a", "title": "old"})).await;
    let rows = json!([
        {"code": "a", "url": "https://example.com/other", "title": "new"},
        {"code": "b", "url": "ftp://example.com/"},
        {"url": "https://example.com/"},
        {"code": "c", "url": "https://example.com/c", "clicks": 12, "created_at": "2020-01-01T00:00:00Z"},
    ]);
    let import = async |on_conflict: &str| {
        let body = json!({"on_conflict": on_conflict, "rows": rows}).to_string();
        test.post(IMPORT, &body).await
    };
    let refused = import("refuse").await;
    assert_eq!(outcomes(&refused), ["refused", "refused", "refused", "made"]);
    let results = refused.json()["results"].clone();
    assert_eq!(results[0]["errors"][0]["code"], "code-taken");
    assert_eq!(results[2]["errors"][0]["pointer"], "#/code");
    assert_eq!(outcomes(&import("skip").await), ["skipped", "refused", "refused", "present"]);
    assert_eq!(outcomes(&import("replace").await), ["replaced", "refused", "refused", "present"]);
    let list = test.get("/api/v1/links?q=other").await.json();
    assert_eq!(
        (&list["data"][0]["title"], &list["data"][0]["version"]),
        (&json!("new"), &json!(2))
    );

    let many = json!({"rows": vec![json!({}); 1001]}).to_string();
    for body in [
        &*many, r#"{"rows":[[]]}"#, r#"{"rows":[{"slug":"a"}]}"#,
        r#"{"rows":[],"on_conflict":"x"}"#,
    ] {
        assert_eq!(test.post(IMPORT, body).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let key =
        test.operator(Method::POST, "/v1/keys", r#"{"name":"r","scopes":["links:read"]}"#).await;
    let test = Test { key: key.json()["key"].as_str().unwrap().to_owned(), ..test };
    assert_eq!(test.post(IMPORT, r#"{"rows":[]}"#).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_export_is_of_a_search_or_of_what_is_named() {
    let test = Test::new().await;
    let mut ids = Vec::new();
    for (code, tags) in
        [("a", json!(["x"])), ("b", json!([])), ("c", json!(["x"])), ("d", json!([]))]
    {
        ids.push(
            link(&test, &json!({"url": "https://example.com/", "code": code, "tags": tags})).await,
        );
    }
    test.call(Method::PATCH, &format!("/api/v1/links/{}", ids[2]), r#"{"archived":true}"#).await;
    test.call(Method::DELETE, &format!("/api/v1/links/{}", ids[3]), "").await;
    let codes = async |query: &str| {
        let lines = test.get(&format!("/api/v1/links/export?format=jsonl&{query}")).await;
        assert_eq!(lines.status, StatusCode::OK, "{}", lines.body);
        let code = |line: &str| {
            serde_json::from_str::<Value>(line).unwrap()["code"].as_str().unwrap().to_owned()
        };
        lines
            .body
            .lines()
            .map(code)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(codes("").await, "a b");
    assert_eq!(codes("archived=any").await, "a b c");
    assert_eq!(codes("archived=any&tag=X").await, "a c");
    assert_eq!(codes("q=nothing").await, "");
    // Those that are not there, or not here, are left out.
    assert_eq!(codes(&format!("ids={},{},{},7", ids[2], ids[0], ids[3])).await, "a c");
    for query in
        ["ids=", "ids=x", "ids=1&q=a", "format=xml", &format!("ids={}", ["1"; 201].join(","))]
    {
        let refused = test.get(&format!("/api/v1/links/export?{query}")).await;
        assert_eq!((refused.status, query), (StatusCode::BAD_REQUEST, query));
    }
}

async fn page(people: &People, person: &Person, path: &str) -> String {
    let request = people.signed(Request::builder().uri(path), person);
    let answer = send(api_router(&people.app), request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
    answer.body
}

/// What a page offers is what the API lets this person do.
#[tokio::test]
async fn pages_offer_what_can_be_done_with_links() {
    let people = People::new().await;
    let editor = people.member("e@example.com", "editor").await;
    let viewer = people.member("v@example.com", "viewer").await;
    let body = json!({
        "url": "https://example.com/?utm_source=a", "code": "x", "title": "A \"title\"",
        "tags": ["a\"b", "c"], "expires_at": "2030-01-01T00:00:00Z", "redirect_status": 307,
        "query": {"forward": ["ref", "lang"], "prefer": "visitor"}, "notes": "\ntwo lines",
    });
    let made = people.call(&editor, Method::POST, "/links", &body).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();

    let list = page(&people, &editor, "/links?tag=c&show=active").await;
    for offered in [
        "data-links=\"tag=c&#38;state=active&#38;archived=false\"",
        "href=\"/api/v1/links/export?format=csv&#38;tag=c&#38;state=active&#38;archived=false\"",
        "data-tags=\"[&#34;a\\&#34;b&#34;,&#34;c&#34;]\"",
        "data-one=\"delete\"",
        "data-many=\"disable\"",
        "id=\"retag\"",
        "data-qr=",
        "/links.js",
    ] {
        assert!(list.contains(offered), "{offered} is not in {list}");
    }
    assert!(!list.contains("data-many=\"enable\""), "all of them are active");
    let list = page(&people, &viewer, "/links").await;
    for (part, is_there) in [
        ("data-many=\"export\"", true),
        ("data-qr=", true),
        ("data-one=", false),
        ("data-many=\"delete\"", false),
        ("id=\"retag\"", false),
    ] {
        assert_eq!(list.contains(part), is_there, "{part}");
    }

    let edit = page(&people, &editor, &format!("/links/{id}")).await;
    for field in [
        "name=\"title\" type=\"text\" maxlength=\"200\" value=\"A &#34;title&#34;\"",
        "data-at=\"2030-01-01T00:00:00Z\"",
        "<option value=\"307\" selected>",
        "value=\"ref, lang\" data-type=\"forward\"",
        "<option value=\"visitor\" selected>",
        "data-etag='\"1\"'",
    ] {
        assert!(edit.contains(field), "{field} is not in {edit}");
    }
    people.call(&editor, Method::DELETE, &format!("/links/{id}"), &Value::Null).await;
    let deleted = page(&people, &editor, "/links?show=deleted").await;
    assert!(deleted.contains("data-one=\"restore\""));
    // Its page is not there, and nothing leads to it.
    assert!(!deleted.contains(&format!("href=\"/links/{id}")), "{deleted}");

    for (person, may) in [(&editor, true), (&viewer, false)] {
        let data = page(&people, person, "/settings/data").await;
        assert_eq!(data.contains("data-import=\"code url domain"), may);
        assert!(data.contains("href=\"/api/v1/clicks/export?format=jsonl\""));
    }
}

/// All clicks of a workspace, and nobody else's.
#[tokio::test]
async fn clicks_are_exported_as_a_file() {
    let test = Test::new().await;
    for (format, head) in [("csv", "link_id,code,at,n,kind"), ("jsonl", "")] {
        let file = test.get(&format!("/api/v1/clicks/export?format={format}")).await;
        assert_eq!(file.status, StatusCode::OK, "{}", file.body);
        assert!(file.body.starts_with(head), "{}", file.body);
        let name = file.headers["content-disposition"].to_str().unwrap();
        assert_eq!(name, format!("attachment; filename=\"carom-clicks-2026-01-01.{format}\""));
    }
    assert_eq!(
        test.get("/api/v1/clicks/export?from=2026-01-01").await.status,
        StatusCode::BAD_REQUEST
    );
}
