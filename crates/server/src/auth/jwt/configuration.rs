//! `AuthenticationConfiguration` of `apiserver.config.k8s.io`: read, and checked in the words of
//! upstream's `apiserver/pkg/apis/apiserver/validation`.

use std::collections::BTreeSet;

use coracle_api::text::names;
use coracle_api::{FieldError, FieldErrorKind};
use coracle_cel::authentication::{About, Expression};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::{Value, json};

/// Issuers that there may be.
const ISSUERS_MAX: usize = 64;
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];

/// Whom the API believes beside itself.
#[derive(Debug, Default)]
pub struct Configuration {
    /// Whose tokens are believed.
    pub issuers: Vec<Issuer>,
    /// What becomes of requests without credentials; as always when nothing is said.
    pub anonymous: Option<Anonymous>,
}

/// What becomes of requests without credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Anonymous {
    /// Whether they are answered at all.
    #[serde(default)]
    pub enabled: bool,
    /// On which paths; on all when there are none.
    #[serde(default)]
    pub conditions: Vec<AnonymousCondition>,
}

/// Where requests without credentials are answered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnonymousCondition {
    /// `/livez`
    pub path: String,
}

/// An issuer, and what is made of its tokens.
#[derive(Debug)]
pub struct Issuer {
    /// What it calls itself in tokens, and below which its configuration is.
    pub url: String,
    /// Where its configuration is instead; empty for below `url`.
    pub discovery_url: String,
    /// Who vouches for it, in PEM; empty for those that the host trusts.
    pub authority: String,
    /// Whom its tokens are meant for: one of these will do.
    pub audiences: Vec<String>,
    pub(super) username: Mapped,
    pub(super) groups: Mapped,
    pub(super) uid: Mapped,
    pub(super) extra: Vec<(String, Expression)>,
    pub(super) required: Vec<(String, String)>,
    pub(super) claim_rules: Vec<Rule>,
    pub(super) user_rules: Vec<Rule>,
}

/// Where a part of a user comes from.
#[derive(Debug)]
pub(super) enum Mapped {
    Nothing,
    Claim { name: String, prefix: String },
    Expression(Box<Expression>),
}

