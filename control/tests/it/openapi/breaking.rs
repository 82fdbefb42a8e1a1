//! What differs between two OpenAPI documents in a way that breaks clients of the first.
//!
//! Requests may ask for less and allow more; answers may say more and must go on saying what they
//! said. A name of a parameter or member that goes away breaks whoever sends it: unknown ones are
//! refused.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// A sentence for each change of `new` that breaks clients of `old`.
pub(super) fn changes(old: &Value, new: &Value) -> Vec<String> {
    let mut diff = Diff { old, new, found: Vec::new() };
    for (path, methods) in members(&old["paths"]) {
        for (method, before) in members(methods) {
            let place = format!("{} {path}", method.to_uppercase());
            let after = &new["paths"][path][method];
            if after.is_null() {
                diff.found.push(format!("{place} is gone"));
            } else {
                diff.operation(&place, before, after);
            }
        }
    }
    diff.found
}

/// Which way a value travels.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Request,
    Answer,
}

struct Diff<'a> {
    old: &'a Value,
    new: &'a Value,
    found: Vec<String>,
}

impl Diff<'_> {
    fn operation(&mut self, place: &str, before: &Value, after: &Value) {
        let (old, new) = (parameters(before), parameters(after));
        for (name, parameter) in &old {
            let place = format!("{place}, parameter {name}");
            match new.iter().find(|(other, _)| other == name) {
                None => self.found.push(format!("{place} is gone")),
                Some((_, now)) => {
                    if now["required"] == json!(true) && parameter["required"] != json!(true) {
                        self.found.push(format!("{place} is required now"));
                    }
                    self.schema(&place, &parameter["schema"], &now["schema"], Way::Request);
                }
            }
        }
        for (name, parameter) in &new {
            let is_new = !old.iter().any(|(other, _)| other == name);
            if is_new && parameter["required"] == json!(true) {
                self.found.push(format!("{place}, parameter {name} is new and required"));
            }
        }
        self.content(
            &format!("{place}, body"),
            &before["requestBody"]["content"],
            &after["requestBody"]["content"],
            Way::Request,
        );
        for (status, answer) in members(&before["responses"]) {
            let place = format!("{place}, answer {status}");
            let now = &after["responses"][status];
            if now.is_null() {
                // A problem that does not arise any more surprises nobody.
                if status.starts_with('2') {
                    self.found.push(format!("{place} is gone"));
                }
                continue;
            }
            for (name, _) in members(&answer["headers"]) {
                if now["headers"][name].is_null() {
                    self.found.push(format!("{place}, header {name} is gone"));
                }
            }
            self.content(&place, &answer["content"], &now["content"], Way::Answer);
        }
    }

    fn content(&mut self, place: &str, before: &Value, after: &Value, way: Way) {
        for (media_type, content) in members(before) {
            let now = &after[media_type];
            if now.is_null() {
                self.found.push(format!("{place}: {media_type} is gone"));
            } else {
                self.schema(place, &content["schema"], &now["schema"], way);
            }
        }
    }

    fn schema(&mut self, place: &str, before: &Value, after: &Value, way: Way) {
        let before = resolve(self.old, before);
        let after = resolve(self.new, after);
        let (narrow, wide) = match way {
            Way::Request => (before, after),
            Way::Answer => (after, before),
        };
        // All that is sent must be understood by whoever reads it.
        if !types(narrow).is_subset(&types(wide)) {
            let (was, is) = (types(before), types(after));
            self.found.push(format!("{place}: its type was {was:?} and is {is:?}"));
        }
        if way == Way::Request {
            self.limits(place, before, after);
        }
        let required = |schema: &Value, name: &str| {
            schema["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name))
        };
        for (name, member) in members(&before["properties"]) {
            let place = format!("{place}/{name}");
            let now = &after["properties"][name];
            if now.is_null() {
                self.found.push(format!("{place} is gone"));
                continue;
            }
            match (way, required(before, name), required(after, name)) {
                (Way::Request, false, true) => {
                    self.found.push(format!("{place} is required now"));
                }
                (Way::Answer, true, false) => {
                    self.found.push(format!("{place} may be missing now"));
                }
                _ => {}
            }
            self.schema(&place, member, now, way);
        }
        for (name, _) in members(&after["properties"]) {
            let is_new = before["properties"][name].is_null();
            if is_new && way == Way::Request && required(after, name) {
                self.found.push(format!("{place}/{name} is new and required"));
            }
        }
        if !before["items"].is_null() {
            self.schema(&format!("{place}/*"), &before["items"], &after["items"], way);
        }
    }

    /// What a request may hold and could hold before.
    fn limits(&mut self, place: &str, before: &Value, after: &Value) {
        let number = |schema: &Value, name: &str| schema[name].as_f64();
        for (name, is_upper) in [
            ("maxLength", true),
            ("maximum", true),
            ("maxItems", true),
            ("minLength", false),
            ("minimum", false),
            ("minItems", false),
        ] {
            let tighter = match (number(before, name), number(after, name)) {
                (None, Some(_)) => true,
                (Some(was), Some(is)) => {
                    if is_upper {
                        is < was
                    } else {
                        is > was
                    }
                }
                (_, None) => false,
            };
            if tighter {
                self.found.push(format!("{place}: {name} is tighter now"));
            }
        }
        if !after["pattern"].is_null() && after["pattern"] != before["pattern"] {
            self.found.push(format!("{place}: another pattern"));
        }
        if let Some(allowed) = after["enum"].as_array() {
            match before["enum"].as_array() {
                Some(was) => {
                    for value in was.iter().filter(|value| !allowed.contains(value)) {
                        self.found.push(format!("{place}: {value} is not taken any more"));
                    }
                }
                None => self.found.push(format!("{place} takes only a few values now")),
            }
        }
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn parameters(operation: &Value) -> Vec<(String, &Value)> {
    let list = operation["parameters"].as_array();
    let name = |parameter: &Value| format!("{} ({})", parameter["name"], parameter["in"]);
    list.into_iter().flatten().map(|parameter| (name(parameter), parameter)).collect()
}

/// The schema that a reference leads to.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str().and_then(|path| path.strip_prefix('#')) {
        Some(pointer) => resolve(document, document.pointer(pointer).unwrap_or(&Value::Null)),
        None => schema,
    }
}

