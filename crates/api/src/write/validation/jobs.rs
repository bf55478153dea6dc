//! Jobs and CronJobs.

use serde_json::{Value, json};

use super::cursor::{Errors, Field};
use super::parts::{self, immutable};
use super::pod;
use crate::text::cron;
use crate::{FieldError, FieldErrorKind, names, semantic};

const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// Each label that a Job gives its pods: as it is called now, and as before.
pub const JOB_LABELS: [(&str, &str); 2] =
    [(CONTROLLER_UID, "controller-uid"), (JOB_NAME, "job-name")];
/// Labels of a Job's pods: name, and what of the Job's metadata it holds.
const EXPECTED: [(&str, &str); 4] =
    [(CONTROLLER_UID, "uid"), ("controller-uid", "uid"), (JOB_NAME, "name"), ("job-name", "name")];
const INDEXED_MAX: i64 = 100_000;
const EXIT_CODES_MAX: usize = 255;
const RULES_MAX: usize = 20;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
/// What a name needs for the Jobs that a CronJob makes.
const CRON_NAME_MAX: usize = 52;
/// Fields of a suspended Job's template that may be changed.
const TEMPLATE_MUTABLE: [&str; 4] = ["nodeSelector", "affinity", "tolerations", "schedulingGates"];

/// A Job.
pub fn job(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let root = Field::root(object);
        let spec = root.child("spec");
        generated_selector(errors, &root);
        job_spec(errors, &spec);
        let selector = spec.child("selector");
        if selector.is_set() {
            parts::selector(errors, &selector);
        } else {
            errors.required(&selector, "");
        }
        let labels = spec.descend(&["template", "metadata", "labels"]);
        if !selector.is_set() || !parts::selects(&selector, &labels) {
            errors.invalid(&labels, "`selector` does not match template `labels`");
        }
        indexed_name(errors, &root);
    })
}

/// Pods of an indexed Job carry the index in their names.
fn indexed_name(errors: &mut Errors, root: &Field<'_>) {
    let (spec, name) = (root.child("spec"), root.descend(&["metadata", "name"]));
    let completions = spec.child("completions").int();
    if spec.child("completionMode").text() == "Indexed" && completions > 0 {
        let longest = format!("{}-{}", name.text(), completions - 1);
        if !names::dns1123_label(&longest).is_empty() {
            let why = "will not able to create pod with invalid DNS label";
            errors.invalid(&name, format!("{why}: {longest}"));
        }
    }
}

/// Unless it is written by hand, the selector is of the labels that the Job gives its pods.
fn generated_selector(errors: &mut Errors, root: &Field<'_>) {
    let spec = root.child("spec");
    let selector = spec.child("selector");
    if spec.child("manualSelector").is_true() || !selector.is_set() {
        return;
    }
    let metadata = root.child("metadata");
    let labels = spec.descend(&["template", "metadata", "labels"]);
    let mut expected = json!({});
    for (label, source) in EXPECTED {
        let wanted = metadata.child(source).text();
        expected[label] = wanted.into();
        let given = labels.key(label);
        if !given.is_set() {
            errors.required(&given, &format!("must be '{wanted}'"));
        } else if given.text() != wanted {
            errors.invalid_as(&given, labels.value, &format!("must be '{wanted}'"));
        }
    }
    if !parts::selects(&selector, &Field::at(&expected, "")) {
        errors.invalid(&selector, "`selector` not auto-generated");
    }
}

fn job_spec(errors: &mut Errors, spec: &Field<'_>) {
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
    ] {
        errors.non_negative(&spec.child(name));
    }
    failed_indexes(errors, spec);
    let managed_by = spec.child("managedBy");
    if managed_by.is_set() {
        errors.all_invalid(&managed_by, names::domain_prefixed_path(managed_by.text()));
        if managed_by.text().len() > 63 {
            errors.too_long(&managed_by.path, 63);
        }
    }
    completion_mode(errors, spec);
    let replacement = spec.child("podReplacementPolicy");
    let failure = spec.child("podFailurePolicy");
    if failure.is_set() {
        failure_policy(errors, spec, &failure);
    }
    if spec.child("successPolicy").is_set() {
        success_policy(errors, spec, &spec.child("successPolicy"));
    }
    let known: &[&str] =
        if failure.is_set() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    errors.one_of_if_set(&replacement, known);
    pod::template(errors, &spec.child("template"));
    restart_policy(errors, spec, &failure);
}

