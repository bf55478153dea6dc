//! Files that `up` is told of: what is remembered of requests, whom the API knows beside its own
//! users, and where images are asked for. Where they are is kept with the cluster; they are read at
//! each start.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use coracle_node::images::{Registries, RegistriesError};
use coracle_server::audit::policy::Policy;
use coracle_server::auth::jwt::configuration::Configuration;
use coracle_server::auth::others::Others;
use coracle_server::auth::token_file::TokenFile;
use coracle_server::auth::tokens::ISSUER;
use coracle_store::files;
use serde::{Deserialize, Serialize};

use crate::paths::Paths;

const POLICY: &str = "audit-policy";
const AUTHENTICATION: &str = "authentication-config";
const TOKENS: &str = "token-auth-file";
const REGISTRIES: &str = "registries";
/// How often it is looked whether a file has changed.
const LOOK: Duration = Duration::from_secs(5);
/// Instead of a path: that there is no such file any more.
const NONE: &str = "none";
/// Bytes that such a file may have.
const FILE_MAX: u64 = 4 << 20;

/// Where they are. Upstream's names of the flags are taken, too.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Files {
    /// Keep an audit log as this policy (audit.k8s.io/v1) says; kept with the cluster until told
    /// otherwise, or `none`
    #[arg(long, value_name = "FILE", alias = "audit-policy-file")]
    audit_policy: Option<PathBuf>,
    /// Whom else the API knows: issuers of tokens (OpenID Connect), and whether it answers strangers
    /// (AuthenticationConfiguration); read again when it changes, and kept like the policy
    #[arg(long, value_name = "FILE")]
    authentication_config: Option<PathBuf>,
    /// Tokens that do not end (lines of TOKEN,USER,UID,"GROUP1,GROUP2"); kept like the policy
    #[arg(long, value_name = "FILE")]
    token_auth_file: Option<PathBuf>,
    /// Where the audit log is; three older ones are kept beside it, all of them up to 64 MiB long
    /// [default: audit.log in the data directory]
    #[arg(long, value_name = "FILE", alias = "audit-log-path")]
    audit_log: Option<PathBuf>,
    /// Mirrors of image registries, credentials and authorities, as k3s' registries.yaml has them; read
    /// again at every pull, and kept like the policy
    #[arg(long, value_name = "FILE", alias = "private-registry")]
    registries: Option<PathBuf>,
}

/// What they say.
pub struct Loaded {
    /// What is remembered of requests, and where.
    pub audit: Option<(Policy, PathBuf)>,
    /// Whose tokens are in a file.
    pub tokens: TokenFile,
    /// Whom else the API knows.
    pub authentication: Option<Configuration>,
    /// In which state the file was that says so.
    pub seen: Seen,
}

/// What tells one state of a file from another; `None` when there is none.
pub type Seen = Option<(u64, u64, i64, i64)>;

