//! The user's kubeconfig: our cluster, user and context are put in and taken out; everything else
//! in the file stays.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// Why a kubeconfig was not changed.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// No home directory and no `$KUBECONFIG`.
    #[error("neither $KUBECONFIG nor $HOME is set: set one of them")]
    NoHome,
    /// The file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a kubeconfig.
    #[error("{} is not a kubeconfig ({reason}): mend or move it, then run the command again", .path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// How to reach a cluster as its administrator: a kubeconfig with one entry of each list.
#[derive(Clone, Debug)]
pub struct Access {
    context: String,
    cluster: Value,
    user: Value,
}

impl Access {
    /// Access to `server` (a URL) under the name `context`, with certificates and key in PEM.
    pub fn new(
        context: String,
        server: String,
        authority: &str,
        certificate: &str,
        key: &str,
    ) -> Self {
        let cluster = json!({
            "server": server,
            "certificate-authority-data": base64_of(authority),
        });
        Self { context, cluster, user: user(certificate, key) }
    }

    /// Access to the same server for whom another certificate names.
    pub fn of_another(self, context: String, certificate: &str, key: &str) -> Self {
        Self { context, user: user(certificate, key), ..self }
    }

    /// What [`Access::write`] wrote to `path`.
    ///
    /// # Errors
    /// When the file cannot be read or is no kubeconfig.
    pub fn read(path: &Path) -> Result<Self, KubeconfigError> {
        let malformed = || KubeconfigError::Malformed {
            path: path.into(),
            reason: "it names no cluster, user and context".into(),
        };
        let config = Value::Object(read(path)?.ok_or_else(malformed)?);
        let part = |pointer: &str| config.pointer(pointer).cloned().ok_or_else(malformed);
        Ok(Self {
            context: part("/current-context")?.as_str().ok_or_else(malformed)?.into(),
            cluster: part("/clusters/0/cluster")?,
            user: part("/users/0/user")?,
        })
    }

    /// The port of the server.
    pub fn port(&self) -> Option<u16> {
        self.cluster["server"].as_str()?.rsplit(':').next()?.parse().ok()
    }

    /// Whether `config` has this cluster under its name: the same authority.
    fn is_in(&self, config: &Map<String, Value>) -> bool {
        let authority = "certificate-authority-data";
        let clusters = config.get("clusters").and_then(Value::as_array).into_iter().flatten();
        let mut named = clusters.filter(|entry| entry["name"] == self.context.as_str());
        named.any(|entry| entry["cluster"][authority] == self.cluster[authority])
    }

    /// Write a kubeconfig that holds nothing else.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), KubeconfigError> {
        write(path, &self.text())
    }

    /// A kubeconfig that holds nothing else.
    pub fn text(&self) -> String {
        let mut config = empty();
        self.merge_into(&mut config);
        to_yaml(&config)
    }

    /// Put our entries into `config`, in the place of older ones, and make our context current.
    fn merge_into(&self, config: &mut Map<String, Value>) {
        let name = &self.context;
        remove_entries(config, name);
        push(config, "clusters", json!({"name": name, "cluster": self.cluster}));
        push(config, "users", json!({"name": name, "user": self.user}));
        let context = json!({"cluster": name, "user": name});
        push(config, "contexts", json!({"name": name, "context": context}));
        config.insert("current-context".into(), json!(name));
    }
}

fn user(certificate: &str, key: &str) -> Value {
    json!({
        "client-certificate-data": base64_of(certificate),
        "client-key-data": base64_of(key),
    })
}

/// The user's file: the first of `$KUBECONFIG`, else `~/.kube/config` of whoever called `sudo`.
///
/// # Errors
/// When neither variable is set.
pub fn user_file() -> Result<PathBuf, KubeconfigError> {
    if let Some(list) = std::env::var_os("KUBECONFIG")
        && let Some(first) = std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty())
    {
        return Ok(first);
    }
    let home = match std::env::var("SUDO_UID") {
        Ok(uid) => home_of(&uid, &std::fs::read_to_string("/etc/passwd").unwrap_or_default()),
        Err(_) => None,
    };
    let home = home.or_else(|| std::env::var_os("HOME").map(PathBuf::from));
    Ok(home.ok_or(KubeconfigError::NoHome)?.join(".kube/config"))
}

/// The home directory of a user in the text of `/etc/passwd`.
fn home_of(uid: &str, passwd: &str) -> Option<PathBuf> {
    let lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut fields = lines.filter(|fields| fields.len() > 5 && fields[2] == uid);
    Some(PathBuf::from(fields.next()?[5])).filter(|home| home.is_dir())
}

