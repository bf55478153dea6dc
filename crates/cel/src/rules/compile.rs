//! Compiles the rules of a schema, or says what is wrong with them, in upstream's words.

use coracle_api::FieldError;
use serde_json::{Value as Json, json};

use super::budget::{Estimated, Extent, most_below};
use super::{Node, Reason, Rule};
use crate::declared::{declared, is_embedded, keys};
use crate::estimate::Sized;
use crate::types::Type;
use crate::{Environment, Issue, Program};

const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// The rules of `schema`, which stands at `path`, and what is wrong with them; what they may cost is
/// told only if it `estimates`.
pub(super) fn compile(
    schema: &Json,
    path: &str,
    estimates: bool,
) -> (Option<Node>, Vec<FieldError>) {
    let estimated = estimates.then(Estimated::default);
    let mut compiler = Compiler { errors: Vec::new(), estimated };
    let ty = declared(schema, true, "selfType");
    let place = Place { path: path.to_owned(), uncorrelated: None, is_root: true, often: Some(1) };
    let root = compiler.node((schema, schema), ty.as_ref(), &place);
    let Compiler { mut errors, estimated } = compiler;
    errors.extend(estimated.map(|estimated| estimated.errors(path)).into_iter().flatten());
    (root, errors)
}

struct Compiler {
    errors: Vec<FieldError>,
    estimated: Option<Estimated>,
}

/// Where a part of a schema stands.
#[derive(Clone)]
struct Place {
    path: String,
    /// The list or map above, of whose parts the old value cannot be told.
    uncorrelated: Option<String>,
    is_root: bool,
    /// How often there may be the part in one object, as far as limits say so.
    often: Option<u64>,
}

impl Place {
    fn below(&self, what: &str) -> Self {
        Self { path: format!("{}.{what}", self.path), ..self.clone() }
    }
}

impl Compiler {
    /// The rules that stand in `rules`, on what `spine` describes: the same, but below `allOf`.
    fn node(
        &mut self,
        (rules, spine): (&Json, &Json),
        ty: Option<&Type>,
        place: &Place,
    ) -> Option<Node> {
        let ty = ty?;
        let mut node = Node {
            ty: spine["type"].as_str().unwrap_or_default().to_owned(),
            is_atomic: spine["x-kubernetes-map-type"] == "atomic",
            ..Node::default()
        };
        if spine["x-kubernetes-list-type"] == "map" {
            node.keys = keys(spine);
        }
        let given = rules["x-kubernetes-validations"].as_array().into_iter().flatten();
        for (index, rule) in given.enumerate() {
            let at = format!("{}.x-kubernetes-validations[{index}]", place.path);
            node.rules.extend(self.rule(rule, ty, &at, (spine, place)));
        }
        self.members(&mut node, (rules, spine), ty, place);
        for (index, part) in rules["allOf"].as_array().into_iter().flatten().enumerate() {
            let place = place.below(&format!("allOf[{index}]"));
            node.further.extend(self.node((part, spine), Some(ty), &place));
        }
        let is_needed = !(node.rules.is_empty()
            && node.properties.is_empty()
            && node.further.is_empty()
            && node.others.is_none()
            && node.items.is_none());
        is_needed.then_some(node)
    }