/// Why they are of no use.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// One cannot be read.
    #[error("--{flag} {}: {source} (where it is was kept with the cluster: `--{flag} none` forgets it)", .path.display())]
    Unreadable {
        /// Which.
        flag: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One does not say what it should.
    #[error("--{flag} {}: {why}", .path.display())]
    Wrong {
        /// Which.
        flag: &'static str,
        /// Where.
        path: PathBuf,
        /// What is wrong, and what was expected.
        why: String,
    },
    /// Nothing says what is to be in the log.
    #[error(
        "--audit-log says where the audit log is, but nothing what is in it: give --audit-policy too"
    )]
    NoPolicy,
    /// Where they are could not be read or kept.
    #[error("{}: {source}", .path.display())]
    NotKept {
        /// In which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Files {
    fn all(&mut self) -> [(&'static str, &mut Option<PathBuf>); 5] {
        [
            (POLICY, &mut self.audit_policy),
            ("audit-log", &mut self.audit_log),
            (AUTHENTICATION, &mut self.authentication_config),
            (TOKENS, &mut self.token_auth_file),
            (REGISTRIES, &mut self.registries),
        ]
    }

    /// Whether there are any.
    pub fn are_told(&self) -> bool {
        *self != Self::default()
    }

    /// The flags that say the same to an engine that runs elsewhere.
    pub fn flags(mut self) -> Vec<String> {
        let told = self.all().into_iter().filter_map(|(flag, path)| Some((flag, path.take()?)));
        told.flat_map(|(flag, path)| [format!("--{flag}"), absolute(&path).display().to_string()])
            .collect()
    }

    /// Where they are from now on: as told, or else as before.
    ///
    /// # Errors
    /// When where they were cannot be read.
    pub fn settle(&self, paths: &Paths) -> Result<Self, FilesError> {
        let mut former = Self::former(paths)?;
        let mut now = self.clone();
        for ((_, own), (_, former)) in now.all().into_iter().zip(former.all()) {
            *own = own.take().or_else(|| former.take()).map(|path| absolute(&path));
            own.take_if(|path| path.as_os_str() == NONE);
        }
        match now.audit_log.is_some() && now.audit_policy.is_none() {
            // Where it was is of no interest once there is none.
            true if self.audit_policy.as_deref() == Some(Path::new(NONE)) => now.audit_log = None,
            true => return Err(FilesError::NoPolicy),
            false => {}
        }
        Ok(now)
    }

    fn former(paths: &Paths) -> Result<Self, FilesError> {
        let path = paths.files();
        let refused = |source| FilesError::NotKept { path: path.clone(), source };
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| refused(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(refused(error)),
        }
    }

    /// Keeps where they are with the cluster.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn keep(&self, paths: &Paths) -> Result<(), FilesError> {
        if *self == Self::former(paths)? {
            return Ok(());
        }
        let path = paths.files();
        let bytes = serde_json::to_vec(self).map_err(io::Error::other);
        let kept = bytes.and_then(|bytes| files::replace(&path, &bytes, 0o644));
        kept.map_err(|source| FilesError::NotKept { path, source })
    }

    /// What they say.
    ///
    /// # Errors
    /// When one cannot be read, or does not say what it should.
    pub fn load(&self, paths: &Paths) -> Result<Loaded, FilesError> {
        let log = || self.audit_log.clone().unwrap_or_else(|| paths.audit_log());
        if let Some(path) = self.audit_log.clone().filter(|path| path.is_dir() || is_dash(path)) {
            let why = "expected a file (what the engine itself says is in `coracle logs`)".into();
            return Err(FilesError::Wrong { flag: "audit-log", path, why });
        }
        let seen = self.authentication_config.as_deref().and_then(seen);
        let policy = read(POLICY, self.audit_policy.as_deref(), Policy::parse)?;
        let tokens = read(TOKENS, self.token_auth_file.as_deref(), TokenFile::parse)?;
        Ok(Loaded {
            audit: policy.map(|policy| (policy, log())),
            tokens: tokens.unwrap_or_default(),
            authentication: self.authentication()?,
            seen,
        })
    }

    /// Where images are asked for.
    pub fn registries(&self) -> Option<&Path> {
        self.registries.as_deref().filter(|path| path.as_os_str() != NONE)
    }

    /// Looks at the file of registries and at all that it names.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_registries(&self) -> Result<(), FilesError> {
        let checked = self.registries().map(Registries::checked).transpose();
        checked.map(drop).map_err(|RegistriesError { path, why }| FilesError::Wrong {
            flag: REGISTRIES,
            path,
            why,
        })
    }

    fn authentication(&self) -> Result<Option<Configuration>, FilesError> {
        let parse = |text: &str| Configuration::parse(text, ISSUER);
        read(AUTHENTICATION, self.authentication_config.as_deref(), parse)
    }

    /// Looks whether the file is in another state than `seen` that says whom else the API knows, for as
    /// long as the engine runs, and has `others` know whom it says then. One that is wrong changes nothing.
    pub async fn follow(&self, others: &Others, mut seen: Seen) -> Infallible {
        let Some(path) = &self.authentication_config else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self::seen(path);
            if std::mem::replace(&mut seen, now) == now {
                continue;
            }
            match self.authentication() {
                Ok(Some(configuration)) => {
                    others.configure(configuration);
                    tracing::info!("{} has changed and counts", path.display());
                }
                Ok(None) => {}
                Err(error) => tracing::error!("{error} (what it said before still counts)"),
            }
        }
    }
}

/// What other programs take for their output.
fn is_dash(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "-")
}

/// In which state the file at `path` is.
fn seen(path: &Path) -> Seen {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

/// The engine is at home elsewhere.
fn absolute(path: &Path) -> PathBuf {
    match path.as_os_str() == NONE {
        true => path.to_path_buf(),
        false => std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()),
    }
}

