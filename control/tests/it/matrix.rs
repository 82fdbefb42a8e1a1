//! Every operation of the document, called by everybody: who may what is what the document and
//! docs/SECURITY.md say.
//!
//! What is allowed is told from what is not by the status alone: bodies are such that nothing is done,
//! and where there is no body, each call has an object of its own.

use std::collections::BTreeMap;

use super::people::{People, Person};
use super::*;
use carom_control::openapi_document;
use serde_json::{Value, json};

const SECURITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/SECURITY.md");
/// Set, the table in docs/SECURITY.md is written.
const UPDATE: &str = "UPDATE_OPENAPI";
const BEGIN: &str = "<!-- matrix: written by the test matrix -->\n";
const END: &str = "<!-- /matrix -->\n";

/// What the document says instead of a scope.
const OPERATOR: &str = "operator";
const ROLES: [&str; 4] = ["viewer", "editor", "admin", "owner"];
/// The least role that has a scope, as an index: written down a second time, and not read from the
/// code that it checks.
const SCOPES: [(&str, usize); 13] = [
    ("links:read", 0),
    ("stats:read", 0),
    ("domains:read", 0),
    ("members:read", 0),
    ("links:write", 1),
    ("links:delete", 1),
    ("stats:erase", 2),
    ("domains:write", 2),
    ("members:write", 2),
    ("keys:read", 2),
    ("keys:write", 2),
    ("audit:read", 2),
    ("workspace:write", 3),
];

/// Who may call an operation, as the document says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Security {
    Everybody,
    /// A person, about themselves.
    Person,
    /// A person whose role has the scope.
    PersonWith(String),
    /// A person who looks after the installation, whatever their role in a workspace.
    Operator,
    /// A key with the scope, or a person whose role has it.
    Scope(String),
}

#[derive(Clone, Debug)]
struct Operation {
    id: String,
    method: Method,
    path: String,
    security: Security,
}

impl Operation {
    /// `None`: what the document says is nothing that this test knows, or nothing at all.
    fn security(call: &Value) -> Option<Security> {
        let security = call.get("security")?.as_array()?;
        let scope = |of: &Value, scheme: &str| -> Option<Option<String>> {
            let of = of.as_object().filter(|of| of.len() == 1)?.get(scheme)?.as_array()?;
            match of.as_slice() {
                [] => Some(None),
                [scope] => Some(Some(scope.as_str()?.to_owned())),
                _ => None,
            }
        };
        match security.as_slice() {
            [open] if *open == json!({}) => Some(Security::Everybody),
            [session] => match scope(session, "session")? {
                None => Some(Security::Person),
                Some(scope) if scope == OPERATOR => Some(Security::Operator),
                Some(scope) => Some(Security::PersonWith(scope)),
            },
            [key, session] => {
                let (key, session) = (scope(key, "api_key")??, scope(session, "session")??);
                (key == session).then_some(Security::Scope(key))
            }
            _ => None,
        }
    }

    fn all() -> Vec<Self> {
        let document: Value = serde_json::from_str(&openapi_document()).unwrap();
        let mut operations = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, call) in methods.as_object().unwrap() {
                let security = Self::security(call);
                let security = security.unwrap_or_else(|| {
                    panic!("{method} {path} does not say who may call it: {}", call["security"])
                });
                operations.push(Self {
                    id: call["operationId"].as_str().unwrap().to_owned(),
                    method: method.to_uppercase().parse().unwrap(),
                    path: path.clone(),
                    security,
                });
            }
        }
        operations
    }
}

/// An installation with somebody of each role, and what an operation needs to be called.
struct World {
    people: People,
    operator: Person,
    members: Vec<Person>,
    workspace: String,
    /// Nothing else needs it.
    spare: String,
    foreign: String,
    made: u32,
}

impl World {
    async fn new() -> Self {
        let people = People::new().await;
        // The first account, and least in its workspace.
        let operator = people.member("operator@example.com", "viewer").await;
        let owner = people.member("owner@example.com", "owner").await;
        let mut members = Vec::new();
        for role in &ROLES[..3] {
            members.push(people.member(&format!("{role}@example.com"), role).await);
        }
        members.push(owner);
        let mine = people.call(&members[3], Method::GET, "/workspaces", &Value::Null).await;
        let workspace = mine.json()["data"][0]["id"].as_str().unwrap().to_owned();
        // Another workspace of the same person, and a key there.
        let owner = &members[3];
        let other = people.call(owner, Method::POST, "/workspaces", &json!({"name": "B"})).await;
        let other = other.json()["id"].as_str().unwrap().to_owned();
        let there = Person { workspace: Some(other), ..owner.clone() };
        let body = json!({"name": "foreign", "scopes": SCOPES.map(|(scope, _)| scope)});
        let key = people.call(&there, Method::POST, "/keys", &body).await;
        assert_eq!(key.status, 201, "{}", key.body);
        let foreign = key.json()["key"].as_str().unwrap().to_owned();
        let spare = people.call(owner, Method::POST, "/workspaces", &json!({"name": "C"})).await;
        let spare = spare.json()["id"].as_str().unwrap().to_owned();
        Self { people, operator, members, workspace, spare, foreign, made: 0 }
    }

