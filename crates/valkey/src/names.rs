//! The names of keys in Valkey. Those of one gate share a hash tag, so a cluster keeps them together.

use goodpon_domain::{
    gate::{Epoch, GateId},
    id::TemplateId,
};

/// Writes the names of one gate's keys.
pub(crate) struct GateKeys {
    prefix: Vec<u8>,
}

/// Returns the name of `busy`, a server's sorted set of gates with reservations.
pub(crate) fn busy(installation: &str) -> String {
    of_installation(installation, "busy")
}

/// Writes a gate and its epoch as a member of `busy`.
pub(crate) fn busy_member(gate: GateId, epoch: Epoch) -> String {
    format!("{}:{}:{epoch}", gate.template, gate.shard)
}

/// Reads a [`busy_member`]; `None` if it is malformed.
pub(crate) fn read_busy_member(member: &[u8]) -> Option<(GateId, Epoch)> {
    let mut parts = std::str::from_utf8(member).ok()?.split(':');
    let (template, shard, epoch) = (parts.next()?, parts.next()?, parts.next()?);
    let gate = GateId {
        template: TemplateId(template.parse().ok()?),
        shard: shard.parse().ok()?,
    };
    let epoch = Epoch(epoch.parse().ok()?);
    parts.next().is_none().then_some((gate, epoch))
}

impl GateKeys {
    pub(crate) fn new(installation: &str, gate: GateId) -> Self {
        let prefix = format!(
            "goodpon:{{{installation}:{}:{}}}:",
            gate.template, gate.shard
        );
        Self {
            prefix: prefix.into_bytes(),
        }
    }

    /// Returns the name of `g`, the gate.
    pub(crate) fn gate(&self) -> Vec<u8> {
        self.with(b"g")
    }

    /// Returns the name of `u`, `p`, `z` or `q` of an epoch.
    pub(crate) fn of_epoch(&self, letter: char, epoch: Epoch) -> Vec<u8> {
        self.with(format!("{letter}:{epoch}").as_bytes())
    }

    /// Returns the name of `k`, the finished answer of an idempotency key.
    pub(crate) fn answer(&self, key: [u8; 16]) -> Vec<u8> {
        let mut name = self.with(b"k:");
        name.extend_from_slice(&key);
        name
    }

    fn with(&self, suffix: &[u8]) -> Vec<u8> {
        let mut name = Vec::with_capacity(self.prefix.len() + suffix.len() + 16);
        name.extend_from_slice(&self.prefix);
        name.extend_from_slice(suffix);
        name
    }
}

/// Returns the name of a key or channel that belongs to the installation and not to a gate.
pub(crate) fn of_installation(installation: &str, name: &str) -> String {
    format!("goodpon:{{{installation}}}:{name}")
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
        let names = GateKeys::new("here", gate);
        assert_eq!(names.gate(), b"goodpon:{here:12:3}:g");
        assert_eq!(names.of_epoch('u', Epoch(7)), b"goodpon:{here:12:3}:u:7");
        assert_eq!(
            names.answer(*b"0123456789abcdef"),
            b"goodpon:{here:12:3}:k:0123456789abcdef"
        );
    }
}