/// What must hold.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) expression: Expression,
    pub(super) message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    jwt: Option<Vec<WrittenAuthenticator>>,
    anonymous: Option<Anonymous>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WrittenAuthenticator {
    issuer: WrittenIssuer,
    claim_validation_rules: Option<Vec<WrittenClaimRule>>,
    claim_mappings: WrittenMappings,
    user_validation_rules: Option<Vec<WrittenUserRule>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WrittenIssuer {
    url: String,
    #[serde(rename = "discoveryURL")]
    discovery_url: String,
    certificate_authority: String,
    audiences: Option<Vec<String>>,
    audience_match_policy: String,
    egress_selector_type: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WrittenClaimRule {
    claim: String,
    required_value: String,
    expression: String,
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WrittenUserRule {
    expression: String,
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WrittenMappings {
    username: WrittenMapping,
    groups: WrittenMapping,
    uid: WrittenUid,
    extra: Option<Vec<WrittenExtra>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WrittenMapping {
    claim: String,
    prefix: Option<String>,
    expression: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WrittenUid {
    claim: String,
    expression: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WrittenExtra {
    key: String,
    value_expression: String,
}

impl Configuration {
    /// The configuration in `text`, which is YAML or JSON. `own` is what we call ourselves in tokens:
    /// nobody else may.
    ///
    /// # Errors
    /// What is wrong with it, all of it at once where it can be read at all.
    pub fn parse(text: &str, own: &str) -> Result<Self, String> {
        let written: Written = serde_norway::from_str(text).map_err(|error| error.to_string())?;
        let Written { api_version, kind, jwt, anonymous } = written;
        let version = api_version.strip_prefix("apiserver.config.k8s.io/").unwrap_or_default();
        if !VERSIONS.contains(&version) || kind != "AuthenticationConfiguration" {
            return Err(format!(
                "it says apiVersion {api_version:?} and kind {kind:?}: expected \
                 \"apiserver.config.k8s.io/v1\" and \"AuthenticationConfiguration\""
            ));
        }
        let jwt = jwt.unwrap_or_default();
        if jwt.len() > ISSUERS_MAX {
            let kind = FieldErrorKind::TooMany(jwt.len(), ISSUERS_MAX);
            let error = FieldError { field: "jwt".into(), kind, detail: String::new() };
            return Err(error.to_string());
        }
        let mut reader = Reader { own, errors: Vec::new() };
        let issuers = reader.authenticators(jwt);
        reader.anonymous(anonymous.as_ref());
        match reader.errors.as_slice() {
            [] => Ok(Self { issuers, anonymous }),
            errors => Err(FieldError::list(errors)),
        }
    }
}

impl Issuer {
    /// Whether its keys come from where those of `other` do, which the same authority vouches for.
    pub(in crate::auth) fn has_keys_of(&self, other: &Self) -> bool {
        (&self.url, &self.discovery_url, &self.authority)
            == (&other.url, &other.discovery_url, &other.authority)
    }
}

impl Anonymous {
    /// Whether a request without credentials is answered on `path`.
    #[must_use]
    pub fn allows(&self, path: &str) -> bool {
        let mut conditions = self.conditions.iter();
        self.enabled && (self.conditions.is_empty() || conditions.any(|it| it.path == path))
    }
}

/// Reads on, whatever is wrong so far.
struct Reader<'a> {
    own: &'a str,
    errors: Vec<FieldError>,
}

impl Reader<'_> {
    fn invalid(&mut self, field: String, value: impl Into<Value>, why: impl Into<String>) {
        self.errors.push(FieldError::invalid(field, &value.into(), why));
    }

    fn required(&mut self, field: String, why: impl Into<String>) {
        self.errors.push(FieldError::required(field, why));
    }

    fn duplicate(&mut self, field: String, value: &str) {
        self.errors.push(FieldError::duplicate(field, &value.into()));
    }

    fn anonymous(&mut self, anonymous: Option<&Anonymous>) {
        if let Some(Anonymous { enabled: false, conditions }) = anonymous
            && !conditions.is_empty()
        {
            let paths: Vec<Value> = conditions.iter().map(|it| json!({"path": it.path})).collect();
            let why = "enabled should be set to true when conditions are defined";
            self.invalid("anonymous.conditions".into(), paths, why);
        }
    }

    fn authenticators(&mut self, all: Vec<WrittenAuthenticator>) -> Vec<Issuer> {
        let (mut urls, mut discovery_urls) = (BTreeSet::new(), BTreeSet::new());
        let mut issuers = Vec::new();
        for (at, written) in all.into_iter().enumerate() {
            let path = format!("jwt[{at}]");
            let issuer = self.authenticator(written, &path);
            if !urls.insert(issuer.url.clone()) {
                self.duplicate(format!("{path}.issuer.url"), &issuer.url);
            }
            let elsewhere = &issuer.discovery_url;
            if !elsewhere.is_empty() && !discovery_urls.insert(elsewhere.clone()) {
                self.duplicate(format!("{path}.issuer.discoveryURL"), elsewhere);
            }
            issuers.push(issuer);
        }
        issuers
    }

    fn authenticator(&mut self, written: WrittenAuthenticator, path: &str) -> Issuer {
        let WrittenAuthenticator { issuer, claim_mappings, .. } = written;
        self.issuer(&issuer, &format!("{path}.issuer"));
        let rules = written.claim_validation_rules.unwrap_or_default();
        let (required, claim_rules) =
            self.claim_rules(rules, &format!("{path}.claimValidationRules"));
        let at = format!("{path}.claimMappings");
        let WrittenMappings { username, groups, uid, extra } = claim_mappings;
        let named = username.expression.clone();
        let username = self.mapped(username, &format!("{at}.username"), true);
        let groups = self.mapped(groups, &format!("{at}.groups"), false);
        let uid = self.uid(uid, &format!("{at}.uid"));
        let extra = self.extra(extra.unwrap_or_default(), &format!("{at}.extra"));
        self.verified_email(&username, &named, &extra, &claim_rules, &at);
        let rules = written.user_validation_rules.unwrap_or_default();
        let user_rules = self.user_rules(rules, &format!("{path}.userValidationRules"));
        Issuer {
            url: issuer.url,
            discovery_url: issuer.discovery_url,
            authority: issuer.certificate_authority,
            audiences: issuer.audiences.unwrap_or_default(),
            username,
            groups,
            uid,
            extra,
            required,
            claim_rules,
            user_rules,
        }
    }

    fn issuer(&mut self, issuer: &WrittenIssuer, path: &str) {
        let at = format!("{path}.url");
        if issuer.url.is_empty() {
            self.required(at, "");
        } else {
            if issuer.url == self.own {
                let why = format!("URL must not overlap with disallowed issuers: [{}]", self.own);
                self.invalid(at.clone(), &*issuer.url, why);
            }
            self.url(&issuer.url, &at);
        }
        let elsewhere = &issuer.discovery_url;
        if !elsewhere.is_empty() {
            let at = format!("{path}.discoveryURL");
            if issuer.url.trim_end_matches('/') == elsewhere.trim_end_matches('/') {
                self.invalid(at.clone(), &**elsewhere, "discoveryURL must be different from URL");
            }
            self.url(elsewhere, &at);
        }
        self.audiences(issuer, path);
        let pem = issuer.certificate_authority.as_bytes();
        let mut certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
        if !pem.is_empty() && certificates.next().is_none() {
            let why = "data does not contain any valid RSA or ECDSA certificates";
            self.invalid(format!("{path}.certificateAuthority"), "<omitted>", why);
        }
        let egress = &issuer.egress_selector_type;
        if !egress.is_empty() {
            let why = "there is no other way out of here than the host's: expected none";
            self.invalid(format!("{path}.egressSelectorType"), &**egress, why);
        }
    }

    fn url(&mut self, url: &str, path: &str) {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        for (is_wrong, why) in [
            (scheme != "https", "URL scheme must be https"),
            (authority.contains('@'), "URL must not contain a username or password"),
            (!query.is_empty(), "URL must not contain a query"),
            (!fragment.is_empty(), "URL must not contain a fragment"),
            (
                host.is_empty() || url.parse::<http::Uri>().is_err(),
                "expected https://HOST[:PORT][/PATH]",
            ),
        ] {
            if is_wrong {
                self.invalid(path.to_owned(), url, why);
            }
        }
    }

    fn audiences(&mut self, issuer: &WrittenIssuer, path: &str) {
        let audiences = issuer.audiences.as_deref().unwrap_or_default();
        let at = format!("{path}.audiences");
        if audiences.is_empty() {
            return self.required(at.clone(), format!("at least one {at} is required"));
        }
        let mut seen = BTreeSet::new();
        for (index, audience) in audiences.iter().enumerate() {
            if audience.is_empty() {
                self.required(format!("{at}[{index}]"), "");
            }
            if !seen.insert(audience) {
                self.duplicate(format!("{at}[{index}]"), audience);
            }
        }
        let policy = &*issuer.audience_match_policy;
        let why = match (audiences.len(), policy) {
            (_, "MatchAny") | (1, "") => return,
            (1, _) => "audienceMatchPolicy must be empty or MatchAny for single audience",
            _ => "audienceMatchPolicy must be MatchAny for multiple audiences",
        };
        self.invalid(format!("{path}.audienceMatchPolicy"), policy, why);
    }

    fn claim_rules(
        &mut self,
        all: Vec<WrittenClaimRule>,
        path: &str,
    ) -> (Vec<(String, String)>, Vec<Rule>) {
        let (mut required, mut rules) = (Vec::<(String, String)>::new(), Vec::<Rule>::new());
        for (at, written) in all.into_iter().enumerate() {
            let path = format!("{path}[{at}]");
            let WrittenClaimRule { claim, required_value, expression, message } = written;
            match (claim.is_empty(), expression.is_empty()) {
                (false, false) => {
                    self.invalid(path, &*claim, "claim and expression can't both be set");
                }
                (true, true) => self.required(path, "claim or expression is required"),
                (false, true) => {
                    if !message.is_empty() {
                        let why = "may not be specified when claim is set";
                        self.invalid(format!("{path}.message"), message, why);
                    }
                    if required.iter().any(|(known, _)| *known == claim) {
                        self.duplicate(format!("{path}.claim"), &claim);
                    }
                    required.push((claim, required_value));
                }
                (true, false) => {
                    if !required_value.is_empty() {
                        let why = "may not be specified when expression is set";
                        self.invalid(format!("{path}.requiredValue"), required_value, why);
                    }
                    self.rule(&expression, message, About::Claims, &path, &mut rules);
                }
            }
        }
        (required, rules)
    }

    fn user_rules(&mut self, all: Vec<WrittenUserRule>, path: &str) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (at, WrittenUserRule { expression, message }) in all.into_iter().enumerate() {
            let path = format!("{path}[{at}]");
            match expression.is_empty() {
                true => self.required(format!("{path}.expression"), ""),
                false => self.rule(&expression, message, About::User, &path, &mut rules),
            }
        }
        rules
    }

    fn rule(
        &mut self,
        source: &str,
        message: String,
        about: About,
        path: &str,
        rules: &mut Vec<Rule>,
    ) {
        let at = format!("{path}.expression");
        if rules.iter().any(|rule| rule.expression.source() == source) {
            return self.duplicate(at, source);
        }
        match Expression::rule(source, about) {
            Ok(expression) => rules.push(Rule { expression, message }),
            Err(why) => self.invalid(at, source, why),
        }
    }

    fn expression(&mut self, source: &str, path: String) -> Option<Expression> {
        match Expression::new(source, About::Claims) {
            Ok(expression) => Some(expression),
            Err(why) => {
                self.invalid(path, source, why);
                None
            }
        }
    }

    fn mapped(&mut self, mapping: WrittenMapping, path: &str, is_required: bool) -> Mapped {
        let WrittenMapping { claim, prefix, expression } = mapping;
        match (claim.is_empty(), expression.is_empty()) {
            (false, false) => {
                self.invalid(path.to_owned(), "", "claim and expression can't both be set");
            }
            (true, true) if is_required => {
                self.required(path.to_owned(), "claim or expression is required");
            }
            (true, true) => {}
            (false, true) => match prefix {
                Some(prefix) => return Mapped::Claim { name: claim, prefix },
                None => {
                    let why = "prefix is required when claim is set. It can be set to an empty \
                               string to disable prefixing";
                    self.required(format!("{path}.prefix"), why);
                }
            },
            (true, false) => {
                if let Some(prefix) = prefix {
                    let why = "may not be specified when expression is set";
                    self.invalid(format!("{path}.prefix"), prefix, why);
                }
                let compiled = self.expression(&expression, format!("{path}.expression"));
                return compiled.map_or(Mapped::Nothing, |it| Mapped::Expression(Box::new(it)));
            }
        }
        Mapped::Nothing
    }

    /// One without a prefix.
    fn uid(&mut self, WrittenUid { claim, expression }: WrittenUid, path: &str) -> Mapped {
        let prefix = expression.is_empty().then(String::new);
        self.mapped(WrittenMapping { claim, prefix, expression }, path, false)
    }

    fn extra(&mut self, all: Vec<WrittenExtra>, path: &str) -> Vec<(String, Expression)> {
        let (mut seen, mut extra) = (BTreeSet::new(), Vec::new());
        for (at, WrittenExtra { key, value_expression }) in all.into_iter().enumerate() {
            let path = format!("{path}[{at}]");
            let named = format!("{path}.key");
            for why in names::domain_prefixed_path(&key) {
                self.invalid(named.clone(), &*key, why);
            }
            if key.chars().any(char::is_uppercase) {
                self.invalid(named.clone(), &*key, "must be lowercase");
            }
            if is_of_kubernetes(&key) {
                let why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes \
                           use";
                self.invalid(named.clone(), &*key, why);
            }
            if !seen.insert(key.clone()) {
                self.duplicate(named, &key);
                continue;
            }
            let at = format!("{path}.valueExpression");
            match value_expression.is_empty() {
                true => self.required(at, ""),
                false => {
                    let compiled = self.expression(&value_expression, at);
                    extra.extend(compiled.map(|it| (key, it)));
                }
            }
        }
        extra
    }

    /// An address may be anybody's until it is verified: whoever takes it for a name must look.
    fn verified_email(
        &mut self,
        username: &Mapped,
        source: &str,
        extra: &[(String, Expression)],
        rules: &[Rule],
        path: &str,
    ) {
        let Mapped::Expression(expression) = username else { return };
        let mut all = std::iter::once(&**expression)
            .chain(extra.iter().map(|(_, expression)| expression))
            .chain(rules.iter().map(|rule| &rule.expression));
        if expression.selects("email") && !all.any(|it| it.selects("email_verified")) {
            let why = "claims.email_verified must be used in claimMappings.username.expression or \
                       claimMappings.extra[*].valueExpression or \
                       claimValidationRules[*].expression when claims.email is used in \
                       claimMappings.username.expression";
            self.invalid(format!("{path}.username.expression"), source, why);
        }
    }
}

fn is_of_kubernetes(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    ["kubernetes.io", "k8s.io"]
        .iter()
        .any(|own| domain == *own || domain.strip_suffix(own).is_some_and(|it| it.ends_with('.')))
}
