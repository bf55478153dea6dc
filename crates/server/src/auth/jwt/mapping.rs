//! From what a token says to who its bearer is: `claimMappings` and the rules beside them.

use std::collections::BTreeMap;

use coracle_cel::Value as Made;
use coracle_cel::authentication::Expression;
use serde_json::{Value, json};

use super::configuration::{Issuer, Mapped, Rule};
use crate::auth::AUTHENTICATED;
use crate::pipeline::request::User;

/// Who bears a token that says `claims`.
///
/// # Errors
/// Why nobody does.
pub fn user(issuer: &Issuer, claims: &Value) -> Result<User, String> {
    let name = username(issuer, claims)?;
    let groups = groups(&issuer.groups, claims)?;
    let user = User {
        name,
        groups,
        uid: uid(&issuer.uid, claims)?,
        extra: extra(issuer, claims)?,
        is_engine: false,
    };
    for (claim, wanted) in &issuer.required {
        check_required(claims, claim, wanted)?;
    }
    check(&issuer.claim_rules, claims)
        .map_err(|why| format!("oidc: error evaluating claim validation expression: {why}"))?;
    let mut info = user.info();
    for (field, nothing) in [("uid", json!("")), ("groups", json!([])), ("extra", json!({}))] {
        if info[field].is_null() {
            info[field] = nothing;
        }
    }
    check(&issuer.user_rules, &info)
        .map_err(|why| format!("oidc: error evaluating user info validation rule: {why}"))?;
    Ok(with_group_of_all(user))
}

fn with_group_of_all(mut user: User) -> User {
    if !user.is_in(AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.into());
    }
    user
}

fn username(issuer: &Issuer, claims: &Value) -> Result<String, String> {
    let name = match &issuer.username {
        Mapped::Nothing => String::new(),
        Mapped::Claim { name, prefix } => {
            let said = claims[name].as_str();
            let missing = || format!("oidc: parse username claims {name:?}: claim not present");
            let said = said.ok_or_else(missing)?;
            // OpenID Connect Core 1.0, section 5.1: an address may be anybody's until it is verified.
            let is_verified =
                matches!(claims.get("email_verified"), None | Some(Value::Bool(true)));
            if name == "email" && !is_verified {
                return Err("oidc: email not verified".to_owned());
            }
            if said.is_empty() { String::new() } else { format!("{prefix}{said}") }
        }
        Mapped::Expression(expression) => text(expression, claims, "username")?,
    };
    match name.is_empty() {
        true => Err("oidc: the username is empty".to_owned()),
        false => Ok(name),
    }
}

fn text(expression: &Expression, claims: &Value, what: &str) -> Result<String, String> {
    let wrong = |why: String| format!("oidc: error evaluating {what} claim expression: {why}");
    match expression.of(claims).map_err(wrong)? {
        Made::Text(text) => Ok(text.to_string()),
        _ => Err(wrong(format!("{what} claim expression must return a string"))),
    }
}

fn groups(mapped: &Mapped, claims: &Value) -> Result<Vec<String>, String> {
    match mapped {
        Mapped::Nothing => Ok(Vec::new()),
        Mapped::Claim { name, prefix } => {
            let wrong =
                || format!("oidc: parse groups claim {name:?}: expected text or a list of it");
            let named = |group: &Value| Some(format!("{prefix}{}", group.as_str()?));
            match &claims[name] {
                Value::Null => Ok(Vec::new()),
                Value::Array(all) => all.iter().map(|it| named(it).ok_or_else(wrong)).collect(),
                one => Ok(vec![named(one).ok_or_else(wrong)?]),
            }
        }
        Mapped::Expression(expression) => {
            let wrong = |why| format!("oidc: error evaluating group claim expression: {why}");
            expression.of(claims).and_then(|made| texts(&made)).map_err(wrong)
        }
    }
}

fn uid(mapped: &Mapped, claims: &Value) -> Result<String, String> {
    match mapped {
        Mapped::Nothing => Ok(String::new()),
        Mapped::Claim { name, .. } => {
            let missing = || format!("oidc: parse uid claim {name:?}: claim not present");
            claims[name].as_str().map(str::to_owned).ok_or_else(missing)
        }
        Mapped::Expression(expression) => text(expression, claims, "uid"),
    }
}

fn extra(issuer: &Issuer, claims: &Value) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut extra = BTreeMap::new();
    if let Some(id) = claims["jti"].as_str().filter(|id| !id.is_empty()) {
        extra.insert(crate::auth::CREDENTIAL.to_owned(), vec![format!("JTI={id}")]);
    }
    for (key, expression) in &issuer.extra {
        let source = expression.source();
        let wrong = |why| format!("oidc: error evaluating extra claim expression: {source}: {why}");
        let values = expression.of(claims).and_then(|made| texts(&made)).map_err(wrong)?;
        if !values.is_empty() {
            extra.insert(key.clone(), values);
        }
    }
    Ok(extra)
}

/// Text, a list of it, or nothing; what is empty is not there.
fn texts(made: &Made) -> Result<Vec<String>, String> {
    let wrong = || "expression must return a string or a list of strings".to_owned();
    let all = match made {
        Made::Null => Vec::new(),
        Made::Text(text) => vec![text.to_string()],
        Made::List(list) => {
            let one = |item: Made| item.as_text().map(str::to_owned).ok_or_else(wrong);
            list.iter().map(one).collect::<Result<_, _>>()?
        }
        _ => return Err(wrong()),
    };
    Ok(all.into_iter().filter(|text| !text.is_empty()).collect())
}

fn check_required(claims: &Value, claim: &str, wanted: &str) -> Result<(), String> {
    match &claims[claim] {
        Value::Null => Err(format!("oidc: required claim {claim} not present in ID token")),
        Value::String(said) if said == wanted => Ok(()),
        Value::String(said) => Err(format!(
            "oidc: required claim {claim} value does not match. Got = {said}, want = {wanted}"
        )),
        _ => Err(format!("oidc: parse claim {claim}: expected text")),
    }
}

fn check(rules: &[Rule], subject: &Value) -> Result<(), String> {
    for Rule { expression, message } in rules {
        match expression.of(subject)? {
            Made::Bool(true) => {}
            Made::Bool(false) => {
                let source = expression.source();
                return Err(format!("validation expression '{source}' failed: {message}"));
            }
            _ => return Err("validation expression must return a boolean".to_owned()),
        }
    }
    Ok(())
}
