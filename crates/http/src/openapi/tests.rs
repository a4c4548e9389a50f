#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;

use crate::contract_values::{MAX_AMOUNT, MAX_COUNT, MAX_VALIDITY_DAYS};
use crate::error_code::{Audience, ErrorCode};
use crate::{dashboard, partner};

const PUBLISHED_DASHBOARD: &str = include_str!("../../../../e2e/contract/dashboard-openapi3.yaml");
const PUBLISHED_PARTNER: &str = include_str!("../../../../e2e/contract/partner-openapi3.yaml");

/// The calls that need no token.
const OPEN: [&str; 4] = ["signUp", "login", "verifyEmail", "resendVerificationEmail"];

/// Named in a published description, but by contract there is no such status.
const NO_SUCH_WORD: &str = "ACTIVE";

struct Document(Value);

type Problems = Vec<String>;

impl Document {
    fn ours(api: &utoipa::openapi::OpenApi) -> Self {
        Self(serde_json::to_value(api).unwrap())
    }

    fn published(yaml: &str) -> Self {
        Self(serde_yaml_ng::from_str(yaml).unwrap())
    }

    /// Every operation by its method and path.
    fn operations(&self) -> BTreeMap<(String, String), &Value> {
        let mut operations = BTreeMap::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                operations.insert((method.clone(), path.clone()), operation);
            }
        }
        operations
    }

    /// The schema behind references, and behind a choice between it and null.
    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.strip_prefix("#/components/schemas/").unwrap();
            return self.resolve(&self.0["components"]["schemas"][name]);
        }
        let choices = schema["oneOf"].as_array();
        match choices.and_then(|choices| choices.iter().find(|one| one["type"] != "null")) {
            Some(choice) => self.resolve(choice),
            None => schema,
        }
    }
}

/// The type without null; whole numbers are numbers.
fn type_of(schema: &Value) -> Option<&str> {
    let name = match &schema["type"] {
        Value::Array(types) => types.iter().find(|name| *name != "null")?.as_str()?,
        name => name.as_str()?,
    };
    Some(if name == "integer" { "number" } else { name })
}

fn names(list: &Value) -> BTreeSet<&str> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).collect()
}

/// The words of an enumeration in a published description.
fn words(description: &str) -> BTreeSet<&str> {
    description
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.len() > 3 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .filter(|word| *word != NO_SUCH_WORD)
        .collect()
}

struct Comparison<'a> {
    ours: &'a Document,
    theirs: &'a Document,
    problems: Problems,
}

