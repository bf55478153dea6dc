//! Releases as Helm keeps them: a Secret (or ConfigMap) a revision, with the whole release in it as
//! JSON, packed by gzip.

use std::io::Read;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::kinds::split_api_version;
use coracle_api::resources::{CONFIG_MAPS, SECRETS};
use coracle_api::{Object, Timestamp};
use coracle_server::Content;
use coracle_server::pipeline::content::decode;
use coracle_store::Snapshot;
use flate2::read::GzDecoder;
use serde::Deserialize;

/// What a release holds at most when it is unpacked: charts in it have a few MiB.
const BYTES_MAX: u64 = 32 << 20;
/// What an object of a release is annotated with.
const NAME: &str = "meta.helm.sh/release-name";
const NAMESPACE: &str = "meta.helm.sh/release-namespace";

/// Where a revision of a release is kept, and what its labels say of it.
pub struct Record<'a> {
    object: &'a Arc<Object>,
    /// The release's name.
    pub name: &'a str,
    /// `1`
    pub revision: u64,
}

impl<'a> Record<'a> {
    fn read(object: &'a Arc<Object>) -> Option<Self> {
        let labels = &object.metadata().labels;
        let revision = labels.get("version")?.parse().ok()?;
        let name =
            labels.get("name").filter(|_| labels.get("owner").is_some_and(|it| it == "helm"));
        Some(Self { object, name: name?, revision })
    }

    /// Where the release is.
    pub fn namespace(&self) -> &'a str {
        &self.object.metadata().namespace
    }

    /// `pending-install`, `deployed`, `failed`…
    pub fn status(&self) -> &'a str {
        self.object.metadata().labels.get("status").map_or("unknown", String::as_str)
    }

    /// The release that it holds.
    ///
    /// # Errors
    /// A sentence, when it is not as Helm writes it.
    pub fn release(&self) -> Result<Release, String> {
        let unlike = |what: &str| {
            format!("{} {} is not as Helm writes it: {what}", self.object.key().resource, {
                &self.object.metadata().name
            })
        };
        let text = self.object.str_at("/data/release").ok_or_else(|| unlike("it is empty"))?;
        let is_secret = *self.object.key().resource == *SECRETS;
        unpack(text, is_secret).map_err(|why| unlike(&why))
    }
}

/// The newest revisions of all releases in a namespace, or in all, by namespace and name.
pub fn newest<'a>(snapshot: &'a Snapshot, namespace: Option<&str>) -> Vec<Record<'a>> {
    let kept = [SECRETS, CONFIG_MAPS].into_iter();
    let mut all: Vec<Record<'_>> =
        kept.flat_map(|kind| snapshot.list(kind, namespace)).filter_map(Record::read).collect();
    let place = |record: &Record<'a>| (record.namespace(), record.name);
    all.sort_by_key(|record| (place(record), std::cmp::Reverse(record.revision)));
    all.dedup_by_key(|record| place(record));
    all
}

/// What is annotated as an object of a release.
pub fn annotated<'a>(
    snapshot: &'a Snapshot,
    namespace: &'a str,
    name: &'a str,
) -> impl Iterator<Item = &'a Arc<Object>> {
    let says = |object: &Object, key: &str, value: &str| {
        object.metadata().annotations.get(key).is_some_and(|it| it == value)
    };
    let of_it =
        move |object: &&Arc<Object>| says(object, NAME, name) && says(object, NAMESPACE, namespace);
    snapshot.objects().filter(of_it)
}

/// A release, as far as it says what is waited for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Release {
    info: Info,
    manifest: String,
    /// What is run before or after changes.
    pub hooks: Vec<Hook>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Info {
    last_deployed: String,
    description: String,
}

/// An object that is made at some point of a release's life; of a Job or Pod, the end is waited for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Hook {
    manifest: String,
    events: Vec<String>,
    last_run: Run,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Run {
    started_at: String,
    phase: String,
}

/// What a manifest calls an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// API group; empty for core.
    pub group: String,
    /// `Deployment`
    pub kind: String,
    /// None where the manifest names none: the release's then.
    pub namespace: Option<String>,
    /// `web`
    pub name: String,
}

impl Release {
    /// Since when the release has its status.
    pub fn since(&self) -> Option<Timestamp> {
        self.info.last_deployed.parse().ok()
    }

    /// What Helm says of it: `Install complete`, `Release "app" failed: …`.
    pub fn description(&self) -> &str {
        &self.info.description
    }

    /// Its objects, but for those of hooks.
    pub fn objects(&self) -> Vec<Named> {
        objects_of(&self.manifest)
    }
}

impl Hook {
    /// What it makes.
    pub fn objects(&self) -> Vec<Named> {
        objects_of(&self.manifest)
    }

    /// `pre-install`, or all at which it is run.
    pub fn events(&self) -> String {
        self.events.join(", ")
    }