    fn members(
        &mut self,
        node: &mut Node,
        (rules, spine): (&Json, &Json),
        ty: &Type,
        place: &Place,
    ) {
        let often = place.often.zip(most_below(spine));
        let often = often.map(|(often, most)| often.saturating_mul(most));
        let mut inner = Place { is_root: false, often, ..place.clone() };
        if node.is_atomic || (spine["type"] == "array" && node.keys.is_empty()) {
            inner.uncorrelated.get_or_insert_with(|| place.path.clone());
        }
        for (name, schema) in rules["properties"].as_object().into_iter().flatten() {
            let of = &spine["properties"][name];
            let known = match ty {
                Type::Object(object) => object.fields.values().find(|it| *it.json == **name),
                _ => None,
            };
            // One that cannot be named still has rules on itself.
            let own = match known {
                None if crate::declared::escape(name).is_none() => {
                    declared(of, is_embedded(of), &format!("selfType.{name}"))
                }
                _ => None,
            };
            let ty = known.map(|field| &field.ty).or(own.as_ref());
            let place = inner.below(&format!("properties[{name}]"));
            if let Some(below) = self.node((schema, of), ty, &place) {
                node.properties.insert(name.clone(), below);
            }
        }
        let others = (&rules["additionalProperties"], &spine["additionalProperties"]);
        if let (Type::Map(of), true) = (ty, others.1.is_object()) {
            let below = self.node(others, Some(&of.1), &inner.below("additionalProperties"));
            node.others = below.map(Box::new);
        }
        let items = (&rules["items"], &spine["items"]);
        if let (Type::List(of), true) = (ty, items.1.is_object()) {
            let below = self.node(items, Some(&of.element), &inner.below("items"));
            node.items = below.map(Box::new);
        }
    }

    fn rule(
        &mut self,
        rule: &Json,
        ty: &Type,
        at: &str,
        (spine, place): (&Json, &Place),
    ) -> Option<Rule> {
        let text = |name: &str| rule[name].as_str().unwrap_or_default();
        let told = self.errors.len();
        let source = text("rule");
        if source.trim().is_empty() {
            self.errors.push(FieldError::required(format!("{at}.rule"), "rule is not specified"));
            return None;
        }
        self.check_message(rule, at);
        let reason = self.reason(rule, at)?;
        let field_path = self.field_path(text("fieldPath"), spine, at);
        let has_optional_old = rule["optionalOldSelf"] == true;
        let old = if has_optional_old { Type::optional(ty.clone()) } else { ty.clone() };
        let environment = Environment::new().with("self", ty.clone()).with("oldSelf", old);
        let shown = shown(rule);
        let mut invalid = |field: &str, why: String| {
            self.errors.push(FieldError::invalid(format!("{at}.{field}"), &shown, why));
        };
        let program = match environment.compile(source) {
            Ok(program) if *program.result_type() == Type::Bool => Some(program),
            Ok(_) => {
                invalid("rule", "cel expression must evaluate to a bool".to_owned());
                None
            }
            Err(issues) => {
                invalid("rule", format!("compilation failed: {}", Issue::show_all(&issues)));
                None
            }
        };
        let mut message_expression = None;
        if !text("messageExpression").trim().is_empty() {
            match environment.compile(text("messageExpression")) {
                Ok(program) if *program.result_type() == Type::String => {
                    message_expression = Some(program);
                }
                Ok(_) => {
                    let why = "messageExpression must evaluate to a string";
                    invalid("messageExpression", why.to_owned());
                }
                Err(issues) => {
                    let why = Issue::show_all(&issues);
                    invalid(
                        "messageExpression",
                        format!("messageExpression compilation failed: {why}"),
                    );
                }
            }
        }
        let program = program?;
        self.estimate(&program, message_expression.as_ref(), at, (spine, place));
        let is_transition = program.names("oldSelf");
        if has_optional_old && !is_transition {
            let why = "may not be set if oldSelf is not used in rule";
            self.errors.push(FieldError::invalid(
                format!("{at}.optionalOldSelf"),
                &json!(true),
                why,
            ));
        }
        if let Some(above) = place.uncorrelated.as_ref().filter(|_| is_transition) {
            let why = format!(
                "oldSelf cannot be used on the uncorrelatable portion of the schema within {above}"
            );
            self.errors.push(FieldError::invalid(format!("{at}.rule"), &json!(source), why));
        }
        (self.errors.len() == told).then(|| Rule {
            program,
            is_transition,
            has_optional_old,
            message: text("message").trim().to_owned(),
            message_expression,
            reason,
            field_path,
            source: source.trim().to_owned(),
        })
    }

