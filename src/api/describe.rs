//! `GET /openapi.json`: the API in the words of OpenAPI 3.1.
//!
//! `openapi.json` beside this file says what each path takes and answers. What follows from
//! the code is added to it: the version, the statuses and forms of all errors, and the HEAD
//! and OPTIONS of every path. Tests hold the file against the routes and the codes of errors.
//!
//! An operation of the file lists its errors as `x-errors`: codes, or `@NAME` for the group
//! of `x-error-groups` by that name. Every operation has those of the group `all` as well.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use serde_json::{Map, Value, json};

use super::{Code, route::Route};
use crate::http::FaultCode;

/// What is written by hand.
const WRITTEN: &str = include_str!("openapi.json");

/// The operations that the file describes; HEAD and OPTIONS follow from them.
const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

/// The description of the API, a JSON text.
///
/// Costs about a millisecond the first time.
pub(super) fn description() -> &'static [u8] {
    static DESCRIPTION: LazyLock<Vec<u8>> = LazyLock::new(|| described().to_string().into_bytes());
    &DESCRIPTION
}

/// The whole document.
fn described() -> Value {
    let mut document: Value = serde_json::from_str(WRITTEN).expect("a test reads the file");
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    let mut errors = Errors::of(&mut document);
    let unplaced = errors.codes(document["x-errors"].take());
    errors.responses(unplaced);
    document["components"]["schemas"]["ErrorCode"] = errors.schema();
    for (path, route) in Route::all() {
        // A test finds the paths that the file lacks.
        let item = document["paths"]
            .get_mut(&path)
            .and_then(Value::as_object_mut);
        if let Some(item) = item {
            complete(item, route, &mut errors);
        }
    }
    let responses = document["components"]["responses"].as_object_mut();
    responses
        .expect("the file has components.responses")
        .append(&mut errors.responses);
    let members = document.as_object_mut().expect("an object");
    members.retain(|key, _| !key.starts_with("x-"));
    document
}

/// Adds to the description of a path what follows from the code.
fn complete(item: &mut Map<String, Value>, route: Route<'_>, errors: &mut Errors) {
    for method in METHODS {
        let Some(operation) = item.get_mut(method) else {
            continue;
        };
        let mut codes = errors.codes(operation["x-errors"].take());
        if !route.is_open() {
            codes.extend(errors.codes(json!(["@guarded"])));
        }
        let references = errors.responses(codes);
        let members = operation.as_object_mut().expect("an operation");
        members.remove("x-errors");
        let responses = members["responses"].as_object_mut().expect("an object");
        responses.extend(references);
    }
    if let Some(get) = item.get("get") {
        item.insert("head".to_owned(), head_of(get, errors));
    }
    item.insert("options".to_owned(), options_of(route, errors));
}

/// The HEAD of a path whose GET is `get`: the same without bodies.
fn head_of(get: &Value, errors: &Errors) -> Value {
    let mut head = get.clone();
    let members = head.as_object_mut().expect("an operation");
    members.remove("requestBody");
    let name = |key: &str| members[key].as_str().expect("a text").to_owned();
    let (id, summary) = (name("operationId"), name("summary"));
    members.insert("operationId".to_owned(), format!("{id}Head").into());
    let summary = format!("The head of the answer to GET: {summary}");
    members.insert("summary".to_owned(), summary.into());
    let responses = members["responses"].as_object_mut().expect("an object");
    for response in responses.values_mut() {
        if let Some(name) = response["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap_or_default();
            if let Some(error) = errors.responses.get(name) {
                *response = error.clone();
            }
        }
        if let Some(members) = response.as_object_mut() {
            members.remove("content");
        }
    }
    head
}

/// The OPTIONS of a path.
fn options_of(route: Route<'_>, errors: &mut Errors) -> Value {
    let references = errors.responses(BTreeSet::new());
    let mut headers = json!({"Allow": {"$ref": "#/components/headers/Allow"}});
    if let Route::Document(_) = route {
        headers["Accept-Patch"] = json!({"$ref": "#/components/headers/Accept-Patch"});
    }
    let mut responses =
        json!({"204": {"description": "The methods are in Allow", "headers": headers}});
    responses
        .as_object_mut()
        .expect("an object")
        .extend(references);
    json!({
        "security": [],
        "summary": format!("The methods of the path: {}", route.allow()),
        "tags": ["Server"],
        "responses": responses,
    })
}

/// The codes of errors with their statuses, and the responses that have them.
struct Errors {
    statuses: BTreeMap<&'static str, u16>,
    /// Codes by the names of their groups.
    groups: BTreeMap<String, Vec<String>>,
    /// Made so far, by names that list their codes.
    responses: Map<String, Value>,
}

impl Errors {
    /// All of the code, and the groups of `document`.
    fn of(document: &mut Value) -> Errors {
        let codes = Code::ALL
            .iter()
            .map(|code| (code.text(), code.status().code()));
        let faults = FaultCode::ALL
            .iter()
            .map(|code| (code.text(), code.status().code()));
        Errors {
            statuses: codes.chain(faults).collect(),
            groups: serde_json::from_value(document["x-error-groups"].take())
                .expect("a test reads the file"),
            responses: Map::new(),
        }
    }