    /// Whether the rest of the release comes after it.
    pub fn is_before(&self) -> bool {
        self.events.iter().any(|event| event.starts_with("pre-"))
    }

    /// Whether its end is waited for.
    pub fn is_running(&self) -> bool {
        self.last_run.phase == "Running"
    }

    /// Whether it ended badly the last time.
    pub fn has_failed(&self) -> bool {
        self.last_run.phase == "Failed"
    }

    /// When it was run the last time.
    pub fn since(&self) -> Option<Timestamp> {
        self.last_run.started_at.parse().ok()
    }
}

/// A Secret's data is encoded once more than a ConfigMap's.
fn unpack(text: &str, is_secret: bool) -> Result<Release, String> {
    let decoded = |text: &[u8]| STANDARD.decode(text).map_err(|error| error.to_string());
    let once = decoded(text.as_bytes())?;
    let packed = if is_secret { decoded(&once)? } else { once };
    let mut unpacked = Vec::new();
    let mut limited = GzDecoder::new(&*packed).take(BYTES_MAX);
    limited.read_to_end(&mut unpacked).map_err(|error| error.to_string())?;
    if limited.limit() == 0 {
        return Err(format!("it holds more than {BYTES_MAX} bytes"));
    }
    serde_json::from_slice(&unpacked).map_err(|error| error.to_string())
}

/// What the documents of a manifest name; those that cannot be read are left out, as Helm could not
/// have made them.
fn objects_of(manifest: &str) -> Vec<Named> {
    let mut documents = vec![String::new()];
    for line in manifest.lines() {
        match documents.last_mut() {
            Some(last) if !line.starts_with("---") => {
                last.push_str(line);
                last.push('\n');
            }
            _ => documents.push(String::new()),
        }
    }
    documents.iter().filter_map(|document| named(document)).collect()
}

fn named(document: &str) -> Option<Named> {
    let value = decode(Content::Yaml, document.as_bytes()).ok()?.value;
    let text = |pointer: &str| value.pointer(pointer)?.as_str().map(str::to_owned);
    Some(Named {
        group: split_api_version(&text("/apiVersion")?).0.to_string(),
        kind: text("/kind")?,
        namespace: text("/metadata/namespace").filter(|namespace| !namespace.is_empty()),
        name: text("/metadata/name")?,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::json;

    use super::*;

    fn packed(bytes: &[u8]) -> String {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        STANDARD.encode(encoder.finish().unwrap())
    }

    #[test]
    fn a_release_names_its_objects_and_the_hook_that_runs() {
        let manifest = "---\n# Source: a/b.yaml\napiVersion: v1\nkind: Service\nmetadata:\n  \
                        name: web\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, \
                        namespace: other}\n--- \n# empty\n";
        let hook = |phase: &str| {
            json!({
                "name": "setup", "kind": "Job", "events": ["pre-install", "pre-upgrade"],
                "manifest": "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: setup\n",
                "last_run": {"started_at": "2026-01-01T00:00:00Z", "completed_at": "", "phase": phase},
            })
        };
        let release = json!({
            "name": "app", "version": 1, "namespace": "default", "chart": {"files": []},
            "info": {
                "status": "pending-install", "description": "Initial install underway",
                "last_deployed": "2026-01-01T00:00:00.123456789Z",
            },
            "manifest": manifest, "hooks": [hook("Running"), hook("Succeeded")],
        });
        let text = packed(release.to_string().as_bytes());
        let release = unpack(&STANDARD.encode(text), true).unwrap();
        let named = |group: &str, kind: &str, namespace: Option<&str>, name: &str| Named {
            group: group.into(),
            kind: kind.into(),
            namespace: namespace.map(str::to_owned),
            name: name.into(),
        };
        assert_eq!(
            release.objects(),
            [named("", "Service", None, "web"), named("apps", "Deployment", Some("other"), "web"),]
        );
        let running: Vec<_> = release.hooks.iter().map(Hook::is_running).collect();
        assert_eq!(running, [true, false]);
        assert_eq!(release.hooks[0].objects(), [named("batch", "Job", None, "setup")]);
        assert!(release.hooks[0].is_before() && release.hooks[0].since().is_some());
        assert!(release.since().is_some());
    }

    #[test]
    fn what_is_no_release_is_a_sentence() {
        let with = |text: &str| unpack(text, false).unwrap_err();
        assert!(with("%").contains("Invalid symbol"), "{}", with("%"));
        assert!(with("aGVsbG8=").contains("end of file"), "{}", with("aGVsbG8="));
        assert!(with(&packed(b"[1]")).contains("invalid type"), "{}", with(&packed(b"[1]")));
        let bomb = packed(&vec![b' '; usize::try_from(BYTES_MAX).unwrap() + 1]);
        assert!(with(&bomb).contains("more than"), "{}", with(&bomb));
    }
}
