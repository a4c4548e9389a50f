//! Compares our OpenAPI documents with the two published files: everything published there is in ours (contract, preamble).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;

use goodpon_e2e::program::goodpon;
use goodpon_e2e::{Answer, Api, Options, World};
use serde_json::{Value, json};

const METHODS: [&str; 5] = ["get", "post", "put", "delete", "patch"];

fn published(name: &str) -> Value {
    let path = format!(
        "{}/contract/{name}-openapi3.yaml",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_yaml_ng::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn ours(name: &str) -> Value {
    let output = goodpon(&["openapi", name], &[]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Follows `$ref` and single-entry combinations to the schema itself.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.trim_start_matches('#');
        return resolve(
            document,
            document
                .pointer(pointer)
                .unwrap_or_else(|| panic!("dangling {reference}")),
        );
    }
    for combination in ["oneOf", "anyOf", "allOf"] {
        let parts: Vec<_> = schema[combination]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|part| part["type"] != "null")
            .collect();
        if let [only] = parts.as_slice() {
            return resolve(document, only);
        }
    }
    schema
}

/// Returns the types that a schema allows, without null, and with all numbers as one.
fn types(schema: &Value) -> Vec<String> {
    let named = match &schema["type"] {
        Value::Array(types) => types.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    let named = named
        .iter()
        .filter_map(Value::as_str)
        .filter(|name| *name != "null");
    named
        .map(|name| {
            if name == "integer" {
                "number".to_owned()
            } else {
                name.to_owned()
            }
        })
        .collect()
}

fn names(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// One comparison of two documents; differences are written down one a line.
struct Comparison {
    theirs: Value,
    ours: Value,
    differences: String,
}

impl Comparison {
    fn differ(&mut self, place: &str, what: &str) {
        let _ = writeln!(self.differences, "{place}: {what}");
    }

    /// `answer`: a property that they require is required in ours; in a request also the other way round,
    /// as what we require beyond would break their clients.
    fn schema(&mut self, place: &str, theirs: &Value, ours: &Value, answer: bool) {
        let (their_document, our_document) = (self.theirs.clone(), self.ours.clone());
        let theirs = resolve(&their_document, theirs);
        let ours = resolve(&our_document, ours);
        let (wanted, found) = (types(theirs), types(ours));
        if !wanted.is_empty() && wanted != found {
            self.differ(place, &format!("type {wanted:?}, ours {found:?}"));
            return;
        }
        for value in theirs["enum"].as_array().into_iter().flatten() {
            if !ours["enum"]
                .as_array()
                .is_some_and(|values| values.contains(value))
            {
                self.differ(place, &format!("enum value {value} is missing"));
            }
        }
        for name in names(&theirs["required"]) {
            // A success has data and error null and the reverse: the keys are always there.
            if !names(&ours["required"]).contains(&name) && !theirs["properties"][name].is_null() {
                self.differ(
                    place,
                    &format!("{name} is required there, optional in ours"),
                );
            }
        }
        if !answer {
            for name in names(&ours["required"]) {
                if !names(&theirs["required"]).contains(&name) {
                    self.differ(
                        place,
                        &format!("{name} is required in ours, optional there"),
                    );
                }
            }
        }
        for (name, theirs) in theirs["properties"].as_object().into_iter().flatten() {
            let ours = &ours["properties"][name];
            if ours.is_null() {
                self.differ(place, &format!("property {name} is missing"));
            } else {
                self.schema(&format!("{place}.{name}"), theirs, ours, answer);
            }
        }
        if !theirs["items"].is_null() {
            self.schema(
                &format!("{place}[]"),
                &theirs["items"],
                &ours["items"],
                answer,
            );
        }
    }

    fn parameters(&mut self, place: &str, theirs: &Value, ours: &Value, path_level: &Value) {
        let document = self.ours.clone();
        let all = [ours, path_level]
            .into_iter()
            .flat_map(|list| list.as_array().into_iter().flatten());
        let all: Vec<&Value> = all.map(|parameter| resolve(&document, parameter)).collect();
        for wanted in theirs.as_array().into_iter().flatten() {
            let name = wanted["name"].as_str().unwrap();
            if wanted["in"] == "header" && self.is_credential(name) {
                continue;
            }
            let same = |ours: &&&Value| {
                ours["in"] == wanted["in"]
                    && ours["name"]
                        .as_str()
                        .is_some_and(|ours| ours.eq_ignore_ascii_case(name))
            };
            let Some(found) = all.iter().find(same) else {
                self.differ(
                    place,
                    &format!("parameter {name} in {} is missing", wanted["in"]),
                );
                continue;
            };
            let required = |parameter: &Value| parameter["required"].as_bool().unwrap_or(false);
            if required(wanted) != required(found) {
                self.differ(
                    place,
                    &format!("parameter {name}: required {}", required(wanted)),
                );
            }
            // In a path or query every value is text on the wire: a number there is the same parameter.
            let kinds = types(resolve(&document, &found["schema"]));
            if !kinds
                .iter()
                .all(|kind| kind == "string" || kind == "number")
            {
                self.differ(place, &format!("parameter {name} has types {kinds:?}"));
            }
        }
    }

    /// Says that a header is in our security schemes, where OpenAPI wants it, rather than among the parameters.
    fn is_credential(&self, header: &str) -> bool {
        let schemes = self.ours["components"]["securitySchemes"].as_object();
        schemes.into_iter().flatten().any(|(_, scheme)| {
            (header == "Authorization" && scheme["type"] == "http" && scheme["scheme"] == "bearer")
                || (scheme["type"] == "apiKey"
                    && scheme["in"] == "header"
                    && scheme["name"] == header)
        })
    }

    fn operation(&mut self, place: &str, theirs: &Value, ours: &Value, path_level: &Value) {
        self.parameters(
            place,
            &theirs["parameters"],
            &ours["parameters"],
            path_level,
        );
        let json_schema =
            |content: &Value| content["content"]["application/json"]["schema"].clone();
        let wanted = json_schema(&theirs["requestBody"]);
        if !wanted.is_null() {
            let found = json_schema(&ours["requestBody"]);
            self.schema(&format!("{place} request"), &wanted, &found, false);
        }
        for (status, theirs) in theirs["responses"].as_object().into_iter().flatten() {
            let ours = &ours["responses"][status];
            if ours.is_null() {
                self.differ(place, &format!("status {status} is missing"));
                continue;
            }
            let ours = resolve(&self.ours, ours).clone();
            self.schema(
                &format!("{place} {status}"),
                &json_schema(theirs),
                &json_schema(&ours),
                true,
            );
            for (header, _) in theirs["headers"].as_object().into_iter().flatten() {
                let has = ours["headers"]
                    .as_object()
                    .is_some_and(|all| all.keys().any(|key| key.eq_ignore_ascii_case(header)));
                if !has {
                    self.differ(
                        place,
                        &format!("status {status}: header {header} is missing"),
                    );
                }
            }
        }
    }

    fn run(mut self) -> String {
        let paths = self.theirs["paths"].as_object().unwrap().clone();
        for (path, theirs) in paths {
            let ours = self.ours["paths"][&path].clone();
            for method in METHODS.iter().filter(|method| !theirs[**method].is_null()) {
                let place = format!("{method} {path}");
                if ours[*method].is_null() {
                    self.differ(&place, "is missing");
                } else {
                    self.operation(
                        &place,
                        &theirs[*method],
                        &ours[*method],
                        &ours["parameters"],
                    );
                }
            }
        }
        self.differences
    }
}

#[track_caller]
fn compare(name: &str) {
    let differences = Comparison {
        theirs: published(name),
        ours: ours(name),
        differences: String::new(),
    }
    .run();
    assert!(differences.is_empty(), "{name}:\n{differences}");
}

#[test]
fn the_dashboard_document_holds_the_published_one() {
    compare("dashboard");
}

#[test]
fn the_partner_document_holds_the_published_one() {
    compare("partner");
}

#[test]
fn the_comparison_can_fail() {
    let theirs = published("partner");
    let mut broken = theirs.clone();
    broken["paths"]["/v1/user-coupons"]["get"]["parameters"][0]["required"] = json!(false);
    broken["components"]["schemas"]["RedeemCouponRequest"]["properties"]["orderAmount"]["type"] =
        json!("string");
    broken["paths"]
        .as_object_mut()
        .unwrap()
        .remove("/v1/user-coupons/available");
    let differences = Comparison {
        theirs: theirs.clone(),
        ours: broken,
        differences: String::new(),
    }
    .run();
    for word in [
        "parameter userId",
        "orderAmount",
        "/v1/user-coupons/available: is missing",
    ] {
        assert!(
            differences.contains(word),
            "{word} is not in:\n{differences}"
        );
    }
    let same = Comparison {
        theirs: theirs.clone(),
        ours: theirs,
        differences: String::new(),
    }
    .run();
    assert_eq!(same, "");
}

/// Returns every operation of a document: its place, its path and itself.
fn operations(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        let present = METHODS.iter().filter(|method| !item[**method].is_null());
        present.map(move |method| (format!("{method} {path}"), item[*method].clone()))
    });
    all.collect()
}

#[test]
fn our_documents_are_complete() {
    let ours_beyond = [
        "post /v1/merchants/{merchantId}/client-secrets",
        "post /v1/merchants/{merchantId}/client-secrets/{secretId}/expire",
        "post /v1/merchants/{merchantId}/members",
        "delete /v1/merchants/{merchantId}/members/{merchantAccountId}",
        "post /v1/merchants/{merchantId}/coupon-templates/{couponTemplateId}/discard",
    ];
    let dashboard = ours("dashboard");
    let places: Vec<_> = operations(&dashboard)
        .into_iter()
        .map(|(place, _)| place)
        .collect();
    for place in ours_beyond {
        assert!(
            places.contains(&place.to_owned()),
            "{place} is missing: {places:?}"
        );
    }
    for document in [dashboard, ours("partner")] {
        assert!(
            document["openapi"]
                .as_str()
                .is_some_and(|version| version.starts_with("3.1"))
        );
        assert!(
            document["components"]["securitySchemes"]
                .as_object()
                .is_some_and(|schemes| !schemes.is_empty())
        );
        let mut ids = Vec::new();
        for (place, operation) in operations(&document) {
            let id = operation["operationId"]
                .as_str()
                .unwrap_or_else(|| panic!("{place} has no operation id"))
                .to_owned();
            let camel = id.chars().all(|letter| letter.is_ascii_alphanumeric())
                && id.starts_with(|c: char| c.is_ascii_lowercase());
            assert!(camel, "{place}: {id}");
            ids.push(id);
            assert!(!operation["responses"]["200"].is_null(), "{place}");
            let refusals = operation["responses"]
                .as_object()
                .unwrap()
                .keys()
                .filter(|status| status.starts_with('4'));
            assert!(refusals.count() > 0, "{place} tells no 4xx");
        }
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count, "operation ids are unique");
    }
}