impl Comparison<'_> {
    fn check(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }

    fn schema(&mut self, place: &str, ours: &Value, theirs: &Value, is_request: bool) {
        let (ours, theirs) = (self.ours.resolve(ours), self.theirs.resolve(theirs));
        let (our_type, their_type) = (type_of(ours), type_of(theirs));
        self.check(our_type == their_type, || {
            format!("{place}: {our_type:?}, published {their_type:?}")
        });
        let named = words(theirs["description"].as_str().unwrap_or_default());
        if !ours["enum"].is_null() && !named.is_empty() {
            let allowed = names(&ours["enum"]);
            self.check(named.is_subset(&allowed), || {
                format!("{place}: one of {allowed:?}, published {named:?}")
            });
        }
        let (our_required, required) = (names(&ours["required"]), names(&theirs["required"]));
        if is_request {
            self.check(our_required == required, || {
                format!("{place}: requires {our_required:?}, published {required:?}")
            });
        } else {
            self.check(required.is_subset(&our_required), || {
                format!("{place}: has {our_required:?}, published {required:?}")
            });
        }
        for (name, property) in theirs["properties"].as_object().into_iter().flatten() {
            let place = format!("{place}.{name}");
            match ours["properties"].get(name) {
                Some(own) => self.schema(&place, own, property, is_request),
                None => self.problems.push(format!("{place}: missing")),
            }
        }
        if let Some(items) = theirs.get("items") {
            self.schema(&format!("{place}[]"), &ours["items"], items, is_request);
        }
    }

    fn parameters(&mut self, place: &str, ours: &Value, theirs: &Value) {
        for published in theirs["parameters"].as_array().into_iter().flatten() {
            let name = &published["name"];
            let own = ours["parameters"].as_array().unwrap().iter();
            let same = |own: &&Value| own["name"] == *name && own["in"] == published["in"];
            let Some(own) = own.clone().find(same) else {
                self.problems
                    .push(format!("{place}: parameter {name} missing"));
                continue;
            };
            let place = format!("{place} {name}");
            self.check(own["required"] == published["required"], || {
                format!("{place}: required {}", own["required"])
            });
            self.check(own["schema"]["type"] == published["schema"]["type"], || {
                format!("{place}: {}", own["schema"])
            });
        }
    }

    fn response(&mut self, place: &str, ours: &Value, theirs: &Value) {
        let json = |response: &Value| response["content"]["application/json"].clone();
        let (own, published) = (json(ours), json(theirs));
        self.schema(place, &own["schema"], &published["schema"], false);
        for name in theirs["headers"]
            .as_object()
            .into_iter()
            .flat_map(|o| o.keys())
        {
            self.check(!ours["headers"][name].is_null(), || {
                format!("{place}: header {name} missing")
            });
        }
        for example in published["examples"]
            .as_object()
            .into_iter()
            .flat_map(|o| o.values())
        {
            let answer: Value = serde_json::from_str(example["value"].as_str().unwrap()).unwrap();
            if let Some(code) = answer["error"]["code"].as_str() {
                self.check(!own["examples"][code].is_null(), || {
                    format!("{place}: code {code} missing")
                });
            }
        }
    }

    fn document(mut self) -> Problems {
        let ours = self.ours.operations();
        for ((method, path), theirs) in self.theirs.operations() {
            let place = format!("{method} {path}");
            let Some(own) = ours.get(&(method, path)) else {
                self.problems.push(format!("{place}: missing"));
                continue;
            };
            self.parameters(&place, own, theirs);
            let body = |operation: &Value| {
                operation["requestBody"]["content"]["application/json"]["schema"].clone()
            };
            if !body(theirs).is_null() {
                self.schema(&format!("{place} body"), &body(own), &body(theirs), true);
            }
            for (status, response) in theirs["responses"].as_object().unwrap() {
                self.response(
                    &format!("{place} {status}"),
                    &own["responses"][status],
                    response,
                );
            }
        }
        self.problems
    }
}

fn both() -> [(Document, &'static str, Audience); 2] {
    [
        (
            Document::ours(&dashboard::document()),
            PUBLISHED_DASHBOARD,
            Audience::Dashboard,
        ),
        (
            Document::ours(&partner::document()),
            PUBLISHED_PARTNER,
            Audience::Partner,
        ),
    ]
}

#[test]
fn all_that_was_published_is_in_ours() {
    for (ours, yaml, _) in &both() {
        let theirs = &Document::published(yaml);
        assert!(theirs.operations().len() >= 6);
        let comparison = Comparison {
            ours,
            theirs,
            problems: Vec::new(),
        };
        let problems = comparison.document();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}

#[test]
fn what_differs_is_found() {
    let ours = &Document::ours(&dashboard::document());
    for (from, to) in [
        ("/v1/auth/login:", "/v1/auth/enter:"),
        ("- name: startDate", "- name: sinceDate"),
        (
            "        password:\n          type: string",
            "        password:\n          type: number",
        ),
        (
            "        - password\n      type: object",
            "      type: object",
        ),
        ("accessToken:\n", "accessKey:\n"),
        ("(FIXED_AMOUNT, PERCENTAGE)", "(FIXED_AMOUNT, BARTER)"),
        ("\"404\":", "\"418\":"),
        ("PASSWORD_MISMATCH", "PASSWORD_WRONG"),
    ] {
        let changed = PUBLISHED_DASHBOARD.replace(from, to);
        assert_ne!(changed, PUBLISHED_DASHBOARD, "{from}");
        let comparison = Comparison {
            ours,
            theirs: &Document::published(&changed),
            problems: Vec::new(),
        };
        assert!(!comparison.document().is_empty(), "{from}");
    }
}

#[test]
fn every_operation_is_named_and_described() {
    for (ours, _, audience) in &both() {
        let mut ids = HashSet::new();
        for (place, operation) in ours.operations() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{id} twice");
            assert!(id.starts_with(|c: char| c.is_ascii_lowercase()), "{id}");
            assert!(id.chars().all(|c| c.is_ascii_alphanumeric()), "{id}");
            for key in ["summary", "description"] {
                assert!(operation[key].is_string(), "{place:?} {key}");
            }
            assert_eq!(operation["tags"].as_array().unwrap().len(), 1);
            let open = OPEN.contains(&id);
            let security = operation["security"].to_string();
            let expected = match audience {
                _ if open => "null",
                Audience::Partner => r#"[{"clientId":[],"clientSecret":[]}]"#,
                _ => r#"[{"bearerAuth":[]}]"#,
            };
            assert_eq!(security, expected, "{id}");
        }
        let schemes = ours.0["components"]["securitySchemes"].as_object().unwrap();
        assert!(!schemes.is_empty());
        assert!(ours.0["openapi"].as_str().unwrap().starts_with("3.1"));
    }
}

#[test]
fn every_code_is_documented_where_it_belongs() {
    for (ours, _, audience) in &both() {
        let mut documented = BTreeSet::new();
        for operation in ours.operations().values() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let content = &response["content"]["application/json"];
                for (code, example) in content["examples"].as_object().into_iter().flatten() {
                    let value = &example["value"];
                    assert_eq!(value["error"]["code"], *code);
                    assert!(response["description"].as_str().unwrap().contains(code));
                    let known = ErrorCode::ALL.iter().any(|known| {
                        known.code() == code
                            && known.status().as_str() == status
                            && value["error"]["message"] == known.message()
                            && [Audience::Both, *audience].contains(&known.audience())
                    });
                    assert!(known, "{code}");
                    documented.insert(code.clone());
                }
            }
        }
        // These are of no operation, or of none yet.
        let general = [ErrorCode::NotFound, ErrorCode::MethodNotAllowed];
        let of_dashboard = [ErrorCode::Unauthorized, ErrorCode::Forbidden];
        let of_none = |code: &ErrorCode| {
            let is_partner = *audience == Audience::Partner;
            general.contains(code) || (is_partner && of_dashboard.contains(code))
        };
        let expected: BTreeSet<_> = ErrorCode::ALL
            .iter()
            .filter(|code| [Audience::Both, *audience].contains(&code.audience()))
            .filter(|code| !of_none(code))
            .map(|code| code.code().to_owned())
            .collect();
        assert_eq!(documented, expected);
    }
}