fn types(schema: &Value) -> BTreeSet<String> {
    match &schema["type"] {
        Value::String(one) => BTreeSet::from([one.clone()]),
        Value::Array(several) => {
            several.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => match schema["oneOf"].as_array() {
            Some(several) => several
                .iter()
                .flat_map(|one| match one["$ref"].as_str() {
                    Some(name) => BTreeSet::from([name.to_owned()]),
                    None => types(one),
                })
                .collect(),
            None => BTreeSet::new(),
        },
    }
}

#[test]
fn what_breaks_clients_is_named_and_what_does_not_is_not() {
    let document = |edit: fn(&mut Value)| {
        let mut document = json!({
            "paths": {"/a": {"post": {
                "parameters": [
                    {"name": "p", "in": "query", "schema": {"type": "string", "maxLength": 9}}
                ],
                "requestBody": {"content": {"application/json": {"schema": {
                    "$ref": "#/components/schemas/Body"
                }}}},
                "responses": {
                    "200": {"content": {"application/json": {"schema": {
                        "type": "object", "required": ["id"],
                        "properties": {"id": {"type": "string"}},
                    }}}},
                    "404": {},
                },
            }}},
            "components": {"schemas": {"Body": {
                "type": "object", "required": ["x"],
                "properties": {
                    "x": {"type": "string", "enum": ["a", "b"]},
                    "y": {"type": ["array", "null"], "items": {"type": "integer", "maximum": 9}},
                },
            }}},
        });
        edit(&mut document);
        document
    };
    let old = document(|_| {});
    type Case = (fn(&mut Value), &'static str);
    let cases: [Case; 19] = [
        (|_| {}, ""),
        (|d| d["paths"]["/b"] = json!({"get": {}}), ""),
        (|d| d["paths"] = json!({}), "POST /a is gone"),
        (
            |d| d["paths"]["/a"]["post"]["parameters"] = json!([]),
            "parameter \"p\" (\"query\") is gone",
        ),
        (
            |d| d["paths"]["/a"]["post"]["parameters"][0]["required"] = json!(true),
            "is required now",
        ),
        (
            |d| d["paths"]["/a"]["post"]["parameters"][0]["schema"]["maxLength"] = json!(8),
            "tighter",
        ),
        (|d| d["paths"]["/a"]["post"]["parameters"][0]["schema"]["maxLength"] = json!(10), ""),
        (|d| d["paths"]["/a"]["post"]["responses"]["404"] = Value::Null, ""),
        (|d| d["paths"]["/a"]["post"]["responses"]["200"] = Value::Null, "answer 200 is gone"),
        (|d| answer(d)["properties"] = json!({}), "/id is gone"),
        (|d| answer(d)["required"] = json!([]), "/id may be missing now"),
        (|d| answer(d)["properties"]["id"]["type"] = json!(["string", "null"]), "/id: its type"),
        (|d| answer(d)["properties"]["new"] = json!({"type": "string"}), ""),
        (|d| body(d)["required"] = json!(["x", "y"]), "/y is required now"),
        (|d| body(d)["properties"]["z"] = json!({"type": "string"}), ""),
        (|d| body(d)["properties"]["y"]["type"] = json!("array"), "/y: its type"),
        (|d| body(d)["properties"]["y"]["items"]["maximum"] = json!(8), "/y/*: maximum is tighter"),
        (|d| body(d)["properties"]["x"]["enum"] = json!(["a"]), "\"b\" is not taken any more"),
        (|d| body(d)["properties"]["x"]["enum"] = json!(["a", "b", "c"]), ""),
    ];
    for (edit, expected) in cases {
        let found = changes(&old, &document(edit));
        match expected {
            "" => assert_eq!(found, Vec::<String>::new()),
            expected => {
                assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
            }
        }
    }
}

fn answer(document: &mut Value) -> &mut Value {
    &mut document["paths"]["/a"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
}

fn body(document: &mut Value) -> &mut Value {
    &mut document["components"]["schemas"]["Body"]
}
