use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use coracle_api::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair,
};
use serde_json::{Value, json};

use super::configuration::{Configuration, Issuer};
use super::keys::{self, Key};
use super::mapping;
use super::token::{Doubt, Token};
use crate::auth::tokens::ISSUER;
use crate::pipeline::request::User;

const URL: &str = "https://issuer.example.com";
const NOW: i64 = 1_800_000_000;

/// An issuer with one key.
struct Signer {
    key: EcdsaKeyPair,
    random: SystemRandom,
    algorithm: &'static str,
    curve: &'static str,
}

impl Signer {
    fn new(algorithm: &'static str) -> Self {
        let (signing, curve): (&EcdsaSigningAlgorithm, _) = match algorithm {
            "ES256" => (&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
            _ => (&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
        };
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(signing, document.as_ref(), &random).unwrap();
        Self { key, random, algorithm, curve }
    }

    fn jwk(&self) -> Value {
        let point = &self.key.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        let text = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": self.curve, "kid": "one", "use": "sig", "x": text(x), "y": text(y)})
    }

    fn keys(&self) -> Vec<Key> {
        keys::read(json!({"keys": [self.jwk()]}).to_string().as_bytes()).unwrap()
    }

    fn signed(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.key.sign(&self.random, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn token(&self, more: Value) -> String {
        let mut claims = json!({"iss": URL, "aud": "us", "sub": "anna", "exp": NOW + 60});
        claims.as_object_mut().unwrap().append(more.clone().as_object_mut().unwrap());
        self.signed(&json!({"alg": self.algorithm, "kid": "one"}), &claims)
    }
}

fn configuration(jwt: Value) -> Result<Configuration, String> {
    let whole = json!({"apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration", "jwt": jwt});
    Configuration::parse(&whole.to_string(), ISSUER)
}

/// The issuer with these parts beside what it must have.
fn issuer(more: Value) -> Result<Issuer, String> {
    let mut one = json!({
        "issuer": {"url": URL, "audiences": ["us", "them"], "audienceMatchPolicy": "MatchAny"},
        "claimMappings": {"username": {"claim": "sub", "prefix": "oidc:"}},
    });
    one.as_object_mut().unwrap().append(more.clone().as_object_mut().unwrap());
    configuration(json!([one])).map(|mut all| all.issuers.remove(0))
}

fn plain() -> Issuer {
    issuer(json!({})).unwrap()
}

fn judged(issuer: &Issuer, keys: &[Key], token: &str) -> Result<Value, Doubt> {
    let now = Timestamp::from_second(NOW).unwrap();
    Token::read(token).expect("a token").claims(issuer, keys, now)
}

fn refused(signer: &Signer, claims: Value) -> String {
    match judged(&plain(), &signer.keys(), &signer.token(claims)) {
        Err(Doubt::Refused(why) | Doubt::Unsigned(why)) => why,
        Ok(claims) => panic!("{claims}"),
    }
}

fn mapped(parts: Value, claims: Value) -> Result<User, String> {
    let issuer = issuer(parts)?;
    let signer = Signer::new("ES256");
    let claims = judged(&issuer, &signer.keys(), &signer.token(claims));
    mapping::user(&issuer, &claims.unwrap())
}

#[test]
fn a_token_is_believed_whose_signature_audience_and_time_are_right() {
    for algorithm in ["ES256", "ES384"] {
        let signer = Signer::new(algorithm);
        let claims = judged(&plain(), &signer.keys(), &signer.token(json!({"jti": "x"}))).unwrap();
        let user = mapping::user(&plain(), &claims).unwrap();
        assert_eq!(
            (&*user.name, &*user.groups),
            ("oidc:anna", &["system:authenticated".into()][..])
        );
        assert_eq!(user.extra["authentication.kubernetes.io/credential-id"], ["JTI=x"]);
        for several in [json!(["x", "them"]), json!("us")] {
            judged(&plain(), &signer.keys(), &signer.token(json!({"aud": several}))).unwrap();
        }
        // Clocks differ a little.
        judged(&plain(), &signer.keys(), &signer.token(json!({"nbf": NOW + 60}))).unwrap();
    }
}

#[test]
fn a_token_is_not_believed_that_is_for_others_or_not_for_now() {
    let signer = Signer::new("ES256");
    let told = |claims: Value, part: &str| {
        let why = refused(&signer, claims);
        assert!(why.contains(part), "{why}");
    };
    told(json!({"aud": "x"}), "expected audience in [\"us\" \"them\"] got [\"x\"]");
    told(json!({"aud": null}), "got []");
    told(json!({"aud": {"us": 1}}), "got []");
    told(json!({"exp": NOW - 1}), "token is expired");
    told(json!({"exp": null}), "token is expired");
    told(json!({"exp": "9999999999"}), "token is expired");
    told(json!({"nbf": NOW + 3600}), "before the nbf");
    told(json!({"iat": NOW + 3600}), "before the iat");
    told(json!({"iss": "https://other.example.com"}), "issued by a different provider");
}

#[test]
fn no_signature_counts_that_anybody_can_make() {
    let (signer, other) = (Signer::new("ES256"), Signer::new("ES256"));
    let keys = signer.keys();
    let token = signer.token(json!({}));
    let of = |keys: &[Key], token: &str| judged(&plain(), keys, token).unwrap_err();
    assert!(matches!(of(&other.keys(), &token), Doubt::Unsigned(_)));
    assert!(matches!(of(&[], &token), Doubt::Unsigned(_)));
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert!(matches!(of(&keys, &format!("{signed}.")), Doubt::Unsigned(_)));
    let (_, claims) = signed.split_once('.').unwrap();
    for algorithm in ["none", "None", "", "HS256", "ES512", "EdDSA"] {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": algorithm, "kid": "one"}).to_string());
        for signature in ["", "AAAA"] {
            let why = of(&keys, &format!("{header}.{claims}.{signature}"));
            let Doubt::Refused(why) = why else { panic!("{why:?}") };
            assert!(why.contains("unsupported algorithm"), "{why}");
        }
    }
    // A key is for its own kind of signature, and for what it says that it is for.
    let claims = json!({"iss": URL, "aud": "us", "sub": "anna", "exp": NOW + 60});
    for algorithm in ["RS256", "PS256", "ES384"] {
        let token = signer.signed(&json!({"alg": algorithm, "kid": "one"}), &claims);
        assert!(matches!(of(&keys, &token), Doubt::Unsigned(_)), "{algorithm}");
    }
    let mut jwk = signer.jwk();
    jwk["alg"] = "ES384".into();
    let set = json!({"keys": [jwk]}).to_string();
    assert!(matches!(of(&keys::read(set.as_bytes()).unwrap(), &token), Doubt::Unsigned(_)));
    let other_name = signer.signed(&json!({"alg": "ES256", "kid": "two"}), &claims);
    assert!(matches!(of(&keys, &other_name), Doubt::Unsigned(_)));
    let no_name = signer.signed(&json!({"alg": "ES256"}), &claims);
    judged(&plain(), &keys, &no_name).unwrap();
    let critical = signer.signed(&json!({"alg": "ES256", "crit": ["exp"]}), &claims);
    assert!(matches!(of(&keys, &critical), Doubt::Refused(_)));
}

#[test]
fn what_is_no_token_is_none() {
    for text in ["", ".", "..", "a.b.c", "e30.e30", "e30.W10.", "{}", "e30.e30.e30.e30"] {
        assert!(Token::read(text).is_none(), "{text}");
    }
    assert!(Token::read("e30.e30.").is_some());
    assert!(Token::read(&format!("e30.e30.{}", "A".repeat(1 << 20))).is_none());
}

#[test]
fn keys_that_are_of_no_use_are_left_out() {
    let signer = Signer::new("ES256");
    let read = |keys: Value| keys::read(json!({"keys": keys}).to_string().as_bytes());
    let small = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([255; 128]), "e": "AQAB"});
    let large = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([255; 256]), "e": "AQAB"});
    let mut encrypts = signer.jwk();
    encrypts["use"] = "enc".into();
    let mut off = signer.jwk();
    off["x"] = "AQ".into();
    let odd = json!([small, encrypts, off, {"kty": "oct", "k": "AAAA"}, {"kty": "OKP"}, 1, null]);
    let why = read(odd.clone()).unwrap_err();
    assert!(why.starts_with("of 7 keys none is of use: expected RSA of 2048"), "{why}");
    assert_eq!(read(json!([odd[0], large, signer.jwk()])).unwrap().len(), 2);
    assert_eq!(read(json!(vec![signer.jwk(); 1000])).unwrap().len(), 64);
    assert!(keys::read(b"{}").is_err() && keys::read(b"<html>").is_err());
}