    fn estimate(
        &mut self,
        rule: &Program,
        message: Option<&Program>,
        at: &str,
        (spine, place): (&Json, &Place),
    ) {
        let Some(estimated) = &mut self.estimated else { return };
        let Some(sized) = Sized::of(spine, place.is_root || is_embedded(spine)) else { return };
        let extent = Extent { sized, often: place.often };
        estimated.rule(rule, &extent, format!("{at}.rule"));
        if let Some(message) = message {
            estimated.message(message, &extent, format!("{at}.messageExpression"));
        }
    }

    fn check_message(&mut self, rule: &Json, at: &str) {
        let field = format!("{at}.message");
        match rule["message"].as_str().filter(|message| !message.is_empty()) {
            Some(message) if message.trim().is_empty() => {
                let why = "message must be non-empty if specified";
                self.errors.push(FieldError::invalid(field, &json!(message), why));
            }
            Some(message) if message.trim().contains('\n') => {
                let why = "message must not contain line breaks";
                self.errors.push(FieldError::invalid(field, &json!(message), why));
            }
            None if rule["rule"].as_str().is_some_and(|rule| rule.trim().contains('\n')) => {
                let why = "message must be specified if rule contains line breaks";
                self.errors.push(FieldError::required(field, why));
            }
            _ => {}
        }
        let expression = rule["messageExpression"].as_str().unwrap_or_default();
        if !expression.is_empty() && expression.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            self.errors.push(FieldError::required(format!("{at}.messageExpression"), why));
        }
    }

    fn reason(&mut self, rule: &Json, at: &str) -> Option<Reason> {
        Some(match rule["reason"].as_str() {
            None | Some("FieldValueInvalid") => Reason::Invalid,
            Some("FieldValueForbidden") => Reason::Forbidden,
            Some("FieldValueRequired") => Reason::Required,
            Some("FieldValueDuplicate") => Reason::Duplicate,
            Some(other) => {
                let field = format!("{at}.reason");
                self.errors.push(FieldError::not_supported(field, other, &REASONS));
                return None;
            }
        })
    }

    /// `.a['b']` below `schema`, as errors write it.
    fn field_path(&mut self, path: &str, schema: &Json, at: &str) -> String {
        if path.is_empty() {
            return String::new();
        }
        normalized(path, schema).unwrap_or_else(|why| {
            let why = format!("fieldPath must be a valid path: {why}");
            let field = format!("{at}.fieldPath");
            self.errors.push(FieldError::invalid(field, &json!(path), why));
            String::new()
        })
    }
}

/// A rule as upstream's errors show it.
fn shown(rule: &Json) -> Json {
    let text = |name: &str| rule[name].as_str().unwrap_or_default();
    json!({
        "Rule": text("rule"), "Message": text("message"),
        "MessageExpression": text("messageExpression"), "Reason": rule["reason"],
        "FieldPath": text("fieldPath"), "OptionalOldSelf": rule["optionalOldSelf"],
    })
}

fn normalized(path: &str, schema: &Json) -> Result<String, String> {
    let missing = || "does not refer to a valid field".to_owned();
    let (mut rest, mut schema, mut shown) = (path, schema, String::new());
    while !rest.is_empty() {
        let name;
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 {
                return Err("unexpected end of JSON path".to_owned());
            }
            name = after[..end].to_owned();
            rest = &after[end..];
        } else if let Some(after) = rest.strip_prefix("['") {
            let end = after.find("']").ok_or("unexpected end of JSON path")?;
            name = after[..end].replace("\\'", "'");
            rest = &after[end + 2..];
        } else {
            return Err(format!("expected [ or . but got: {rest}"));
        }
        if schema["properties"].is_object() {
            schema = schema["properties"].get(&name).ok_or_else(missing)?;
            shown.push_str(&format!(".{name}"));
        } else if schema["additionalProperties"].is_object() {
            schema = &schema["additionalProperties"];
            shown.push_str(&format!("[{name}]"));
        } else {
            return Err(missing());
        }
    }
    Ok(shown)
}