/// Add `access` to the file at `path` and make it current.
///
/// # Errors
/// When the file cannot be read, is no kubeconfig, or cannot be written; it is then unchanged.
pub fn add(path: &Path, access: &Access) -> Result<(), KubeconfigError> {
    let mut config = read(path)?.unwrap_or_else(empty);
    access.merge_into(&mut config);
    write(path, &to_yaml(&config))
}

/// Put the user of `access`, with a new certificate, into the file at `path` if it has that cluster;
/// nothing else in it changes.
///
/// # Errors
/// As [`add`]. A file that does not exist is no error.
pub fn refresh(path: &Path, access: &Access) -> Result<(), KubeconfigError> {
    let Some(mut config) = read(path)?.filter(|config| access.is_in(config)) else { return Ok(()) };
    let users = config.get_mut("users").and_then(Value::as_array_mut).into_iter().flatten();
    for entry in users.filter(|entry| entry["name"] == access.context.as_str()) {
        entry["user"] = access.user.clone();
    }
    write(path, &to_yaml(&config))
}

/// Take the entries of `access` out of the file at `path`, if they are that cluster's: another one
/// may have taken the name since.
///
/// # Errors
/// As [`add`]. A file that does not exist is no error.
pub fn remove(path: &Path, access: &Access) -> Result<(), KubeconfigError> {
    let Some(mut config) = read(path)? else { return Ok(()) };
    let context = access.context.as_str();
    if !access.is_in(&config) {
        return Ok(());
    }
    remove_entries(&mut config, context);
    if config.get("current-context").and_then(Value::as_str) == Some(context) {
        config.insert("current-context".into(), json!(""));
    }
    write(path, &to_yaml(&config))
}

/// Adds `path` to the list of files in `list`, once.
///
/// # Errors
/// When the list cannot be read or written.
pub fn remember(list: &Path, path: &Path) -> Result<(), KubeconfigError> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut known = remembered(list)?;
    if known.contains(&path) {
        return Ok(());
    }
    known.push(path);
    let lines: String = known.iter().map(|path| format!("{}\n", path.display())).collect();
    write(list, &lines)
}

/// The files in `list`; none, when there is no list.
///
/// # Errors
/// When the list cannot be read.
pub fn remembered(list: &Path) -> Result<Vec<PathBuf>, KubeconfigError> {
    match std::fs::read_to_string(list) {
        Ok(text) => Ok(text.lines().map(PathBuf::from).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(KubeconfigError::Read { path: list.into(), source }),
    }
}

fn empty() -> Map<String, Value> {
    let mut config = Map::new();
    config.insert("apiVersion".into(), json!("v1"));
    config.insert("kind".into(), json!("Config"));
    config.insert("preferences".into(), json!({}));
    config
}

fn push(config: &mut Map<String, Value>, list: &str, entry: Value) {
    match config.get_mut(list) {
        Some(Value::Array(entries)) => entries.push(entry),
        _ => drop(config.insert(list.into(), Value::Array(vec![entry]))),
    }
}

fn remove_entries(config: &mut Map<String, Value>, name: &str) {
    for list in ["clusters", "users", "contexts"] {
        if let Some(Value::Array(entries)) = config.get_mut(list) {
            entries.retain(|entry| entry.get("name").and_then(Value::as_str) != Some(name));
        }
    }
}

fn read(path: &Path) -> Result<Option<Map<String, Value>>, KubeconfigError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(KubeconfigError::Read { path: path.into(), source }),
    };
    if text.trim().is_empty() {
        return Ok(None);
    }
    let malformed = |reason: String| KubeconfigError::Malformed { path: path.into(), reason };
    match serde_norway::from_str(&text) {
        Ok(Value::Object(map)) => Ok(Some(map)),
        Ok(_) => Err(malformed("it holds no map".into())),
        Err(error) => {
            Err(malformed(error.to_string().lines().next().unwrap_or_default().to_string()))
        }
    }
}

/// Replace the file whole, readable by its owner alone: it holds a key. Its owner stays; a new one
/// belongs to the owner of the folder, not to root, as whom `sudo` runs us.
fn write(path: &Path, text: &str) -> Result<(), KubeconfigError> {
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown, fchown};
    // A symbolic link stays one: replace what it points to.
    let target = std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    let target = target.unwrap_or_else(|_| path.to_path_buf());
    let failed = |source| KubeconfigError::Write { path: path.into(), source };
    let owned = target.ancestors().find_map(|path| std::fs::metadata(path).ok());
    let owner = owned.map(|metadata| (metadata.uid(), metadata.gid())).unzip();
    let missing = target.ancestors().skip(1).take_while(|path| !path.exists());
    for folder in missing.collect::<Vec<_>>().into_iter().rev() {
        std::fs::create_dir(folder).map_err(failed)?;
        chown(folder, owner.0, owner.1).map_err(failed)?;
    }
    let partial = target.with_extension(format!("partial-{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .map_err(failed)?;
    fchown(&file, owner.0, owner.1).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&partial, &target).map_err(failed)
}