#[test]
fn claims_become_a_user() {
    let parts = json!({"claimMappings": {
        "username": {"expression": "'team:' + claims.name"},
        "groups": {"expression": "claims.roles.filter(r, r != 'x').map(r, 'team:' + r)"},
        "uid": {"claim": "id"},
        "extra": [{"key": "example.com/tenant", "valueExpression": "claims.tenant"},
                  {"key": "example.com/none", "valueExpression": "''"}],
    }});
    let claims = json!({"name": "bob", "roles": ["dev", "x", ""], "id": "7", "tenant": ["a", "b"]});
    let user = mapped(parts.clone(), claims).unwrap();
    assert_eq!((&*user.name, &*user.uid), ("team:bob", "7"));
    assert_eq!(user.groups, ["team:dev", "team:", "system:authenticated"]);
    assert_eq!(json!(user.extra), json!({"example.com/tenant": ["a", "b"]}));
    let why = mapped(parts, json!({"name": 1})).unwrap_err();
    assert!(why.starts_with("oidc: error evaluating username claim expression: "), "{why}");

    let by_claims = json!({"claimMappings": {
        "username": {"claim": "email", "prefix": ""}, "groups": {"claim": "role", "prefix": "g:"}}});
    let of = |claims: Value| mapped(by_claims.clone(), claims);
    let user = of(json!({"email": "a@b.c", "role": "dev"})).unwrap();
    assert_eq!((&*user.name, &*user.groups[0]), ("a@b.c", "g:dev"));
    let two = of(json!({"email": "a@b.c", "role": ["x", "y"], "email_verified": true})).unwrap();
    assert_eq!(two.groups[..2], ["g:x", "g:y"]);
    for (claims, why) in [
        (json!({"email": "a", "email_verified": false}), "oidc: email not verified"),
        (json!({"email": "a", "email_verified": "true"}), "oidc: email not verified"),
        (json!({"email": "a", "email_verified": null}), "oidc: email not verified"),
        (json!({}), "oidc: parse username claims \"email\": claim not present"),
        (json!({"email": ""}), "oidc: the username is empty"),
        (
            json!({"email": "a", "role": [1]}),
            "oidc: parse groups claim \"role\": expected text or a list of it",
        ),
    ] {
        assert_eq!(of(claims).unwrap_err(), why);
    }
}