    fn owner(&self) -> &Person {
        &self.members[3]
    }

    async fn key(&self, scopes: &[&str]) -> String {
        let body = json!({"name": "k", "scopes": scopes});
        let made = self.people.operator(Method::POST, "/v1/keys", &body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        made.json()["key"].as_str().unwrap().to_owned()
    }

    /// The path with an object of its own in it.
    async fn path(&mut self, operation: &Operation) -> String {
        self.made += 1;
        let n = self.made;
        let (owner, people) = (self.owner(), &self.people);
        let mut parts = operation.path.split('/').skip(3).filter(|part| *part != OPERATOR);
        let noun = parts.next().unwrap_or_default();
        let (path, body, id) = match noun {
            "links" => ("/links", json!({"url": "https://example.com/"}), "id"),
            "keys" => ("/keys", json!({"name": "k", "scopes": ["links:read"]}), "id"),
            "domains" => ("/domains", json!({"host": format!("d{n}.example")}), "id"),
            "invitations" => {
                let email = format!("i{n}@example.com");
                ("/invitations", json!({"email": email, "role": "viewer"}), "id")
            }
            "members" => {
                let body = json!({"email": format!("m{n}@example.com"), "role": "viewer"});
                let made = people.operator(Method::POST, "/v1/users", &body).await;
                let id = made.json()["id"].as_str().unwrap().to_owned();
                return operation.path.replace("{id}", &id);
            }
            "shares" => ("/shares", json!({"name": "s"}), "id"),
            "workspaces" if operation.security == Security::Operator => {
                return operation.path.replace("{id}", &self.spare);
            }
            "workspaces" => return operation.path.replace("{id}", &self.workspace),
            // Its body is read before it is looked for.
            "reports" => return operation.path.replace("{id}", "1"),
            other => panic!("how does one make an object for {other}?"),
        };
        let made = people.call(owner, Method::POST, path, &body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let id = made.json()[id].as_str().unwrap().to_owned();
        // What was deleted is restored: it is what the operation is for.
        operation.path.replace("{id}", &id)
    }

    async fn status(&mut self, operation: &Operation, who: Who<'_>) -> StatusCode {
        let path = match operation.path.contains("{id}") {
            true if matches!(who, Who::Nobody) => operation.path.replace("{id}", "1"),
            true => self.path(operation).await,
            false => operation.path.clone(),
        };
        let request = Request::builder()
            .method(&operation.method)
            .uri(path.replace("{code}", "validation"))
            .header("content-type", "application/json");
        let request = match who {
            Who::Nobody => request,
            Who::Key(key) => request.header("authorization", format!("Bearer {key}")),
            Who::Person(person) => self.people.signed(request, person),
        };
        // Nobody's body: it says too much, wherever one is read.
        let body = Body::from(r#"{"unknown": 1}"#);
        // A live feed has no end: the head is enough.
        let response = api_router(&self.people.app).oneshot(request.body(body).unwrap());
        response.await.unwrap().status()
    }
}

#[derive(Clone, Copy)]
enum Who<'a> {
    Nobody,
    Key(&'a str),
    Person(&'a Person),
}

fn is_allowed(status: StatusCode) -> bool {
    !matches!(status.as_u16(), 401 | 403 | 404 | 429 | 500..)
}

#[tokio::test]
async fn every_operation_answers_everybody_as_documented() {
    let mut world = World::new().await;
    let mut keys = BTreeMap::new();
    for (scope, _) in SCOPES {
        let others: Vec<_> = SCOPES.iter().map(|of| of.0).filter(|of| *of != scope).collect();
        keys.insert(scope, (world.key(&[scope]).await, world.key(&others).await));
    }
    let (any_key, members) = (keys["links:read"].0.clone(), world.members.clone());
    let mut wrong = Vec::new();
    for operation in Operation::all() {
        let mut expect = |who: &str, status: StatusCode, is_right: bool| {
            if !is_right {
                let Operation { method, path, security, .. } = &operation;
                wrong.push(format!("{method} {path} ({security:?}) by {who}: {status}"));
            }
        };
        let nobody = world.status(&operation, Who::Nobody).await;
        let scope = match &operation.security {
            Security::Everybody => {
                expect("nobody", nobody, nobody != 401 && nobody != 403);
                continue;
            }
            Security::Person => {
                expect("nobody", nobody, nobody == 401);
                if !operation.path.contains("{id}") {
                    let key = world.status(&operation, Who::Key(&any_key)).await;
                    expect("a key", key, key == 401);
                }
                continue;
            }
            Security::Operator => {
                expect("nobody", nobody, nobody == 401);
                for (role, person) in ROLES.iter().zip(&members) {
                    let status = world.status(&operation, Who::Person(person)).await;
                    expect(role, status, status == 403);
                }
                let operator = world.operator.clone();
                let status = world.status(&operation, Who::Person(&operator)).await;
                expect("an operator", status, is_allowed(status));
                let key = world.status(&operation, Who::Key(&any_key)).await;
                expect("a key", key, key == 401);
                continue;
            }
            Security::PersonWith(scope) | Security::Scope(scope) => scope.clone(),
        };
        expect("nobody", nobody, nobody == 401);
        let found = SCOPES.iter().find(|(name, _)| *name == scope);
        let least = found.unwrap_or_else(|| panic!("no scope {scope}")).1;
        for (at, person) in members.iter().enumerate() {
            let status = world.status(&operation, Who::Person(person)).await;
            let is_right = if at >= least { is_allowed(status) } else { status == 403 };
            expect(ROLES[at], status, is_right);
        }
        let (with, without) = keys[scope.as_str()].clone();
        let foreign = world.foreign.clone();
        let with = world.status(&operation, Who::Key(&with)).await;
        let without = world.status(&operation, Who::Key(&without)).await;
        if matches!(operation.security, Security::PersonWith(_)) {
            expect("a key with the scope", with, with == 401);
            expect("a key without the scope", without, without == 401);
            continue;
        }
        expect("a key with only the scope", with, is_allowed(with));
        expect("a key without the scope", without, without == 403);
        if operation.path.contains("{id}") {
            let status = world.status(&operation, Who::Key(&foreign)).await;
            // A body is read before the object is looked for; that tells nothing of the object.
            expect("a key of another workspace", status, status == 404 || status == 422);
        }
    }
    assert!(wrong.is_empty(), "not as documented:\n- {}", wrong.join("\n- "));
}

/// The table of the guide is that of the document.
#[test]
fn the_guide_has_the_table_of_operations_and_roles() {
    let mut table = String::from(
        "| operation | scope | viewer | editor | admin | owner | API key |\n|---|---|---|---|---|---|---|\n",
    );
    for Operation { id, method, path, security } in Operation::all() {
        let row = |scope: &str, least: usize, key: &str| {
            let cells = (0..4).map(|at| if at >= least { "yes" } else { "403" });
            let cells = cells.collect::<Vec<_>>().join(" | ");
            format!("| `{method} {path}` ({id}) | {scope} | {cells} | {key} |\n")
        };
        let least = |scope: &str| SCOPES.iter().find(|(name, _)| *name == scope).unwrap().1;
        table.push_str(&match security {
            Security::Everybody => row("for everybody", 0, "yes"),
            Security::Person => row("one's own", 0, "401"),
            Security::Operator => row("operators", 4, "401"),
            Security::PersonWith(scope) => row(&format!("`{scope}`"), least(&scope), "401"),
            Security::Scope(scope) => row(&format!("`{scope}`"), least(&scope), "with the scope"),
        });
    }
    let guide = std::fs::read_to_string(SECURITY).unwrap();
    let (before, rest) =
        guide.split_once(BEGIN).expect("docs/SECURITY.md has a place for the table");
    let (found, after) = rest.split_once(END).unwrap();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(SECURITY, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(
        found == table,
        "the table in docs/SECURITY.md is not that of the document; write it with {UPDATE}=1 cargo \
         test -p carom-control --test it matrix"
    );
}

/// An operation that does not say who may call it fails the test above.
#[test]
fn security_that_says_nothing_is_nothing() {
    for security in [
        json!(null),
        json!([]),
        json!([{"api_key": []}]),
        json!([{"api_key": ["a"]}]),
        json!([{"api_key": ["a"]}, {"session": ["b"]}]),
        json!([{"api_key": ["a", "b"]}, {"session": ["a"]}]),
        json!([{}, {"session": []}]),
    ] {
        assert_eq!(Operation::security(&json!({"security": security})), None, "{security}");
    }
    assert_eq!(Operation::security(&json!({})), None);
}