fn restart_policy(errors: &mut Errors, spec: &Field<'_>, failure: &Field<'_>) {
    let policy = spec.descend(&["template", "spec", "restartPolicy"]);
    if policy.text() == "Always" {
        errors.0.push(FieldError {
            field: policy.path.clone(),
            kind: FieldErrorKind::Required,
            detail: "valid values: \"OnFailure\", \"Never\"".to_string(),
        });
    } else if !["OnFailure", "Never"].contains(&policy.text()) {
        errors.not_supported(&policy, &["OnFailure", "Never"]);
    } else if failure.is_set() && policy.text() != "Never" {
        errors.invalid(&policy, "only \"Never\" is supported when podFailurePolicy is specified");
    }
}

fn failed_indexes(errors: &mut Errors, spec: &Field<'_>) {
    let failed = spec.child("maxFailedIndexes");
    if !failed.is_set() {
        return;
    }
    errors.non_negative(&failed);
    if !spec.child("backoffLimitPerIndex").is_set() {
        let limit = spec.child("backoffLimitPerIndex");
        errors.required(&limit, "when maxFailedIndexes is specified");
    }
}

fn completion_mode(errors: &mut Errors, spec: &Field<'_>) {
    let mode = spec.child("completionMode");
    errors.one_of_if_set(&mode, &["Indexed", "NonIndexed"]);
    let (completions, failed) = (spec.child("completions"), spec.child("maxFailedIndexes"));
    if mode.text() == "Indexed" {
        if !completions.is_set() {
            errors.required(&completions, "when completion mode is Indexed");
        }
        let parallelism = spec.child("parallelism");
        if parallelism.int() > INDEXED_MAX {
            let why = format!(
                "must be less than or equal to {INDEXED_MAX} when completion mode is Indexed"
            );
            errors.invalid(&parallelism, why);
        }
        if failed.is_set() && completions.is_set() && failed.int() > completions.int() {
            errors.invalid(&failed, "must be less than or equal to completions");
        }
        if failed.int() > INDEXED_MAX {
            errors.invalid(&failed, format!("must be less than or equal to {INDEXED_MAX}"));
        }
    } else {
        for name in ["backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"] {
            if spec.child(name).is_set() {
                errors.invalid(&spec.child(name), "requires indexed completion mode");
            }
        }
    }
}

fn failure_policy(errors: &mut Errors, spec: &Field<'_>, policy: &Field<'_>) {
    let pod = spec.descend(&["template", "spec"]);
    let containers: Vec<&str> = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| pod.child(list).items().collect::<Vec<_>>())
        .map(|container| container.child("name").text())
        .collect();
    let rules = policy.child("rules");
    if rules.len() > RULES_MAX {
        errors.too_many(&rules, RULES_MAX);
    }
    for rule in rules.items() {
        failure_rule(errors, spec, &rule, &containers);
    }
}

/// Words in brackets, as Go prints a list of quoted texts.
fn listed(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("valid values: [{}]", words.join(" "))
}

fn failure_rule(errors: &mut Errors, spec: &Field<'_>, rule: &Field<'_>, containers: &[&str]) {
    let action = rule.child("action");
    if action.text() == "FailIndex" && !spec.child("backoffLimitPerIndex").is_set() {
        errors.invalid(&action, "requires the backoffLimitPerIndex to be set");
    }
    if action.is_empty() {
        errors.required(&action, &listed(&ACTIONS));
    } else {
        errors.one_of_if_set(&action, &ACTIONS);
    }
    let (codes, conditions) = (rule.child("onExitCodes"), rule.child("onPodConditions"));
    if codes.is_set() {
        exit_codes(errors, &codes, containers);
    }
    if conditions.len() > RULES_MAX {
        errors.too_many(&conditions, RULES_MAX);
    }
    for condition in conditions.items() {
        parts::label_name(errors, &condition.child("type"));
        errors.one_of(&condition.child("status"), &["False", "True", "Unknown"]);
    }
    if codes.is_set() != conditions.is_empty() {
        let what = if codes.is_set() {
            "specifying both OnExitCodes and OnPodConditions is not supported"
        } else {
            "specifying one of OnExitCodes and OnPodConditions is required"
        };
        // Upstream says it in the place of the value.
        let kind = FieldErrorKind::Invalid(what.to_string());
        errors.0.push(FieldError { field: rule.path.clone(), kind, detail: String::new() });
    }
}

