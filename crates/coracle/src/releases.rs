//! Why a release of Helm is not where it should be, for `coracle why release`: the hook that runs, and
//! the chain of every object that is not ready.

use coracle_api::{Object, Timestamp};
use coracle_controllers::outlook;
use coracle_store::Snapshot;
use serde_json::{Value, json};

use crate::explain::{Explainer, key_of, link};
use crate::helm::{self, Hook, Named, Record, Release};

/// As many objects of one release as an answer tells of.
const OBJECTS_MAX: usize = 100;

/// The chains of one release, each with the release as its first link.
///
/// # Errors
/// A sentence, when there is no such release: it names those that there are.
pub fn why(explainer: &Explainer, namespace: &str, name: &str) -> Result<Value, String> {
    let snapshot = explainer.snapshot();
    let all = helm::newest(&snapshot, None);
    let is_meant = |it: &&Record<'_>| it.namespace() == namespace && it.name == name;
    if let Some(record) = all.iter().find(is_meant) {
        return Ok(json!(chains(explainer, &snapshot, record)));
    }
    // Helm can be told to keep releases elsewhere.
    let objects: Vec<_> = helm::annotated(&snapshot, namespace, name).collect();
    if objects.is_empty() {
        return Err(missing(&all, namespace, name));
    }
    let waiting = objects.iter().map(|object| explainer.links(&snapshot, object));
    let waiting = waiting.filter(|links| !links.is_empty()).take(OBJECTS_MAX).collect();
    let said = "its revisions are not kept in this cluster";
    Ok(json!(headed(name, namespace, said, None, waiting)))
}

/// The chains of all releases that wait or did not end well, in a namespace or in all.
pub fn why_all(explainer: &Explainer, namespace: Option<&str>) -> Value {
    let snapshot = explainer.snapshot();
    let all = helm::newest(&snapshot, namespace);
    let told = all.iter().map(|record| (record, chains(explainer, &snapshot, record)));
    let is_well = |record: &Record<'_>, chains: &[Vec<Value>]| {
        record.status() == "deployed" && chains.iter().all(|chain| chain.len() == 1)
    };
    told.filter(|(record, chains)| !is_well(record, chains))
        .flat_map(|(_, chains)| chains)
        .collect()
}

fn chains(explainer: &Explainer, snapshot: &Snapshot, record: &Record<'_>) -> Vec<Vec<Value>> {
    let head = format!("revision {} is {}", record.revision, record.status());
    let (name, namespace) = (record.name, record.namespace());
    let release = match record.release() {
        Ok(release) => release,
        Err(why) => return headed(name, namespace, &format!("{head}; {why}"), None, Vec::new()),
    };
    let look = Look { explainer, snapshot, record };
    let hooks = look.hooks(&release);
    let comes_later = release.hooks.iter().any(|hook| hook.is_before() && look.is_at_work(hook));
    let objects = if comes_later { Vec::new() } else { look.objects(&release) };
    let waiting: Vec<_> = hooks.into_iter().chain(objects).take(OBJECTS_MAX).collect();
    let head = match (record.status(), waiting.is_empty()) {
        ("failed", _) => format!("{head}: {}", release.description()),
        (status, true) if status.starts_with("pending-") || status == "uninstalling" => format!(
            "{head}, and nothing of it waits: helm is about to finish, or was ended in the middle \
             (`helm rollback` or `helm uninstall` puts that right)"
        ),
        (_, true) => format!("{head}, and nothing of it waits"),
        _ => head,
    };
    headed(name, namespace, &head, release.since(), waiting)
}

/// Every chain behind the release; the release alone when there is none.
fn headed(
    name: &str,
    namespace: &str,
    sentence: &str,
    since: Option<Timestamp>,
    waiting: Vec<Vec<Value>>,
) -> Vec<Vec<Value>> {
    let head = link(&format!("release {name}"), namespace, sentence, since);
    if waiting.is_empty() {
        return vec![vec![head]];
    }
    let behind = |chain: Vec<Value>| std::iter::once(head.clone()).chain(chain).collect();
    waiting.into_iter().map(behind).collect()
}