    /// The codes that a list of codes and groups means.
    fn codes(&self, listed: Value) -> BTreeSet<&'static str> {
        let mut codes = BTreeSet::new();
        let listed: Option<Vec<String>> = serde_json::from_value(listed).expect("a list of texts");
        for name in listed.unwrap_or_default() {
            match name.strip_prefix('@') {
                Some(group) => codes.extend(self.groups[group].iter().map(|name| self.known(name))),
                None => {
                    codes.insert(self.known(&name));
                }
            }
        }
        codes
    }

    /// The code by that name.
    ///
    /// # Panics
    /// If there is none; a test builds the description.
    fn known(&self, name: &str) -> &'static str {
        let found = self.statuses.get_key_value(name);
        found
            .unwrap_or_else(|| panic!("openapi.json: no code {name}"))
            .0
    }

    /// References to the responses of an operation that has the errors `codes` beside those
    /// of all, by status.
    fn responses(&mut self, mut codes: BTreeSet<&'static str>) -> Map<String, Value> {
        codes.extend(self.groups["all"].iter().map(|name| self.known(name)));
        let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
        for code in codes {
            by_status.entry(self.statuses[code]).or_default().push(code);
        }
        let mut references = Map::new();
        for (status, codes) in by_status {
            let name = codes.join(".");
            let reference = format!("#/components/responses/{name}");
            references.insert(status.to_string(), json!({"$ref": reference}));
            self.responses.insert(name, error_response(status, &codes));
        }
        references
    }

    /// The schema of every code.
    fn schema(&self) -> Value {
        let codes: Vec<_> = self.statuses.keys().collect();
        json!({"description": "The stable name of a kind of error", "enum": codes})
    }
}

/// The response to what fails with one of `codes`, which all have `status`.
fn error_response(status: u16, codes: &[&str]) -> Value {
    let header = |name: &str| json!({"$ref": format!("#/components/headers/{name}")});
    let mut response = json!({
        "description": codes.join(", "),
        "content": {"application/json": {"schema": {
            "type": "object",
            "required": ["error", "message"],
            "properties": {
                "error": {"enum": codes},
                "message": {"type": "string"},
                "index": {
                    "type": "integer", "minimum": 0,
                    "description": "The place of the operation with which an atomic batch failed",
                },
            },
            "additionalProperties": false,
        }}},
    });
    match status {
        401 | 403 => response["headers"] = json!({"WWW-Authenticate": header("WWW-Authenticate")}),
        405 => response["headers"] = json!({"Allow": header("Allow")}),
        415 => {
            response["headers"] = json!({
                "Accept-Patch": header("Accept-Patch"),
                "Accept-Encoding": header("Accept-Encoding"),
            });
        }
        503 => response["headers"] = json!({"Retry-After": header("Retry-After")}),
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_described_with_the_methods_that_it_takes() {
        let document = described();
        let described: BTreeMap<String, BTreeSet<String>> = document["paths"]
            .as_object()
            .expect("paths")
            .iter()
            .map(|(path, item)| {
                let keys = item.as_object().expect("a path").keys();
                let methods = keys.filter(|key| *key != "parameters");
                (path.clone(), methods.cloned().collect())
            })
            .collect();
        let taken: BTreeMap<String, BTreeSet<String>> = Route::all()
            .map(|(path, route)| {
                let methods = route.allow().split(", ").map(str::to_lowercase);
                (path, methods.collect())
            })
            .collect();
        assert_eq!(described, taken, "left: src/api/openapi.json");
    }

    #[test]
    fn every_code_of_an_error_is_the_answer_of_some_operation() {
        let document = described();
        let responses = document["components"]["responses"]
            .as_object()
            .expect("responses");
        let named: BTreeSet<&str> = responses.keys().flat_map(|name| name.split('.')).collect();
        let codes = Code::ALL.iter().map(|code| code.text());
        let codes = codes.chain(FaultCode::ALL.iter().map(|code| code.text()));
        let missing: Vec<_> = codes.filter(|code| !named.contains(code)).collect();
        assert!(
            missing.is_empty(),
            "src/api/openapi.json lists no {missing:?}"
        );
    }

    #[test]
    fn every_reference_leads_somewhere_and_nothing_is_left_over() {
        let document = described();
        let mut references = BTreeSet::new();
        let mut pending = vec![&document];
        while let Some(value) = pending.pop() {
            match value {
                Value::Object(members) => {
                    for (key, value) in members {
                        assert!(!key.starts_with("x-"), "{key} is ours alone");
                        pending.push(value);
                    }
                    let reference = members.get("$ref").and_then(Value::as_str);
                    references.extend(reference.map(|reference| reference.replace('#', "")));
                }
                Value::Array(elements) => pending.extend(elements),
                _ => {}
            }
        }
        for reference in &references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
        for kind in ["schemas", "parameters", "headers"] {
            let names = document["components"][kind]
                .as_object()
                .expect("an object")
                .keys();
            for name in names {
                let reference = format!("/components/{kind}/{name}");
                assert!(references.contains(&reference), "{reference} is not used");
            }
        }
    }

    #[test]
    fn no_operation_has_the_name_of_another() {
        let document = described();
        let mut seen = BTreeSet::new();
        for item in document["paths"].as_object().expect("paths").values() {
            for operation in item.as_object().expect("a path").values() {
                if let Some(id) = operation["operationId"].as_str() {
                    assert!(seen.insert(id), "{id} twice");
                }
            }
        }
        assert!(seen.len() > METHODS.len());
    }
}