/// Returns whether `value` has exactly the keys and types of `schema`.
fn assert_valid(ours: &Document, place: &str, value: &Value, schema: &Value) {
    if value.is_null() {
        let choices = schema["oneOf"].as_array().map(Vec::as_slice);
        let nullable = names(&schema["type"]).contains("null")
            || choices.is_some_and(|all| all.iter().any(|one| one["type"] == "null"));
        return assert!(nullable, "{place} is null");
    }
    let schema = ours.resolve(schema);
    let kind = match value {
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        _ => "object",
    };
    assert_eq!(type_of(schema), Some(kind), "{place}");
    match value {
        Value::Object(members) => {
            let given: BTreeSet<_> = members.keys().map(String::as_str).collect();
            let required = names(&schema["required"]);
            assert!(required.is_subset(&given), "{place}: {given:?}");
            for (name, member) in members {
                let property = &schema["properties"][name];
                assert!(!property.is_null(), "{place}.{name} is unknown");
                assert_valid(ours, &format!("{place}.{name}"), member, property);
            }
        }
        Value::Array(items) => {
            for item in items {
                assert_valid(ours, &format!("{place}[]"), item, &schema["items"]);
            }
        }
        Value::String(text) => {
            let words = names(&schema["enum"]);
            assert!(
                words.is_empty() || words.contains(text.as_str()),
                "{place}: {text}"
            );
            let length = text.chars().count() as u64;
            let least = schema["minLength"].as_u64().unwrap_or(0);
            let most = schema["maxLength"].as_u64().unwrap_or(u64::MAX);
            assert!((least..=most).contains(&length), "{place}: {text}");
        }
        Value::Number(number) => {
            let number = number.as_i64().unwrap();
            let least = schema["minimum"].as_i64().unwrap_or(i64::MIN);
            let most = schema["maximum"].as_i64().unwrap_or(i64::MAX);
            assert!((least..=most).contains(&number), "{place}: {number}");
        }
        _ => {}
    }
}

#[test]
fn examples_keep_their_schemas() {
    for (ours, ..) in &both() {
        for ((method, path), operation) in ours.operations() {
            let success = &operation["responses"]["200"]["content"]["application/json"];
            let place = format!("{method} {path}");
            assert_valid(ours, &place, &success["example"], &success["schema"]);
            let body = &operation["requestBody"]["content"]["application/json"];
            if !body.is_null() {
                assert_valid(ours, &place, &body["example"], &body["schema"]);
            }
        }
    }
}