/// One look at one release.
struct Look<'a> {
    explainer: &'a Explainer,
    snapshot: &'a Snapshot,
    record: &'a Record<'a>,
}

impl Look<'_> {
    /// What the hooks wait for that run, or how they failed.
    fn hooks(&self, release: &Release) -> Vec<Vec<Value>> {
        let has_failed = |hook: &&Hook| self.record.status() == "failed" && hook.has_failed();
        let meant = release.hooks.iter().filter(|hook| self.is_at_work(hook) || has_failed(hook));
        let told = meant.flat_map(|hook| {
            let state = if hook.has_failed() { "has failed" } else { "has not ended" };
            let sentence = format!("the {} hook {state}", hook.events());
            let objects = hook.objects().into_iter();
            objects.map(move |named| self.chain(&named, Some((&sentence, hook.since()))))
        });
        told.collect()
    }

    /// Whether a hook's end is waited for. Helm writes down that it runs, and that it has ended only
    /// with what comes next: the Job or Pod itself says it.
    fn is_at_work(&self, hook: &Hook) -> bool {
        let is_waited_for =
            |named: &Named| matches!((&*named.group, &*named.kind), ("batch", "Job") | ("", "Pod"));
        let runs = |object: &Object| outlook(object, Timestamp::now()).is_none();
        let objects = hook.objects();
        let mut waited_for = objects.iter().filter(|named| is_waited_for(named));
        hook.is_running() && waited_for.any(|named| self.find(named).is_some_and(runs))
    }

    /// What the objects wait for.
    fn objects(&self, release: &Release) -> Vec<Vec<Value>> {
        let chains = release.objects().into_iter().map(|named| self.chain(&named, None));
        chains.filter(|chain| !chain.is_empty()).collect()
    }

    /// What an object waits for, behind what is said of it; nothing when it is where it should be
    /// and nothing is said.
    fn chain(&self, named: &Named, said: Option<(&str, Option<Timestamp>)>) -> Vec<Value> {
        let object = self.find(named);
        let name = format!("{} {}", named.kind.to_lowercase(), named.name);
        let say = |sentence: &str, since| link(&name, self.record.namespace(), sentence, since);
        let links = match object {
            Some(object) => self.explainer.links(self.snapshot, object),
            None if self.may_be_gone() => Vec::new(),
            None => vec![say("is not there: it was not made yet, or somebody deleted it", None)],
        };
        let first = said.map(|(sentence, since)| say(sentence, since));
        first.into_iter().chain(links).collect()
    }

    fn find(&self, named: &Named) -> Option<&Object> {
        let kind = self.explainer.kind_of(&named.group, &named.kind)?;
        let namespace = named.namespace.as_deref().unwrap_or(self.record.namespace());
        self.snapshot.get(&key_of(&kind, namespace, &named.name)).map(|object| &**object)
    }

    /// Whether what is not there is not missed.
    fn may_be_gone(&self) -> bool {
        ["uninstalling", "uninstalled", "superseded"].contains(&self.record.status())
    }
}

/// That there is no such release, and which there are.
fn missing(all: &[Record<'_>], namespace: &str, name: &str) -> String {
    let is_here = |it: &&Record<'_>| it.namespace() == namespace;
    let here: Vec<&str> = all.iter().filter(is_here).map(|it| it.name).collect();
    let there: Vec<String> = all
        .iter()
        .filter(|it| !is_here(it))
        .map(|it| format!("{} (-n {})", it.name, it.namespace()))
        .collect();
    let known: Vec<String> = here.into_iter().map(str::to_owned).chain(there).collect();
    let hint = match known.as_slice() {
        [] => "helm has none in this cluster".to_owned(),
        known => format!("there are {}", known.join(", ")),
    };
    format!("there is no release {name:?} in {namespace}: {hint}")
}
