//! The names of a gate's keys. All stand under one hash tag, so a cluster keeps them together.

use goodpon_domain::{
    gate::{Epoch, GateId},
    id::TemplateId,
};

/// Writes the names of one gate's keys.
pub(crate) struct Names {
    front: Vec<u8>,
}

/// The name of a server's list of gates with reservations.
pub(crate) fn busy(installation: &str) -> String {
    of_installation(installation, "busy")
}

/// An epoch of a gate in that list.
pub(crate) fn in_busy(gate: GateId, epoch: Epoch) -> String {
    format!("{}:{}:{epoch}", gate.template, gate.shard)
}

/// Reads [`in_busy`].
pub(crate) fn read_busy(text: &[u8]) -> Option<(GateId, Epoch)> {
    let mut parts = std::str::from_utf8(text).ok()?.split(':');
    let (template, shard, epoch) = (parts.next()?, parts.next()?, parts.next()?);
    let gate = GateId {
        template: TemplateId(template.parse().ok()?),
        shard: shard.parse().ok()?,
    };
    let epoch = Epoch(epoch.parse().ok()?);
    parts.next().is_none().then_some((gate, epoch))
}

impl Names {
    pub(crate) fn new(installation: &str, gate: GateId) -> Self {
        let front = format!(
            "goodpon:{{{installation}:{}:{}}}:",
            gate.template, gate.shard
        );
        Self {
            front: front.into_bytes(),
        }
    }

    /// `g`, the gate.
    pub(crate) fn gate(&self) -> Vec<u8> {
        self.with(b"g")
    }

    /// `u`, `p`, `z` or `q` of an epoch.
    pub(crate) fn of_epoch(&self, letter: char, epoch: Epoch) -> Vec<u8> {
        self.with(format!("{letter}:{epoch}").as_bytes())
    }

    /// `k`, the finished answer to a key.
    pub(crate) fn answer(&self, key: [u8; 16]) -> Vec<u8> {
        let mut name = self.with(b"k:");
        name.extend_from_slice(&key);
        name
    }

    fn with(&self, end: &[u8]) -> Vec<u8> {
        let mut name = Vec::with_capacity(self.front.len() + end.len() + 16);
        name.extend_from_slice(&self.front);
        name.extend_from_slice(end);
        name
    }
}

/// A name of the installation's own, not of a gate.
pub(crate) fn of_installation(installation: &str, what: &str) -> String {
    format!("goodpon:{{{installation}}}:{what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_of_a_gate_share_its_hash_tag() {
        let gate = GateId {
            template: TemplateId(12),
            shard: 3,
        };
        let names = Names::new("here", gate);
        assert_eq!(names.gate(), b"goodpon:{here:12:3}:g");
        assert_eq!(names.of_epoch('u', Epoch(7)), b"goodpon:{here:12:3}:u:7");
        assert_eq!(
            names.answer(*b"0123456789abcdef"),
            b"goodpon:{here:12:3}:k:0123456789abcdef"
        );
    }
}