fn to_yaml(config: &Map<String, Value>) -> String {
    // A JSON value always has a YAML form; JSON is one, should the printer ever refuse.
    serde_norway::to_string(config)
        .unwrap_or_else(|_| Value::Object(config.clone()).to_string() + "\n")
}

fn base64_of(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(context: &str) -> Access {
        Access::new(context.into(), "https://127.0.0.1:6443".into(), "CA", "CERT", "KEY")
    }

    #[test]
    fn a_new_certificate_changes_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        refresh(&path, &access("coracle")).unwrap();
        assert!(!path.exists());
        add(&path, &access("coracle")).unwrap();
        add(&path, &access("coracle-other")).unwrap();
        let before = read(&path).unwrap().unwrap();
        let mut new = access("coracle");
        new.user = json!({"client-certificate-data": "NEW", "client-key-data": "NEW"});
        refresh(&path, &new).unwrap();
        let after = read(&path).unwrap().unwrap();
        assert_eq!(after["users"][0]["user"], new.user);
        assert_eq!(after["users"][1], before["users"][1]);
        assert_eq!(after["current-context"], before["current-context"]);
        let stranger = Access { cluster: json!({"certificate-authority-data": "other"}), ..new };
        refresh(&path, &Access { user: json!({}), ..stranger }).unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), after);
    }

    #[test]
    fn other_clusters_and_unknown_fields_survive_adding_and_removing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(
            &path,
            "apiVersion: v1\nkind: Config\ncurrent-context: work\nclusters:\n- name: work\n  cluster: {server: 'https://w', extra: [1]}\nusers: []\n",
        )
        .unwrap();
        add(&path, &access("coracle")).unwrap();
        add(&path, &access("coracle")).unwrap();
        let config = read(&path).unwrap().unwrap();
        assert_eq!(config["current-context"], "coracle");
        assert_eq!(config["clusters"].as_array().unwrap().len(), 2);
        assert_eq!(config["clusters"][0]["cluster"]["extra"][0], 1);
        remove(&path, &access("coracle")).unwrap();
        let config = read(&path).unwrap().unwrap();
        assert_eq!(config["clusters"].as_array().unwrap().len(), 1);
        assert_eq!(config["users"].as_array().unwrap().len(), 0);
        assert_eq!(config["current-context"], "");
    }

    #[test]
    fn a_context_of_another_cluster_with_the_same_name_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let other =
            Access::new("coracle".into(), "https://127.0.0.1:7443".into(), "CA 2", "CERT", "KEY");
        add(&path, &other).unwrap();
        let before = std::fs::read_to_string(&path).unwrap();
        remove(&path, &access("coracle")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    }

    #[test]
    fn files_are_remembered_once() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        assert_eq!(remembered(&list).unwrap(), Vec::<PathBuf>::new());
        for file in ["/a/config", "/b", "/a/config"] {
            remember(&list, Path::new(file)).unwrap();
        }
        assert_eq!(remembered(&list).unwrap(), ["/a/config", "/b"].map(PathBuf::from));
    }

    #[test]
    fn the_owner_of_the_home_can_read_what_root_wrote() {
        use std::os::unix::fs::{MetadataExt, chown};
        let home = tempfile::tempdir().unwrap();
        chown(home.path(), Some(1234), Some(4321)).unwrap();
        let path = home.path().join(".kube/config");
        add(&path, &access("coracle")).unwrap();
        for path in [path.as_path(), path.parent().unwrap()] {
            let metadata = std::fs::metadata(path).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (1234, 4321), "{}", path.display());
        }
        chown(&path, Some(1235), None).unwrap();
        remove(&path, &access("coracle")).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().uid(), 1235, "an owner stays");
    }

    #[test]
    fn sudo_is_asked_for_the_home_of_its_caller() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let passwd = format!("root:x:0:0::/root:/bin/sh\nme:x:1000:1000::{}:\n", home.display());
        assert_eq!(home_of("1000", &passwd).as_deref(), Some(home));
        assert_eq!(home_of("1001", &passwd), None);
        assert_eq!(home_of("1000", "me:x:1000:1000::/no/such/home:"), None);
    }

    #[test]
    fn a_file_that_is_no_kubeconfig_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, "- just\n- a list\n").unwrap();
        let error = add(&path, &access("coracle")).unwrap_err();
        assert!(error.to_string().contains("not a kubeconfig"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "- just\n- a list\n");
    }
}
