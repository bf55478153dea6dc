//! Which feature gates are on: what `up` was told, now or at an earlier time.

use std::io;

use coracle_api::Gates;
use coracle_store::files;

use crate::paths::Paths;

/// The gates of the cluster, which are kept with it: what is `told` now counts from now on.
///
/// # Errors
/// When they cannot be read or written.
pub fn settle(paths: &Paths, told: Option<&Gates>) -> io::Result<Gates> {
    let former = match std::fs::read_to_string(paths.feature_gates()) {
        Ok(text) => read(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Gates::default(),
        Err(error) => return Err(error),
    };
    let now = told.map_or_else(|| former.clone(), |told| told.over(&former));
    if now != former {
        files::replace(&paths.feature_gates(), format!("{now}\n").as_bytes(), 0o644)?;
    }
    Ok(now)
}

/// A gate that an engine of another version knew is left out, with a line in the log.
fn read(text: &str) -> Gates {
    let mut all = Gates::default();
    for one in text.trim().split(',') {
        match one.parse::<Gates>() {
            Ok(gate) => all = gate.over(&all),
            Err(error) => tracing::warn!(%error, "a feature gate is left out"),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use coracle_api::Gate;

    use super::*;

    const GATE: Gate = Gate::StatefulSetRecreateStrategy;

    #[test]
    fn gates_are_kept_until_somebody_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(Some(folder.path().to_path_buf()), "default");
        let settled = |told: Option<&str>| {
            let told = told.map(|text| text.parse().unwrap());
            settle(&paths, told.as_ref()).unwrap().is_on(GATE)
        };
        assert!(!settled(None));
        assert!(!paths.feature_gates().exists());
        assert!(settled(Some("StatefulSetRecreateStrategy=true")));
        assert!(settled(None));
        let with_another = "FutureGate=true,StatefulSetRecreateStrategy=true\n";
        std::fs::write(paths.feature_gates(), with_another).unwrap();
        assert!(settled(None));
        assert!(!settled(Some("StatefulSetRecreateStrategy=false")));
        assert!(!settled(None));
    }
}