#[test]
fn both_say_whom_to_ask() {
    for name in ["dashboard", "partner"] {
        let contact = &ours(name)["info"]["contact"];
        assert!(
            contact["name"].is_string() && contact["url"].is_string(),
            "{contact}"
        );
    }
}

/// Sends each call of both documents, as a stranger and as an allowed caller: no cache may keep any of the answers, and no
/// browser may take one for another type.
#[tokio::test]
async fn no_answer_is_for_a_cache_to_keep() {
    let world = World::with(Options::default()).await;
    let check = |answer: &Answer| {
        answer.no_store();
        let sent = answer.header("X-Content-Type-Options");
        assert_eq!(sent.as_deref(), Some("nosniff"), "{answer}");
    };
    for (api, name) in [(Api::Dashboard, "dashboard"), (Api::Partner, "partner")] {
        let document = ours(name);
        for (path, item) in document["paths"].as_object().unwrap() {
            let path: Vec<_> = path
                .split('/')
                .map(|part| if part.starts_with('{') { "1" } else { part })
                .collect();
            let path = path.join("/");
            for method in METHODS {
                let method = method.to_uppercase();
                check(&world.client.call(api, &method, &path).send().await);
                if item[method.to_lowercase()].is_null() || method == "DELETE" {
                    continue;
                }
                let call = world.client.call(api, &method, &path);
                let call = match api {
                    Api::Dashboard => call.bearer(world.owner.token.as_deref()),
                    Api::Partner => call
                        .header("X-Goodpon-Client-Id", &world.shop.client_id)
                        .header("X-Goodpon-Client-Secret", &world.shop.secret),
                };
                check(&call.send().await);
            }
        }
        check(&world.client.call(api, "GET", "/nothing").send().await);
        check(&world.client.call(api, "GET", "/docs/nothing").send().await);
    }
    check(
        &world
            .client
            .call(Api::Dashboard, "GET", "/verify?token=x")
            .send()
            .await,
    );
}