#[test]
fn rules_say_who_is_no_user() {
    let parts = json!({
        "claimValidationRules": [
            {"claim": "hd", "requiredValue": "example.com"},
            {"expression": "claims.exp - claims.nbf <= 86400", "message": "it holds for too long"},
        ],
        "userValidationRules": [
            {"expression": "!user.username.startsWith('oidc:system:')", "message": "reserved"},
            {"expression": "user.groups.all(g, g != 'x') && user.uid == ''"},
        ],
    });
    let of = |claims: Value| mapped(parts.clone(), claims);
    let good = json!({"hd": "example.com", "nbf": NOW});
    assert_eq!(of(good).unwrap().name, "oidc:anna");
    for (claims, why) in [
        (json!({}), "oidc: required claim hd not present in ID token"),
        (
            json!({"hd": "x"}),
            "oidc: required claim hd value does not match. Got = x, want = example.com",
        ),
        (json!({"hd": "example.com", "nbf": NOW - 90_000}), "failed: it holds for too long"),
        (json!({"hd": "example.com"}), "no such key: nbf"),
        (
            json!({"hd": "example.com", "nbf": NOW, "sub": "system:x"}),
            "oidc: error evaluating user info validation rule: validation expression '!user.username.startsWith('oidc:system:')' failed: reserved",
        ),
    ] {
        let told = of(claims).unwrap_err();
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn a_configuration_that_is_wrong_is_told_in_upstreams_words() {
    let told = |jwt: Value| configuration(jwt).unwrap_err();
    let all = told(json!([
        {"issuer": {"url": ISSUER, "discoveryURL": format!("{ISSUER}/"), "audiences": []},
         "claimMappings": {"username": {"claim": "sub"}, "groups": {"claim": "a", "expression": "b"}}},
        {"issuer": {"url": "http://u:p@x/?a#b", "audiences": ["a", "a", ""], "certificateAuthority": "x"},
         "claimMappings": {"username": {"expression": "claims.email", "prefix": "x"}, "extra": [
            {"key": "Foo", "valueExpression": "1"}, {"key": "a.k8s.io/b"},
            {"key": "example.com/a", "valueExpression": "claims."}]},
         "claimValidationRules": [{}, {"claim": "a", "message": "m"}, {"claim": "a", "expression": "true"},
            {"expression": "true", "requiredValue": "x"}, {"expression": "true"}, {"expression": "1"}],
         "userValidationRules": [{}, {"expression": "claims.x"}]},
        {"issuer": {"url": ISSUER, "audiences": ["a"], "audienceMatchPolicy": "All"}},
    ]));
    let own = ISSUER;
    for part in [
        &format!(
            "jwt[0].issuer.url: Invalid value: \"{own}\": URL must not overlap with disallowed issuers: [{own}]"
        ),
        &format!(
            "jwt[0].issuer.discoveryURL: Invalid value: \"{own}/\": discoveryURL must be different from URL"
        ),
        "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required",
        "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
        "jwt[0].claimMappings.groups: Invalid value: \"\": claim and expression can't both be set",
        "jwt[1].issuer.url: Invalid value: \"http://u:p@x/?a#b\": URL scheme must be https",
        "URL must not contain a username or password",
        "URL must not contain a query",
        "URL must not contain a fragment",
        "jwt[1].issuer.audiences[1]: Duplicate value: \"a\"",
        "jwt[1].issuer.audiences[2]: Required value",
        "jwt[1].issuer.audienceMatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences",
        "jwt[1].issuer.certificateAuthority: Invalid value: \"<omitted>\": data does not contain any valid RSA or ECDSA certificates",
        "jwt[1].claimMappings.username.prefix: Invalid value: \"x\": may not be specified when expression is set",
        "jwt[1].claimMappings.username.expression: Invalid value: \"claims.email\": claims.email_verified must be used in",
        "jwt[1].claimMappings.extra[0].key: Invalid value: \"Foo\": must be a domain-prefixed path",
        "jwt[1].claimMappings.extra[0].key: Invalid value: \"Foo\": must be lowercase",
        "jwt[1].claimMappings.extra[1].key: Invalid value: \"a.k8s.io/b\": k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use",
        "jwt[1].claimMappings.extra[1].valueExpression: Required value",
        "jwt[1].claimMappings.extra[2].valueExpression: Invalid value: \"claims.\": compilation failed: ERROR",
        "jwt[1].claimValidationRules[0]: Required value: claim or expression is required",
        "jwt[1].claimValidationRules[1].message: Invalid value: \"m\": may not be specified when claim is set",
        "jwt[1].claimValidationRules[2]: Invalid value: \"a\": claim and expression can't both be set",
        "jwt[1].claimValidationRules[3].requiredValue: Invalid value: \"x\": may not be specified when expression is set",
        "jwt[1].claimValidationRules[4].expression: Duplicate value: \"true\"",
        "jwt[1].claimValidationRules[5].expression: Invalid value: \"1\": must evaluate to bool",
        "jwt[1].userValidationRules[0].expression: Required value",
        "jwt[1].userValidationRules[1].expression: Invalid value: \"claims.x\": compilation failed: ERROR",
        "jwt[2].issuer.audienceMatchPolicy: Invalid value: \"All\": audienceMatchPolicy must be empty or MatchAny for single audience",
        "jwt[2].claimMappings.username: Required value: claim or expression is required",
        &format!("jwt[2].issuer.url: Duplicate value: \"{own}\""),
    ] {
        assert!(all.contains(part), "{part}\nis not in\n{all}");
    }
    let many = told(json!(vec![json!({}); 65]));
    assert_eq!(many, "jwt: Too many: 65: must have at most 64 items");
    let unknown = told(json!([{"issuers": {}}]));
    assert!(unknown.contains("unknown field `issuers`, expected one of"), "{unknown}");
}

#[test]
fn strangers_are_answered_as_the_configuration_says() {
    let parse = |anonymous: &str| {
        let head =
            "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\n";
        Configuration::parse(&format!("{head}{anonymous}"), ISSUER)
    };
    let allows = |anonymous: &str, path| parse(anonymous).unwrap().anonymous.unwrap().allows(path);
    assert!(parse("").unwrap().anonymous.is_none());
    assert!(allows("anonymous: {enabled: true}", "/api"));
    assert!(!allows("anonymous: {enabled: false}", "/livez"));
    let one = "anonymous: {enabled: true, conditions: [{path: /livez}]}";
    assert!(allows(one, "/livez") && !allows(one, "/livez/ping") && !allows(one, "/api"));
    let why = parse("anonymous: {conditions: [{path: /livez}]}").unwrap_err();
    assert_eq!(
        why,
        "anonymous.conditions: Invalid value: [{\"path\":\"/livez\"}]: enabled should be set to true \
         when conditions are defined"
    );
    let other = Configuration::parse("apiVersion: v1\nkind: List", ISSUER).unwrap_err();
    assert!(other.contains("expected \"apiserver.config.k8s.io/v1\""), "{other}");
}
