//! The command line: parsed here, carried out in one file a command.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::NonEmptyStringValueParser;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use serde_json::json;

use crate::arguments::UpArgs;
use crate::cluster::Cluster;
use crate::control::{self, Ask, Pods};
use crate::data_dir::DataDirError;
use crate::image::{self, Image};
use crate::output::{Output, print};
use crate::paths::Paths;
use crate::{clusters, down, kubeconfig, logs, people, show, up};

/// Kubernetes for stateful applications on one machine.
#[derive(Parser)]
#[command(name = "coracle", version, propagate_version = false)]
struct Cli {
    #[command(flatten)]
    cluster: Cluster,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the cluster and make it kubectl's current context
    Up(UpArgs),
    /// Stop the cluster; its data stays
    Down {
        /// Leave the pods running for the next `up`
        #[arg(long)]
        keep_pods: bool,
    },
    /// Stop the cluster and delete its data, volumes included
    Delete {
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Show where the cluster stands
    Status {
        /// Print JSON instead of text
        #[arg(long, short, value_enum)]
        output: Option<Output>,
    },
    /// List the clusters of this host: those that run, and those in /var/lib/coracle
    #[command(visible_alias = "list")]
    Ls {
        /// Print JSON instead of text
        #[arg(long, short, value_enum)]
        output: Option<Output>,
    },
    /// Say what an object is waiting for, since when, because of whom; of everything that is not
    /// well when none is named
    Why {
        /// What to explain, as kubectl writes it: sts/web, pod web-0, statefulset.apps/web; all
        /// that is not well of a kind: jobs; a release of Helm: release my-app
        #[arg(value_name = "KIND/NAME")]
        object: Vec<String>,
        /// Namespace of the object [default: default; all when no object is named]
        #[arg(long, short)]
        namespace: Option<String>,
        /// What was decided on the object so far, also when it is gone
        #[arg(long, requires = "object")]
        history: bool,
        /// Print JSON instead of text
        #[arg(long, short, value_enum)]
        output: Option<Output>,
    },
    /// Load, pull, name, list and remove images
    #[command(subcommand)]
    Image(Image),
    /// Change the key with which Secrets are encrypted
    #[command(subcommand)]
    Secrets(Secrets),
    /// Print a kubeconfig: of the cluster's administrator, or a new one for somebody else
    Kubeconfig {
        /// For whom, as role bindings name them; the certificate holds for a year
        #[arg(long, value_parser = NonEmptyStringValueParser::new())]
        user: Option<String>,
        /// A group that they are in, as role bindings name it; may be given several times
        #[arg(long = "group", requires = "user", value_parser = NonEmptyStringValueParser::new())]
        groups: Vec<String>,
    },
    /// Show what the engine wrote
    Logs {
        /// Go on as it is written
        #[arg(long, short)]
        follow: bool,
    },
    /// Print completions for a shell: source <(coracle completions bash)
    Completions {
        /// Which
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the version
    Version,
}

#[derive(Subcommand)]
enum Secrets {
    /// Encrypt all Secrets in the store with a new key, and forget the old one
    Rotate,
}

/// Why a command failed: the sentence that the user reads.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The engine could not be asked, or refused.
    #[error(transparent)]
    Control(#[from] control::ControlError),
    /// The cluster could not be started.
    #[error(transparent)]
    Up(#[from] up::UpError),
    /// The cluster could not be stopped or deleted.
    #[error(transparent)]
    Down(#[from] down::DownError),
    /// Images could not be worked with.
    #[error(transparent)]
    Image(#[from] image::ImageCommandError),
    /// The user's kubeconfig could not be changed.
    #[error(transparent)]
    Kubeconfig(#[from] kubeconfig::KubeconfigError),
    /// There is no kubeconfig for somebody.
    #[error(transparent)]
    People(#[from] people::PeopleError),
    /// The data directory is not for this command.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A file of the cluster could not be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `why` was asked about something that is not KIND/NAME.
    #[error("{0:?} is not KIND/NAME: write for example sts/web or pod/web-0")]
    NotAnObject(String),
    /// No cluster was ever made here.
    #[error("there is no cluster in {} (make one with `coracle up`)", .0.display())]
    NoCluster(PathBuf),
}

/// All commands and their arguments.
fn definition() -> clap::Command {
    Cli::command()
}

/// Parse the command line, do what it says, and give the exit code: 0 done, 1 failed, 2 usage.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match carry_out(&cli.cluster, cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody to tell if standard error is closed.
            drop(writeln!(std::io::stderr(), "coracle: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn carry_out(cluster: &Cluster, command: Command) -> Result<(), CommandError> {
    let paths = cluster.paths();
    match command {
        Command::Up(arguments) => Ok(up::up(cluster, &arguments)?),
        Command::Down { keep_pods } => {
            Ok(down::down(cluster, if keep_pods { Pods::Keep } else { Pods::Stop })?)
        }
        Command::Delete { yes } => Ok(down::delete(cluster, yes)?),
        Command::Status { output } => {
            let status = control::ask(paths.data_dir(), &Ask::Status, |_| ())?;
            print(&match output {
                Some(Output::Json) => format!("{status:#}\n"),
                None => show::status(&status),
            });
            Ok(())
        }
        Command::Why { object, namespace, history, output } => {
            why(&paths, &object, namespace, history, output)
        }
        Command::Image(image) => Ok(image::carry_out(&paths, image)?),
        Command::Secrets(Secrets::Rotate) => {
            let done = control::ask(paths.data_dir(), &Ask::SecretsRotate, |_| ())?;
            print(&format!("{}\n", done.as_str().unwrap_or_default()));
            Ok(())
        }
        Command::Kubeconfig { user, groups } => {
            let path = paths.kubeconfig();
            let text = std::fs::read_to_string(&path).map_err(|e| unreadable(&paths, path, e))?;
            print(&match user {
                None => text,
                Some(user) => people::kubeconfig(cluster, &user, &groups)?,
            });
            Ok(())
        }
        Command::Logs { follow } => {
            logs::show(&paths.log(), follow).map_err(|error| unreadable(&paths, paths.log(), error))
        }
        Command::Ls { output } => {
            let found = clusters::all(cluster);
            print(&match output {
                Some(Output::Json) => format!("{:#}\n", json!(found)),
                None => clusters::table(&found),
            });
            Ok(())
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut definition(), "coracle", &mut text);
            print(&String::from_utf8_lossy(&text));
            Ok(())
        }
        Command::Version => {
            print(&format!("coracle {}\n", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
    }
}

/// Why a file of the cluster cannot be read, and what to do about it.
fn unreadable(paths: &Paths, path: PathBuf, source: std::io::Error) -> CommandError {
    let directory = || paths.data_dir().to_path_buf();
    match source.kind() {
        std::io::ErrorKind::NotFound => CommandError::NoCluster(directory()),
        std::io::ErrorKind::PermissionDenied => DataDirError::NotAllowed(directory()).into(),
        _ => CommandError::Read { path, source },
    }
}

fn why(
    paths: &Paths,
    object: &[String],
    namespace: Option<String>,
    history: bool,
    output: Option<Output>,
) -> Result<(), CommandError> {
    for question in questions(object, namespace, history)? {
        let answer = control::ask(paths.data_dir(), &question, |_| ())?;
        print(&match (output, question) {
            (Some(Output::Json), _) => format!("{answer:#}\n"),
            (None, Ask::WhyAll { .. }) => show::why_all(&answer),
            (None, Ask::WhyRelease { .. }) => show::why_release(&answer),
            (None, Ask::History { .. }) => show::history(&answer),
            (None, _) => show::why(&answer),
        });
    }
    Ok(())
}

/// What `coracle why` asks, a question for each object.
fn questions(
    words: &[String],
    namespace: Option<String>,
    history: bool,
) -> Result<Vec<Ask>, CommandError> {
    let unnamed = |resource| vec![Ask::WhyAll { resource, namespace: namespace.clone() }];
    let objects = match words {
        [] => return Ok(unnamed(None)),
        [kind] if is_release(kind) => {
            return Ok(vec![Ask::WhyRelease { namespace, name: None }]);
        }
        [kind] if !kind.contains('/') && !kind.is_empty() && !history => {
            return Ok(unnamed(Some(kind.clone())));
        }
        words => kinds_and_names(words)?,
    };
    let namespace = namespace.unwrap_or_else(|| "default".into());
    let question = |(resource, name): (String, String)| match history {
        true => Ask::History { resource, namespace: namespace.clone(), name },
        false if is_release(&resource) => {
            Ask::WhyRelease { namespace: Some(namespace.clone()), name: Some(name) }
        }
        false => Ask::Why { resource, namespace: namespace.clone(), name },
    };
    Ok(objects.into_iter().map(question).collect())
}

/// Whether a release of Helm is meant, which is no kind of the API.
fn is_release(kind: &str) -> bool {
    ["release", "releases"].contains(&kind.to_lowercase().as_str())
}

/// `sts/web` or `sts web`, and more than one: `sts/web job/init`, `sts web db`.
fn kinds_and_names(words: &[String]) -> Result<Vec<(String, String)>, CommandError> {
    let wrong = || CommandError::NotAnObject(words.join(" "));
    let pairs: Option<Vec<(&str, &str)>> = match words {
        [kind, names @ ..] if !kind.contains('/') && !names.is_empty() => {
            Some(names.iter().map(|name| (kind.as_str(), name.as_str())).collect())
        }
        words => words.iter().map(|word| word.split_once('/')).collect(),
    };
    let is_whole =
        |(kind, name): &(&str, &str)| !kind.is_empty() && !name.is_empty() && !name.contains('/');
    let pairs = pairs.filter(|pairs| pairs.iter().all(is_whole)).ok_or_else(wrong)?;
    Ok(pairs.into_iter().map(|(kind, name)| (kind.to_owned(), name.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn the_manual_says_what_the_command_line_takes() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands.md");
        let told = crate::manual::manual(&definition());
        if std::env::var_os("RENEW").is_some() {
            std::fs::write(&path, &told).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), told);
    }

    #[test]
    fn objects_are_named_as_for_kubectl() {
        let named = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            kinds_and_names(&words).ok()
        };
        let pair = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
        let both = Some(vec![pair("sts", "web"), pair("sts", "db")]);
        assert_eq!(named(&["sts", "web", "db"]), both);
        assert_eq!(named(&["sts/web", "sts/db"]), both);
        for wrong in [&["sts"][..], &["sts/"], &["/web"], &["sts", ""], &["sts", "job/a"]] {
            assert_eq!(named(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn every_command_takes_name_and_data_dir_before_or_after_it() {
        for arguments in
            [["coracle", "--name", "blue", "status"], ["coracle", "status", "--name", "blue"]]
        {
            let cli = Cli::try_parse_from(arguments).ok().unwrap();
            assert_eq!(cli.cluster.context(), "coracle-blue");
        }
        assert!(Cli::try_parse_from(["coracle", "--name", "Not/ok", "status"]).is_err());
        let mut all = vec![definition()];
        all[0].build();
        while let Some(command) = all.pop() {
            let own: Vec<_> = command.get_arguments().filter_map(|it| it.get_long()).collect();
            let is_help = command.get_bin_name().is_some_and(|name| name.contains(" help"));
            let takes = own.contains(&"name") && own.contains(&"data-dir");
            assert!(is_help || takes, "{:?} takes {own:?}", command.get_bin_name());
            all.extend(command.get_subcommands().cloned());
        }
    }
}
