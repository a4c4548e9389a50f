//! Calls scripts by their digest, and reads their replies element by element.

use std::sync::OnceLock;

use goodpon_application::ports::StoreResult;
use redis::{Cmd, ToRedisArgs, Value};

use crate::codec::corrupt;

/// A script. The server refuses a script before its first command if memory is used up or it takes no writes, unless the
/// script's first line says otherwise. So a refused script had no effect.
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

    /// Makes a call with these keys; [`ScriptCall::arg`] adds its arguments.
    pub(crate) fn call(&'static self, keys: &[Vec<u8>]) -> ScriptCall {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.digest()).arg(keys.len()).arg(keys);
        ScriptCall {
            script: self,
            command,
        }
    }
}

/// A call of a script, to be sent.
pub(crate) struct ScriptCall {
    script: &'static Script,
    command: Cmd,
}

impl ScriptCall {
    /// Adds an argument. A slice of bytes is one argument, whatever it contains.
    pub(crate) fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn command(&self) -> &Cmd {
        &self.command
    }

    /// Returns the command that loads the script into a server that does not know it.
    pub(crate) fn load_command(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(self.script.code);
        command
    }
}

/// A script's reply, whose elements are read in their order.
pub(crate) struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    pub(crate) fn new(value: Value) -> StoreResult<Self> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            other => Err(corrupt(&format!("no list but {other:?}"))),
        }
    }

    /// Returns the number of elements that are not yet read.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn bytes(&mut self) -> StoreResult<Vec<u8>> {
        match self.0.next() {
            Some(Value::BulkString(bytes)) => Ok(bytes),
            other => Err(corrupt(&format!("no text but {other:?}"))),
        }
    }

    /// Reads a text's first byte; 0 if the text is empty.
    pub(crate) fn letter(&mut self) -> StoreResult<u8> {
        Ok(self.bytes()?.first().copied().unwrap_or(0))
    }

    pub(crate) fn integer(&mut self) -> StoreResult<i64> {
        match self.0.next() {
            Some(Value::Int(integer)) => Ok(integer),
            other => Err(corrupt(&format!("no integer but {other:?}"))),
        }
    }

    /// Reads an integer in decimal digits; `None` if the text is empty.
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
            .ok_or_else(|| corrupt("a malformed number"))
    }

    pub(crate) fn list(&mut self) -> StoreResult<Self> {
        Self::new(self.0.next().unwrap_or(Value::Nil))
    }
}
