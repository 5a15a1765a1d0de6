//! Which controllers run, as kube-controller-manager's `--controllers` says it. Pure.

use std::{collections::BTreeSet, str::FromStr};

/// All controllers, by the names that metrics give them.
pub const NAMES: [&str; 11] = [
    "certificate",
    "cluster",
    "config",
    "docker-infrastructure-provider",
    "infrastructure-machine",
    "infrastructure-provider",
    "machine",
    "machinedeployment",
    "machinehealthcheck",
    "machineset",
    "node",
];

/// A name that no controller has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no controller \"{0}\"; write * for all, NAME, or -NAME to leave one out: {names}", names = NAMES.join(", "))]
pub struct UnknownController(String);

/// The controllers that run; by default all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enabled(BTreeSet<&'static str>);

impl Default for Enabled {
    fn default() -> Self {
        Self(NAMES.into())
    }
}

impl Enabled {
    /// Whether a controller runs.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Whether all run.
    pub fn is_all(&self) -> bool {
        self.0.len() == NAMES.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Enabled {
    type Err = UnknownController;

    /// Reads a list with commas: `*` stands for all, `-NAME` leaves one out, wherever it stands (Kubernetes: `IsControllerEnabled`).
    fn from_str(text: &str) -> Result<Self, UnknownController> {
        let known = |word: &str| {
            let found = NAMES.into_iter().find(|name| *name == word);
            found.ok_or_else(|| UnknownController(word.to_owned()))
        };
        let (mut on, mut off) = (BTreeSet::new(), BTreeSet::new());
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word.strip_prefix('-') {
                Some(name) => drop(off.insert(known(name)?)),
                None if word == "*" => on.extend(NAMES),
                None => drop(on.insert(known(word)?)),
            }
        }
        Ok(Self(on.difference(&off).copied().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<&'static str> {
        text.parse::<Enabled>().unwrap().0.into_iter().collect()
    }

    #[test]
    fn lists_are_read_as_kube_controller_manager_reads_them() {
        assert_eq!("*".parse(), Ok(Enabled::default()));
        assert_eq!(read("machine, node"), ["machine", "node"]);
        let most = read("*,-node");
        assert_eq!(most.len(), NAMES.len() - 1);
        assert!(!most.contains(&"node"));
        assert_eq!(read("-node,*"), most);
        // Without a star nothing else is on.
        assert_eq!(read("-node"), Vec::<&str>::new());
        assert_eq!(read("node,-node"), Vec::<&str>::new());
    }

    #[test]
    fn unknown_names_are_told_with_those_that_exist() {
        for text in ["nodes", "*,-nodes"] {
            let error = text.parse::<Enabled>().unwrap_err().to_string();
            assert!(
                error.contains("\"nodes\"") && error.contains("machinedeployment"),
                "{error}"
            );
        }
    }
}