fn read<T>(
    flag: &'static str,
    path: Option<&Path>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, FilesError> {
    let Some(path) = path else { return Ok(None) };
    let unreadable = |source| FilesError::Unreadable { flag, path: path.to_path_buf(), source };
    let wrong = |why| FilesError::Wrong { flag, path: path.to_path_buf(), why };
    let text = files::read_text(path, FILE_MAX).map_err(unreadable)?;
    parse(&text).map(Some).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n";

    fn told(policy: Option<&Path>, log: Option<&str>) -> Files {
        let (audit_policy, audit_log) = (policy.map(Path::to_path_buf), log.map(PathBuf::from));
        Files { audit_policy, audit_log, ..Files::default() }
    }

    #[test]
    fn files_are_kept_until_somebody_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(Some(folder.path().to_path_buf()), "default");
        let policy = folder.path().join("policy.yaml");
        std::fs::write(&policy, SOME).unwrap();
        let settled = |told: Files| {
            let settled = told.settle(&paths).unwrap();
            settled.keep(&paths).unwrap();
            settled.load(&paths).unwrap().audit.map(|(_, log)| log)
        };
        assert_eq!(settled(told(None, None)), None);
        assert!(!paths.files().exists());
        assert_eq!(settled(told(Some(&policy), None)), Some(paths.audit_log()));
        assert_eq!(settled(told(None, None)), Some(paths.audit_log()));
        assert_eq!(settled(told(None, Some("/x/log"))), Some("/x/log".into()));
        assert_eq!(settled(told(None, Some("none"))), Some(paths.audit_log()));
        assert_eq!(settled(told(None, Some("/x/log"))), Some("/x/log".into()));
        assert_eq!(settled(told(Some(Path::new(NONE)), None)), None);
        assert_eq!(settled(told(None, None)), None);
        assert!(matches!(told(None, Some("x")).settle(&paths), Err(FilesError::NoPolicy)));
    }

    #[test]
    fn what_is_wrong_is_told_with_the_file_and_the_flag() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(Some(folder.path().to_path_buf()), "default");
        let policy = folder.path().join("policy.yaml");
        let load = || told(Some(&policy), None).settle(&paths)?.load(&paths).map(drop);
        let gone = load().unwrap_err().to_string();
        let named = format!("--audit-policy {}: ", policy.display());
        assert!(gone.starts_with(&named) && gone.contains("No such file"), "{gone}");
        std::fs::write(&policy, SOME.replace("Metadata", "Some")).unwrap();
        let wrong = load().unwrap_err().to_string();
        assert!(wrong.starts_with(&named) && wrong.contains("rules[0].level"), "{wrong}");
        for odd in ["-", "/"] {
            let asked = told(Some(&policy), Some(odd)).settle(&paths).unwrap();
            let wrong = asked.load(&paths).err().unwrap().to_string();
            assert!(
                wrong.starts_with("--audit-log /") && wrong.contains("expected a file"),
                "{wrong}"
            );
        }
        std::fs::write(&policy, SOME.repeat(100_000)).unwrap();
        assert!(load().unwrap_err().to_string().contains("more than 4194304 bytes"));
    }

    #[test]
    fn a_file_of_registries_is_looked_at_before_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registries.yaml");
        let files = Files { registries: Some(path.clone()), ..Files::default() };
        std::fs::write(&path, "mirror: {}\n").unwrap();
        let error = files.check_registries().unwrap_err().to_string();
        let named = format!("--registries {}: unknown field `mirror`", path.display());
        assert!(error.starts_with(&named), "{error}");
        std::fs::write(&path, "mirrors: {}\n").unwrap();
        files.check_registries().unwrap();
        let none = Files { registries: Some(NONE.into()), ..Files::default() };
        none.check_registries().unwrap();
        assert_eq!(none.registries(), None);
    }

    #[test]
    fn an_engine_is_told_of_files_wherever_it_is_at_home() {
        let here = std::env::current_dir().unwrap();
        let flags = told(Some(Path::new("a/b")), Some("none")).flags();
        let there = here.join("a/b").display().to_string();
        assert_eq!(flags, ["--audit-policy", &there, "--audit-log", "none"]);
    }
}