fn exit_codes(errors: &mut Errors, codes: &Field<'_>, containers: &[&str]) {
    let (operator, values) = (codes.child("operator"), codes.child("values"));
    if operator.is_empty() {
        errors.required(&operator, &listed(&["In", "NotIn"]));
    } else {
        errors.one_of_if_set(&operator, &["In", "NotIn"]);
    }
    let container = codes.child("containerName");
    if container.is_set() && !containers.contains(&container.text()) {
        let why = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&container, why);
    }
    if values.is_empty() {
        errors.invalid(&values, "at least one value is required");
    } else if values.len() > EXIT_CODES_MAX {
        errors.too_many(&values, EXIT_CODES_MAX);
    }
    let mut before: Option<i64> = None;
    for value in values.items() {
        let code = value.int();
        if operator.text() == "In" && code == 0 {
            errors.invalid(&value, "must not be 0 for the In operator");
        }
        match before {
            Some(last) if last == code => errors.duplicate(&value),
            Some(last) if last > code => errors.invalid(&values, "must be ordered"),
            _ => {}
        }
        before = Some(code);
    }
}

fn success_policy(errors: &mut Errors, spec: &Field<'_>, policy: &Field<'_>) {
    let rules = policy.child("rules");
    if rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.required(&rules, why);
    }
    if rules.len() > RULES_MAX {
        errors.too_many(&rules, RULES_MAX);
    }
    let completions = spec.child("completions").int();
    for rule in rules.items() {
        success_rule(errors, &rule, completions);
    }
}

fn success_rule(errors: &mut Errors, rule: &Field<'_>, completions: i64) {
    let (indexes, count) = (rule.child("succeededIndexes"), rule.child("succeededCount"));
    if !indexes.is_set() && !count.is_set() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        errors.required(rule, why);
    }
    let mut listed = 0;
    if indexes.is_set() {
        match count_indexes(indexes.text(), completions) {
            Ok(total) => listed = total,
            Err(why) => errors.invalid(&indexes, format!("error parsing succeededIndexes: {why}")),
        }
    }
    if !count.is_set() {
        return;
    }
    errors.non_negative(&count);
    let too_many = |errors: &mut Errors, most: i64, what: &str| {
        if count.int() > most {
            errors.invalid(&count, format!("must be less than or equal to {most} ({what})"));
        }
    };
    too_many(errors, completions, "the number of specified completions");
    if indexes.is_set() {
        let what = "the number of indexes in the specified succeededIndexes field";
        too_many(errors, listed, what);
    }
}

/// How many indexes `1,3-5` names, in order and below `completions`.
fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, None);
    if text.is_empty() {
        return Ok(0);
    }
    for part in text.split(',') {
        let parse = |index: &str| {
            let number: Result<i64, _> = index.parse();
            let number = number
                .map_err(|_| format!("cannot convert string to integer for index: {index:?}"))?;
            match number < completions {
                true => Ok(number),
                false => Err(format!("too large index: {index:?}")),
            }
        };
        let (first, end) = match part.split('-').collect::<Vec<_>>().as_slice() {
            [one] => (parse(one)?, parse(one)?),
            [first, end] => (parse(first)?, parse(end)?),
            _ => {
                return Err(format!(
                    "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
                ));
            }
        };
        if end < first || last.is_some_and(|last| first <= last) {
            return Err("non-increasing order of indexes".to_string());
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// A change of a Job: what it runs stays.
pub fn job_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = |object| Field::root(object).child("spec");
        let (after, before) = (spec(new), spec(old));
        completions(errors, &after, &before);
        immutable(errors, &after.child("selector"), &before.child("selector"));
        template(errors, new, old);
        let fixed = [
            "completionMode",
            "podFailurePolicy",
            "backoffLimitPerIndex",
            "managedBy",
            "successPolicy",
        ];
        for name in fixed {
            immutable(errors, &after.child(name), &before.child(name));
        }
    })
}