#[test]
fn every_answer_documents_its_trace_and_when_to_retry() {
    for (ours, ..) in &both() {
        for operation in ours.operations().values() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let headers = response["headers"].as_object().unwrap();
                assert!(headers.contains_key("X-Goodpon-Trace-Id"));
                let retry = headers.contains_key("Retry-After");
                assert_eq!(retry, ["409", "429", "503"].contains(&status.as_str()));
            }
        }
    }
}

/// The responses of the three calls that take keys, each with its status.
fn idempotent_responses(ours: &Document) -> Vec<(String, Value)> {
    let is_idempotent = |operation: &&&Value| {
        let parameters = operation["parameters"].as_array().unwrap();
        parameters
            .iter()
            .any(|one| one["name"] == "Idempotency-Key")
    };
    let operations = ours.operations();
    let calls: Vec<_> = operations.values().filter(is_idempotent).collect();
    assert_eq!(calls.len(), 3);
    calls
        .into_iter()
        .flat_map(|operation| operation["responses"].as_object().unwrap().clone())
        .collect()
}

#[test]
fn keys_are_documented_where_they_are_echoed_and_replays_where_answers_are_stored() {
    let ours = Document::ours(&partner::document());
    for (status, response) in idempotent_responses(&ours) {
        let has = |name: &str| !response["headers"][name].is_null();
        let echoed = !["401", "413"].contains(&status.as_str());
        let stored = ["200", "400", "403", "404"].contains(&status.as_str());
        assert_eq!(has("Idempotency-Key"), echoed, "{status}");
        assert_eq!(has("Idempotent-Replayed"), stored, "{status}");
    }
}

#[test]
fn whatever_may_have_a_body_may_have_too_large_a_one() {
    for (ours, ..) in &both() {
        for ((method, path), operation) in ours.operations() {
            let is_documented = !operation["responses"]["413"].is_null();
            assert_eq!(is_documented, method != "get", "{method} {path}");
        }
    }
}

#[test]
fn requests_document_the_bounds_of_the_contract() {
    let [(dashboard, ..), (partner, ..)] = &both();
    let schema = |document: &Document, request: &str, field: &str| {
        document.0["components"]["schemas"][request]["properties"][field].clone()
    };
    let template = "CreateCouponTemplateRequest";
    for (request, field, least, most) in [
        (template, "minOrderAmount", 1, MAX_AMOUNT),
        (template, "discountValue", 1, MAX_AMOUNT),
        (template, "maxDiscountAmount", 1, MAX_AMOUNT),
        (template, "validityDays", 1, MAX_VALIDITY_DAYS),
        (template, "maxIssueCount", 1, MAX_COUNT),
        (template, "maxRedeemCount", 1, MAX_COUNT),
        ("RedeemCouponRequest", "orderAmount", 0, MAX_AMOUNT),
    ] {
        let own = [dashboard, partner].map(|document| schema(document, request, field));
        let own = own.iter().find(|one| !one.is_null()).unwrap();
        assert_eq!(
            (&own["minimum"], &own["maximum"]),
            (&least.into(), &most.into()),
            "{field}"
        );
    }
    // Every text of a request has an end, but a password that is only compared.
    for document in [dashboard, partner] {
        let schemas = document.0["components"]["schemas"].as_object().unwrap();
        for (name, request) in schemas.iter().filter(|(name, _)| name.ends_with("Request")) {
            for (field, own) in request["properties"].as_object().unwrap() {
                let bounded = ["maxLength", "maximum", "enum", "pattern"];
                let bounded = bounded.iter().any(|key| !own[key].is_null());
                let formatted =
                    ["date", "password"].contains(&own["format"].as_str().unwrap_or(""));
                assert!(bounded || formatted, "{name}.{field}: {own}");
            }
        }
    }
    let user = schema(partner, "IssueCouponRequest", "userId");
    assert_eq!(
        (&user["minLength"], &user["maxLength"]),
        (&1.into(), &255.into())
    );
    let password = schema(dashboard, "SignUpRequest", "password");
    assert_eq!(
        (&password["minLength"], &password["maxLength"]),
        (&8.into(), &100.into())
    );
    assert_eq!(
        schema(dashboard, template, "issueEndDate")["format"],
        "date"
    );
    let key = &partner.operations()[&(
        "post".to_owned(),
        "/v1/user-coupons/{userCouponId}/cancel".to_owned(),
    )]["parameters"];
    let key = key
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "Idempotency-Key");
    assert_eq!(key.unwrap()["schema"]["maxLength"], 300);
}
