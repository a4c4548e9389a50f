//! Reads the state of a gate, and hands out its reservations that are due for help.

use std::time::Duration;

use goodpon_application::ports::StoreResult;
use goodpon_domain::gate::{
    Closed, Counts, Due, Epoch, GateId, Holding, KeyDigests, KeyState, Look,
};
use jiff::Timestamp;

use crate::{
    Bound,
    codec::{self, corrupt, user_digest},
    gate::finished,
    names::{self, GateKeys},
    script::{Reply, Script},
};

static LOOK: Script = Script::new(concat!(
    "#!lua flags=no-writes\n",
    include_str!("server.lua"),
    include_str!("answer.lua"),
    include_str!("look.lua")
));

static STRANGERS: Script = Script::new(concat!(
    "#!lua flags=no-writes\n",
    include_str!("server.lua"),
    include_str!("strangers.lua")
));

static BUSY: Script = Script::new(concat!(
    "#!lua flags=no-writes\n",
    include_str!("server.lua"),
    include_str!("busy.lua")
));

static PENDING: Script = Script::new(concat!(
    "#!lua flags=allow-oom\n",
    include_str!("server.lua"),
    include_str!("pending.lua")
));

impl Bound {
    /// Reads the state of a gate, and of `user` and `keyed` if they are given, without changing anything.
    ///
    /// # Errors
    ///
    /// Unavailable.
    pub async fn look(
        &self,
        gate: GateId,
        epoch: Epoch,
        user: Option<&str>,
        keyed: Option<KeyDigests>,
        now: Timestamp,
    ) -> StoreResult<Look> {
        let names = GateKeys::new(&self.shared().installation, gate);
        let mut keys = vec![names.gate()];
        keys.extend(['u', 'p', 'q'].map(|letter| names.of_epoch(letter, epoch)));
        keys.extend(keyed.map(|keyed| names.answer(keyed.key)));
        let user = user.map(user_digest);
        let mut call = LOOK
            .call(&keys)
            .arg(self.server())
            .arg(epoch.0)
            .arg(now.as_microsecond())
            .arg(user.as_ref().map_or(&[][..], |user| &user[..]));
        if let Some(keyed) = keyed {
            call = call.arg(&keyed.key[..]).arg(&keyed.body[..]);
        }
        let mut reply = self.run(call).await?;
        let key = read_key(reply.list()?)?;
        let mut about_gate = reply.list()?;
        let gate = match about_gate.letter()? {
            b'D' => Ok(read_counts(about_gate)?),
            b'C' => Err(self.closed(gate, &mut about_gate)?),
            _ => return Err(corrupt("an unknown answer to a look")),
        };
        Ok(Look { key, gate })
    }

    /// Counts those of these users who have neither a coupon nor a reservation at the gate. Returns 0 if the gate is closed
    /// to the caller.
    ///
    /// # Errors
    ///
    /// Unavailable.
    pub async fn count_unknown_users(
        &self,
        gate: GateId,
        epoch: Epoch,
        users: &[[u8; 16]],
    ) -> StoreResult<usize> {
        let names = GateKeys::new(&self.shared().installation, gate);
        let mut keys = vec![names.gate()];
        keys.extend(['u', 'p'].map(|letter| names.of_epoch(letter, epoch)));
        let mut call = STRANGERS.call(&keys).arg(self.server()).arg(epoch.0);
        for user in users {
            call = call.arg(&user[..]);
        }
        let mut reply = self.run(call).await?;
        match reply.letter()? {
            b'D' => usize::try_from(reply.integer()?).map_err(|_| corrupt("a negative count")),
            b'C' => Ok(0),
            _ => Err(corrupt("an unknown answer to a count of unknown users")),
        }
    }