#[tokio::test]
async fn the_documentation_is_small_and_asked_for_once() {
    let world = World::with(Options::default()).await;
    for api in [Api::Dashboard, Api::Partner] {
        let get = async |path: &str, name: &str, value: &str| {
            let call = world.client.call(api, "GET", path).header(name, value);
            call.send().await
        };
        for path in [
            "/docs/",
            "/docs/swagger-ui-bundle.js",
            "/docs/swagger-ui.css",
            "/openapi.json",
        ] {
            let plain = get(path, "Accept-Encoding", "identity").await;
            let gzip = get(path, "Accept-Encoding", "gzip, deflate, br").await;
            assert_eq!((plain.status, gzip.status), (200, 200), "{path}");
            assert_eq!(
                gzip.header("Content-Encoding").as_deref(),
                Some("gzip"),
                "{path}"
            );
            assert!(plain.header("Content-Encoding").is_none());
            assert!(gzip.bytes.len() < plain.bytes.len(), "{path}");
            let tag = gzip.header("ETag").unwrap();
            assert_eq!(plain.header("ETag").as_ref(), Some(&tag), "{path}");
            let again = get(path, "If-None-Match", &tag).await;
            assert_eq!((again.status, again.bytes.len()), (304, 0), "{path}");
            let kept = gzip.header("Cache-Control").unwrap();
            assert!(!kept.contains("no-store"), "{path}: {kept}");
            for (name, word) in [
                ("Content-Security-Policy", "frame-ancestors 'none'"),
                ("Referrer-Policy", "no-referrer"),
                ("X-Content-Type-Options", "nosniff"),
            ] {
                let sent = gzip.header(name).unwrap_or_default();
                assert!(sent.contains(word), "{path}: {name} {sent}");
            }
        }
    }
}

#[tokio::test]
async fn the_documentation_can_be_left_out() {
    let world =
        World::with(Options::default().args(["--docs=false", "--hsts-max-age-secs=60"])).await;
    for api in [Api::Dashboard, Api::Partner] {
        for path in ["/docs", "/docs/", "/docs/swagger-ui.css", "/openapi.json"] {
            let answer = world.client.call(api, "GET", path).send().await;
            assert!((400..500).contains(&answer.status), "{answer}");
            let sent = answer.header("Strict-Transport-Security");
            assert_eq!(sent.as_deref(), Some("max-age=60"), "{answer}");
        }
    }
}
