//! Sets of servers, and each server's folder and ports.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::target_folder;

/// Ports below those that systems give to outgoing connections, which could keep a server from coming back.
const PORTS: Range<u16> = 20_000..32_000;

/// A set of servers: the usual one, which all share, or one with a name, which may be broken.
#[derive(Debug, Clone, Default)]
pub struct Set(Option<String>);

impl Set {
    /// Returns the set of that name, or the usual one.
    ///
    /// # Errors
    /// The name has other characters than letters and digits.
    pub fn named(name: Option<&str>) -> Result<Self> {
        let is_fine = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match name {
            Some(name) if name.is_empty() || !is_fine(name) => {
                bail!("the name of a set of servers must be letters and digits: {name:?}")
            }
            name => Ok(Self(name.map(str::to_owned))),
        }
    }

    /// Returns the name of its folder and of its containers.
    pub fn title(&self) -> String {
        match &self.0 {
            None => "services".into(),
            Some(name) => format!("services-{name}"),
        }
    }

    /// Says that this is the usual set, which others may be using.
    pub fn is_shared(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the address that the environment gives for a server of the usual set.
    pub fn given(&self, variable: &str) -> Option<String> {
        match self.0 {
            None => std::env::var(variable).ok(),
            Some(_) => None,
        }
    }

    /// Returns a server's folder.
    pub fn folder(&self, server: &str) -> Result<PathBuf> {
        Ok(target_folder()?.join(self.title()).join(server))
    }
}

/// Makes the folder for programs of a server that must be fetched, which all sets share.
pub fn programs(server: &str) -> Result<PathBuf> {
    let folder = Set::default().folder(server)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// A server's folder, and the ports that it keeps from one start to the next.
pub struct Location {
    /// Holds its data, its configuration and its log.
    pub folder: PathBuf,
    /// The port for clients.
    pub port: u16,
    /// The port for its own connections.
    pub inner: u16,
    /// The port for a proxy, if it gives clients an address for further connections.
    pub behind: u16,
    /// The proxy's port, which is in the address that such clients get.
    pub front: u16,
}

impl Location {
    /// Reads a server's folder and ports. It gets new ports if it has none, or if others took them while it did not run.
    pub fn of(set: &Set, server: &str, runs: impl Fn(&Path) -> bool) -> Result<Self> {
        let folder = set.folder(server)?;
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut ports = known_ports(&folder);
        let is_usable = runs(&folder) || ports.iter().take(3).all(|port| is_free(*port));
        if ports.len() < 2 || !is_usable {
            ports.clear();
        }
        if ports.len() < 4 {
            ports.extend(free_ports(&folder, 4 - ports.len())?);
            let words: Vec<_> = ports.iter().map(u16::to_string).collect();
            fs::write(folder.join("ports"), words.join(" "))?;
        }
        Self::with(folder, &ports).context("a server without ports")
    }

    /// Reads a server's folder and ports, if it has ports.
    pub fn known(set: &Set, server: &str) -> Result<Option<Self>> {
        let folder = set.folder(server)?;
        let ports = known_ports(&folder);
        Ok(Self::with(folder, &ports))
    }

    fn with(folder: PathBuf, ports: &[u16]) -> Option<Self> {
        let later = |number: usize| ports.get(number).copied().unwrap_or_default();
        match ports {
            [port, inner, ..] => Some(Self {
                folder,
                port: *port,
                inner: *inner,
                behind: later(2),
                front: later(3),
            }),
            _ => None,
        }
    }

    /// Returns the folder of its data.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }
}

fn known_ports(folder: &Path) -> Vec<u16> {
    let text = fs::read_to_string(folder.join("ports")).unwrap_or_default();
    text.split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect()
}

/// Finds unused ports, from a number on that is the folder's own.
fn free_ports(folder: &Path, count: usize) -> Result<Vec<u16>> {
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    let all = usize::from(PORTS.end - PORTS.start);
    let first = hasher.finish() as usize % all;
    let ports = PORTS.cycle().skip(first).take(all);
    let free: Vec<u16> = ports.filter(|port| is_free(*port)).take(count).collect();
    match free.len() == count {
        true => Ok(free),
        false => bail!("no ports are free"),
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_set_is_named_by_letters_and_digits() {
        assert_eq!(Set::named(Some("try2")).unwrap().title(), "services-try2");
        assert!(Set::named(None).unwrap().is_shared());
        for name in ["", "../x", "a b", "a-b"] {
            assert!(Set::named(Some(name)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn ports_are_free_and_not_of_those_that_systems_give_away() {
        let ports = free_ports(Path::new("/somewhere"), 4).unwrap();
        assert!(ports.iter().all(|port| PORTS.contains(port)), "{ports:?}");
        assert!(ports.windows(2).all(|pair| pair[0] != pair[1]), "{ports:?}");
    }
}
