//! Who asks: certificates, rights and tokens.

use super::*;

#[test]
fn a_certificate_request_says_who_asks_and_keeps_what_was_decided() {
    let api = Harness::new();
    let csrs = "certificatesigningrequests";
    let body = json!({"metadata": {"name": "a"}, "spec": {"request": certificate_request(), "username": "root",
        "signerName": "example.com/s", "usages": ["client auth"]}});
    let made = api.create(csrs, "", body).unwrap();
    assert_eq!(made["spec"]["username"], "test");
    let write = |subresource: &str, conditions: Value| {
        let mut csr = made.clone();
        csr["metadata"]["resourceVersion"] = Value::Null;
        csr["spec"]["signerName"] = "example.com/other".into();
        csr["status"] = json!({"conditions": conditions});
        let mut request = api.request(Verb::Update, csrs, "", "a");
        (request.subresource, request.body) = (Subresource::parse(subresource), Body::Object(csr));
        request.user = User::system("approver");
        api.call(request).map(object)
    };
    assert_eq!(write("", Value::Null).unwrap(), made);
    let approved = json!({"type": "Approved", "status": "True"});
    let denied = json!({"type": "Denied", "status": "True"});
    let by_status = write("status", json!([approved])).unwrap_err();
    assert!(by_status.message.ends_with("updates may not add a condition of type \"Approved\""));
    let granted = write("approval", json!([approved])).unwrap();
    let since = &granted["status"]["conditions"][0]["lastTransitionTime"];
    assert_eq!(since, "2026-01-01T00:00:00Z");
    let other = json!({"type": "Approved", "status": "True", "reason": "another"});
    let failed = json!({"type": "Failed", "status": "True"});
    let kept = write("status", json!([failed, other])).unwrap()["status"]["conditions"].clone();
    assert_eq!((&kept[0]["type"], &kept[1]["reason"]), (&json!("Failed"), &Value::Null));
    let gone = write("status", json!([failed])).unwrap_err();
    assert!(gone.message.ends_with("updates may not remove a condition of type \"Approved\""));
    let both = write("approval", json!([failed, approved, denied])).unwrap_err();
    assert!(both.message.ends_with("mutually exclusive"), "{}", both.message);
    let none = write("approval", json!([failed])).unwrap_err();
    assert!(none.message.ends_with("a condition of type \"Approved\""), "{}", none.message);
}

#[test]
fn nobody_gives_rights_that_they_do_not_have() {
    let api = Harness::new();
    let role = json!({"metadata": {"name": "all"}, "rules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
    let mut request = api.request(Verb::Create, "clusterroles", "", "");
    request.body = Body::Object(role);
    request.user.groups = vec!["system:authenticated".into()];
    let refused = api.call(request.clone()).unwrap_err();
    assert!(
        refused.message.contains("not currently held:\n{APIGroups:[\"*\"]"),
        "{}",
        refused.message
    );
    request.user.groups = vec!["system:masters".into()];
    api.call(request).unwrap();
}

#[test]
fn tokens_hold_as_long_as_what_they_are_bound_to() {
    let api = Harness::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let tokens = Arc::new(crate::auth::tokens::Tokens::new(key.serialized_der()).unwrap());
    api.api.set_tokens(Arc::clone(&tokens));
    api.create("serviceaccounts", "default", json!({"metadata": {"name": "bot"}})).unwrap();
    let mut request = api.request(Verb::Create, "serviceaccounts", "default", "bot");
    request.subresource = Some(Subresource::Token);
    request.body = Body::Object(json!({"spec": {"audiences": ["us"], "expirationSeconds": 600}}));
    let answer = object(api.call(request.clone()).unwrap());
    assert_eq!(answer["status"]["expirationTimestamp"], "2026-01-01T00:10:00Z");
    let token = answer["status"]["token"].as_str().unwrap();
    let verify = |audience: &str, time: &str| {
        let snapshot = api.api.snapshot();
        tokens.verify(&snapshot, token, &[audience.to_owned()], time.parse().unwrap())
    };
    let (user, _) = verify("us", "2026-01-01T00:09:59Z").unwrap();
    assert_eq!(user.name, "system:serviceaccount:default:bot");
    assert!(user.is_in("system:serviceaccounts:default"));
    use crate::auth::tokens::TokenError;
    assert_eq!(verify("us", "2026-01-01T00:10:00Z").unwrap_err(), TokenError::Expired);
    assert_eq!(verify("them", "2026-01-01T00:00:00Z").unwrap_err(), TokenError::Audience);
    api.delete("serviceaccounts", "bot", json!({})).unwrap();
    assert_eq!(verify("us", "2026-01-01T00:00:00Z").unwrap_err(), TokenError::Invalidated);
    let forged = format!("{}x", &token[..token.len() - 1]);
    let snapshot = api.api.snapshot();
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    assert!(tokens.verify(&snapshot, &forged, &["us".to_owned()], now).is_err());
}
