//! Calls of scripts: by their digest, with what the server answers read piece by piece.

use std::sync::OnceLock;

use goodpon_application::ports::StoreResult;
use redis::{Cmd, ToRedisArgs, Value};

use crate::codec::corrupt;

/// A script. Those that write are refused whole where memory is used up or the server takes no writes, unless their
/// first line says otherwise: so what was refused has not happened.
pub(crate) struct Script {
    code: &'static str,
    digest: OnceLock<String>,
}

impl Script {
    pub(crate) const fn new(code: &'static str) -> Self {
        Self {
            code,
            digest: OnceLock::new(),
        }
    }

    fn digest(&self) -> &str {
        self.digest
            .get_or_init(|| redis::Script::new(self.code).get_hash().to_owned())
    }

    /// A call with these keys; arguments follow by [`Call::arg`].
    pub(crate) fn call(&'static self, keys: &[Vec<u8>]) -> Call {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.digest()).arg(keys.len()).arg(keys);
        Call {
            script: self,
            command,
        }
    }
}

/// A call to be sent.
pub(crate) struct Call {
    script: &'static Script,
    command: Cmd,
}

impl Call {
    /// Adds an argument. Bytes are one argument, whatever they hold.
    pub(crate) fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn command(&self) -> &Cmd {
        &self.command
    }

    /// Makes the script known to a server that does not know it.
    pub(crate) fn introduction(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(self.script.code);
        command
    }
}

/// What a script answered, in the order in which it is read.
pub(crate) struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    pub(crate) fn new(value: Value) -> StoreResult<Self> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            other => Err(corrupt(&format!("no list but {other:?}"))),
        }
    }

    /// How many pieces are left.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn bytes(&mut self) -> StoreResult<Vec<u8>> {
        match self.0.next() {
            Some(Value::BulkString(bytes)) => Ok(bytes),
            other => Err(corrupt(&format!("no text but {other:?}"))),
        }
    }

    /// One letter, or 0 for none.
    pub(crate) fn letter(&mut self) -> StoreResult<u8> {
        Ok(self.bytes()?.first().copied().unwrap_or(0))
    }

    pub(crate) fn integer(&mut self) -> StoreResult<i64> {
        match self.0.next() {
            Some(Value::Int(integer)) => Ok(integer),
            other => Err(corrupt(&format!("no integer but {other:?}"))),
        }
    }

    /// An integer that is written out, or nothing.
    pub(crate) fn decimal(&mut self) -> StoreResult<Option<i64>> {
        let text = self.bytes()?;
        if text.is_empty() {
            return Ok(None);
        }
        let number = std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.parse().ok());
        number
            .map(Some)
            .ok_or_else(|| corrupt("a number that is none"))
    }

    pub(crate) fn list(&mut self) -> StoreResult<Self> {
        Self::new(self.0.next().unwrap_or(Value::Nil))
    }
}