    /// Hands out up to `limit` events that have been due for help for at least `age`, oldest first. An event is first due a
    /// second after its place was given, and again a second after each time that it was handed out.
    ///
    /// # Errors
    ///
    /// Unavailable. The call may be repeated in any case.
    pub async fn pending(
        &self,
        gate: GateId,
        epoch: Epoch,
        age: Duration,
        limit: usize,
    ) -> StoreResult<Result<Due, Closed>> {
        let names = GateKeys::new(&self.shared().installation, gate);
        let mut keys = vec![names.gate()];
        keys.extend(['u', 'p', 'z', 'q'].map(|letter| names.of_epoch(letter, epoch)));
        keys.push(names::busy(&self.shared().installation).into_bytes());
        let call = PENDING
            .call(&keys)
            .arg(self.server())
            .arg(epoch.0)
            .arg(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
            .arg(limit)
            .arg(names::busy_member(gate, epoch));
        let mut reply = self.run(call).await?;
        if reply.letter()? == b'C' {
            return Ok(Err(self.closed(gate, &mut reply)?));
        }
        let mut due = Due::default();
        while reply.len() > 0 {
            // The publisher of a copy sets `valid_until`.
            let not_yet_valid = Timestamp::UNIX_EPOCH;
            match codec::read_event(&reply.bytes()?, gate.template, epoch, not_yet_valid) {
                Some(event) => due.events.push(event),
                None => due.unreadable += 1,
            }
        }
        Ok(Ok(due))
    }

    /// Reads up to `limit` gates of this server whose reservations are due to be looked at, by [`Self::pending`]. A gate
    /// with a reservation is among them within two seconds, unless a program of the previous version made it: that one
    /// does not note its gates.
    ///
    /// # Errors
    ///
    /// Unavailable.
    pub async fn busy(&self, limit: usize) -> StoreResult<Vec<(GateId, Epoch)>> {
        let key = names::busy(&self.shared().installation).into_bytes();
        let mut reply = self.run(BUSY.call(&[key]).arg(limit)).await?;
        let mut gates = Vec::with_capacity(reply.len());
        while reply.len() > 0 {
            gates.extend(names::read_busy_member(&reply.bytes()?));
        }
        Ok(gates)
    }

    /// Reads all gates that are noted as having reservations, due or not.
    ///
    /// # Errors
    ///
    /// Unavailable.
    pub async fn all_busy(&self) -> StoreResult<Vec<(GateId, Epoch)>> {
        let key = names::busy(&self.shared().installation);
        let mut range = redis::cmd("ZRANGE");
        range.arg(key).arg(0).arg(-1);
        let members: Vec<Vec<u8>> = self.query(&range).await?;
        let read = members.iter().map(|one| names::read_busy_member(one));
        Ok(read.flatten().collect())
    }

    /// Returns whether the caller is to look at all gates now, because no process has done so for `within`. At most one
    /// caller gets true in that time.
    ///
    /// # Errors
    ///
    /// Unavailable.
    pub async fn may_sweep(&self, within: Duration) -> StoreResult<bool> {
        let key = names::of_installation(&self.shared().installation, "sweep");
        let mut set = redis::cmd("SET");
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        set.arg(key).arg("1").arg("NX").arg("PX").arg(within);
        Ok(self.query::<Option<String>>(&set).await?.is_some())
    }
}

fn read_key(mut reply: Reply) -> StoreResult<Option<KeyState>> {
    if reply.len() == 0 {
        return Ok(None);
    }
    Ok(Some(match reply.letter()? {
        b'Y' => KeyState::Replay(finished(&mut reply)?),
        b'M' => KeyState::Mismatch,
        b'V' => KeyState::Unreadable,
        b'P' => KeyState::Pending,
        _ => return Err(corrupt("an unknown state of a key")),
    }))
}

fn read_counts(mut reply: Reply) -> StoreResult<Counts> {
    Ok(Counts {
        cap: reply.integer()?,
        base: reply.integer()?,
        spent: reply.integer()?,
        confirmed: reply.integer()?,
        user: match reply.letter()? {
            0 => None,
            b'I' => Some(Holding::Coupon),
            b'P' => Some(Holding::Pending),
            _ => return Err(corrupt("an unknown holding")),
        },
        confirmed_at: match reply.decimal()? {
            None => None,
            Some(at) => Some(
                Timestamp::from_microsecond(at)
                    .map_err(|_| corrupt("a time beyond the calendar"))?,
            ),
        },
    })
}