/// The number of an indexed Job may change with its parallelism.
fn completions(errors: &mut Errors, new: &Field<'_>, old: &Field<'_>) {
    let (after, before) = (new.child("completions"), old.child("completions"));
    if new.child("completionMode").text() != "Indexed" {
        immutable(errors, &after, &before);
        return;
    }
    if after.value == before.value {
        return;
    }
    if new.child("parallelism").value != after.value {
        errors.invalid(&after, "can only be modified in tandem with spec.parallelism");
    }
}

/// A Job that is suspended and never ran may be told other places for its pods.
fn template(errors: &mut Errors, new: &Value, old: &Value) {
    let template = |object| Field::root(object).descend(&["spec", "template"]);
    let suspended = Field::root(old).descend(&["spec", "suspend"]).is_true()
        && !Field::root(old).descend(&["status", "startTime"]).is_set();
    let before = template(old);
    if !suspended {
        immutable(errors, &template(new), &before);
        return;
    }
    let mut same = template(new).value.clone();
    take(&mut same, before.value, "spec", &TEMPLATE_MUTABLE);
    take(&mut same, before.value, "metadata", &["labels", "annotations"]);
    if !semantic::equal(&same, before.value) {
        errors.invalid(&template(new), "field is immutable");
    }
}

/// Puts members of `into.part` back to what they are in `from`.
fn take(into: &mut Value, from: &Value, part: &str, members: &[&str]) {
    let Some(Value::Object(fields)) = into.get_mut(part) else { return };
    for name in members {
        match from.get(part).and_then(|fields| fields.get(*name)) {
            Some(value) => fields.insert((*name).to_string(), value.clone()),
            None => fields.remove(*name),
        };
    }
}

/// A CronJob.
pub fn cron_job(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let root = Field::root(object);
        let spec = root.child("spec");
        schedule(errors, &spec);
        errors.non_negative(&spec.child("startingDeadlineSeconds"));
        errors.one_of(&spec.child("concurrencyPolicy"), &["Allow", "Forbid", "Replace"]);
        for name in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
            errors.non_negative(&spec.child(name));
        }
        let job = spec.descend(&["jobTemplate", "spec"]);
        job_spec(errors, &job);
        let (selector, manual) = (job.child("selector"), job.child("manualSelector"));
        if selector.is_set() {
            errors.invalid(&selector, "`selector` will be auto-generated");
        }
        if manual.is_true() {
            errors.not_supported_as(&manual, manual.value, &["nil", "false"]);
        }
    })
}

/// A new CronJob, on top of [`cron_job`].
pub fn cron_job_create(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let name = Field::root(object).descend(&["metadata", "name"]);
        if name.text().len() > CRON_NAME_MAX {
            errors.invalid(&name, names::too_long(CRON_NAME_MAX));
        }
    })
}

fn schedule(errors: &mut Errors, spec: &Field<'_>) {
    let (schedule, zone) = (spec.child("schedule"), spec.child("timeZone"));
    if schedule.is_empty() {
        errors.required(&schedule, "");
    } else {
        if let Err(why) = cron::Schedule::parse(schedule.text()) {
            errors.invalid(&schedule, why);
        }
        if schedule.text().contains("TZ") {
            let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            errors.invalid(&schedule, why);
        }
    }
    if !zone.is_set() {
        return;
    }
    if zone.is_empty() {
        errors.invalid(&zone, "timeZone must be nil or non-empty string");
    } else if zone.text().eq_ignore_ascii_case("local") {
        let why =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(&zone, why);
    } else if cron::zone(Some(zone.text())).is_none() {
        errors.invalid(&zone, format!("unknown time zone {}", zone.text()));
    }
}
