//! Feature gates: what upstream has behind a switch that is off, and so have we.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What can be switched on, under the name that upstream has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// The strategy `Recreate` of StatefulSets, and their condition `Progressing` (KEP-3541).
    StatefulSetRecreateStrategy,
}

impl Gate {
    /// All there are.
    pub const ALL: [Self; 1] = [Self::StatefulSetRecreateStrategy];

    /// `StatefulSetRecreateStrategy`
    pub fn name(self) -> &'static str {
        match self {
            Self::StatefulSetRecreateStrategy => "StatefulSetRecreateStrategy",
        }
    }
}

/// Which gates somebody has switched on or off; all others are off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gates(BTreeMap<Gate, bool>);

impl Gates {
    /// These are on.
    pub fn on(gates: impl IntoIterator<Item = Gate>) -> Self {
        Self(gates.into_iter().map(|gate| (gate, true)).collect())
    }

    /// Whether a gate is on.
    pub fn is_on(&self, gate: Gate) -> bool {
        self.0.get(&gate).copied().unwrap_or(false)
    }

    /// These, and of `former` those that nothing is said of here.
    #[must_use]
    pub fn over(&self, former: &Self) -> Self {
        let mut all = former.0.clone();
        all.extend(self.0.iter().map(|(gate, is_on)| (*gate, *is_on)));
        Self(all)
    }
}

/// Why a text names no gates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// No gate is called so.
    #[error("unrecognized feature gate: {name} (there are: {})", Gate::ALL.map(Gate::name).join(", "))]
    Unknown {
        /// As it was written.
        name: String,
    },
    /// It is not said whether it is to be on.
    #[error("{0:?} does not say whether it is to be on: write NAME=true or NAME=false")]
    Unclear(String),
}

/// `StatefulSetRecreateStrategy=true`, and more behind commas.
impl FromStr for Gates {
    type Err = GateError;

    fn from_str(text: &str) -> Result<Self, GateError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let read = parts.map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let gate = Gate::ALL.into_iter().find(|gate| gate.name() == name.trim());
            let gate = gate.ok_or_else(|| GateError::Unknown { name: name.trim().to_owned() })?;
            let is_on = value.trim().to_lowercase().parse();
            Ok((gate, is_on.map_err(|_| GateError::Unclear(part.to_owned()))?))
        });
        read.collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told: Vec<_> =
            self.0.iter().map(|(gate, is_on)| format!("{}={is_on}", gate.name())).collect();
        f.write_str(&told.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "StatefulSetRecreateStrategy";

    #[test]
    fn gates_are_read_as_they_are_written() {
        let gate = Gate::StatefulSetRecreateStrategy;
        let read = |text: &str| text.parse::<Gates>();
        assert!(!Gates::default().is_on(gate));
        let on = read(&format!(" {NAME} = True,")).unwrap();
        assert!(on.is_on(gate));
        assert_eq!(on.to_string(), format!("{NAME}=true"));
        assert_eq!(read(&on.to_string()).unwrap(), on);
        let off = read(&format!("{NAME}=false")).unwrap();
        assert!(!off.over(&on).is_on(gate));
        assert!(Gates::default().over(&on).is_on(gate), "what is not mentioned stays");
        let unknown = read("Nothing=true").unwrap_err().to_string();
        assert_eq!(unknown, format!("unrecognized feature gate: Nothing (there are: {NAME})"));
        let unclear = read(&format!("{NAME}=perhaps")).unwrap_err().to_string();
        assert!(unclear.ends_with("write NAME=true or NAME=false"), "{unclear}");
        assert!(read(NAME).is_err());
    }
}
