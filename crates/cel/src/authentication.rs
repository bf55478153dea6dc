//! Expressions about who somebody is: about the claims of a token, or about the user that it stands
//! for. Upstream's `apiserver/pkg/authentication/cel`.

use serde_json::Value as Json;

use crate::admission::user_info;
use crate::cost::EXPRESSION_LIMIT;
use crate::node::{Kind, Node};
use crate::types::Type;
use crate::value::Value;
use crate::{Environment, Issue, Program};

/// What an expression is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// `claims`: what the token says.
    Claims,
    /// `user`: who its bearer is.
    User,
}

impl About {
    fn variable(self) -> (&'static str, Type) {
        match self {
            Self::Claims => ("claims", Type::map(Type::String, Type::Dyn)),
            Self::User => ("user", user_info()),
        }
    }
}

/// An expression, and what it is about.
#[derive(Debug)]
pub struct Expression {
    about: About,
    source: String,
    program: Program,
}

impl Expression {
    /// What `source` means, which comes to anything.
    ///
    /// # Errors
    /// What is wrong with it, in upstream's words.
    pub fn new(source: &str, about: About) -> Result<Self, String> {
        let (name, ty) = about.variable();
        let compiled = Environment::new().with(name, ty).compile(source);
        let program = compiled
            .map_err(|issues| format!("compilation failed: {}", Issue::show_all(&issues)))?;
        Ok(Self { about, source: source.to_owned(), program })
    }

    /// As [`Self::new`], of what must come to yes or no.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn rule(source: &str, about: About) -> Result<Self, String> {
        let expression = Self::new(source, about)?;
        match *expression.program.result_type() == Type::Bool {
            true => Ok(expression),
            false => Err("must evaluate to bool".to_owned()),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it comes to for `subject`.
    ///
    /// # Errors
    /// Why to nothing.
    pub fn of<'a>(&'a self, subject: &'a Json) -> Result<Value<'a>, String> {
        let (name, _) = self.about.variable();
        let evaluated = self.program.evaluate(&[(name, subject)], EXPRESSION_LIMIT);
        let wrong = |why| format!("expression '{}' resulted in error: {why}", self.source);
        evaluated.value.map_err(wrong)
    }

    /// Whether it looks at the field `name` of what it is about, written with a dot.
    #[must_use]
    pub fn selects(&self, name: &str) -> bool {
        selects(&self.program.checked.root, name)
    }
}

/// It is no deeper than what can be evaluated.
fn selects(node: &Node, name: &str) -> bool {
    let is_it = match &node.kind {
        Kind::Select(of, field) | Kind::OptionalSelect(of, field) | Kind::Has(of, field) => {
            matches!(of.kind, Kind::Variable(_)) && **field == *name
        }
        _ => false,
    };
    is_it || node.parts().into_iter().any(|part| selects(part, name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_and_users_are_looked_at() {
        let claims = json!({"sub": "anna", "roles": ["dev", "ops"], "email_verified": true});
        let rule = |source: &str| Expression::rule(source, About::Claims);
        let of = |source: &str| match rule(source)?.of(&claims)? {
            Value::Bool(it) => Ok::<_, String>(it),
            other => panic!("{other:?}"),
        };
        assert_eq!(of("claims.sub == 'anna' && 'ops' in claims.roles"), Ok(true));
        assert_eq!(of("claims.?hd.orValue('') == 'example.com'"), Ok(false));
        let missing = of("claims.missing == 1").unwrap_err();
        let expected = "expression 'claims.missing == 1' resulted in error: no such key: missing";
        assert_eq!(missing, expected);
        assert_eq!(rule("claims.email_verified").unwrap_err(), "must evaluate to bool");
        let unknown = rule("user.username == 'a'").unwrap_err();
        assert!(
            unknown.starts_with("compilation failed: ERROR: <input>:1:1: undeclared"),
            "{unknown}"
        );
        let user = json!({"username": "anna", "groups": ["dev"], "uid": "", "extra": {}});
        let rule = Expression::rule("!user.username.startsWith('system:')", About::User).unwrap();
        assert!(matches!(rule.of(&user), Ok(Value::Bool(true))));
        let heavy = "lists.range(100000).all(x, lists.range(1000).all(y, y < x + 100000))";
        assert!(Expression::rule(heavy, About::User).unwrap().of(&user).is_err());
    }

    #[test]
    fn it_is_known_which_claims_an_expression_looks_at() {
        let selects =
            |source: &str| Expression::new(source, About::Claims).unwrap().selects("email");
        for source in [
            "claims.email",
            "'x' + claims.email",
            "claims.?email.orValue('a')",
            "has(claims.email) ? 'a' : 'b'",
            "[{'a': [claims.email]}].map(x, x)[0]",
            "claims.groups.exists(g, g == claims.email)",
            "claims.email.lower.x",
        ] {
            assert!(selects(source), "{source}");
        }
        for source in ["claims['email']", "claims.other.email", "'claims.email'"] {
            assert!(!selects(source), "{source}");
        }
    }
}
