//! Which cluster a command is about.

use std::path::PathBuf;

use clap::Args;

use crate::paths::Paths;

/// Which cluster a command is about.
#[derive(Args, Clone, Debug)]
pub struct Cluster {
    /// Name of the cluster
    #[arg(long, global = true, env = "CORACLE_NAME", default_value = "default", value_parser = cluster_name)]
    pub name: String,
    /// Where everything of the cluster lives [default: /var/lib/coracle/NAME]
    #[arg(long, global = true, env = "CORACLE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl Cluster {
    /// The cluster's files.
    pub fn paths(&self) -> Paths {
        Paths::new(self.data_dir.clone(), &self.name)
    }

    /// Name of its context in kubeconfigs: `coracle`, or `coracle-NAME`.
    pub fn context(&self) -> String {
        match self.name.as_str() {
            "default" => "coracle".into(),
            name => format!("coracle-{name}"),
        }
    }
}

fn cluster_name(text: &str) -> Result<String, String> {
    let fits = (1..=15).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fits {
        Ok(text.to_string())
    } else {
        Err("a name has 1 to 15 lower case letters, digits and inner hyphens".into())
    }
}
