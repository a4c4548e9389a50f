//! A gate's beginning and end: its users and keys are brought, it is installed, and once all is over cleared away.

use goodpon_application::ports::StoreResult;
use goodpon_domain::gate::{Epoch, Folding, GateId, Installation, KeptSuccess};

use crate::{
    Bound,
    codec::{self, corrupt},
    names::Names,
    script::Script,
};

static LOAD: Script = Script::new(concat!(
    "#!lua\n",
    include_str!("server.lua"),
    include_str!("load.lua")
));

static INSTALL: Script = Script::new(concat!(
    "#!lua\n",
    include_str!("server.lua"),
    include_str!("install.lua")
));

static FOLD: Script = Script::new(concat!("#!lua flags=allow-oom\n", include_str!("fold.lua")));

impl Bound {
    /// Brings a batch of users, by their [digests](crate::user_digest), and of successes for `epoch`, which is about
    /// to be installed; some thousand at a time. At least one batch must be brought, be it empty. What was brought
    /// waits for an hour from the latest batch on. A key that has an answer keeps it.
    ///
    /// # Errors
    ///
    /// Unavailable; a batch may be brought again in any case.
    pub async fn load(
        &self,
        gate: GateId,
        epoch: Epoch,
        users: &[[u8; 16]],
        successes: &[KeptSuccess],
    ) -> StoreResult<Installation> {
        let names = Names::new(&self.shared().installation, gate);
        let mut keys = vec![names.gate(), names.of_epoch('u', epoch)];
        keys.extend(successes.iter().map(|s| names.answer(s.keyed.key)));
        let mut call = LOAD
            .call(&keys)
            .arg(self.server())
            .arg(epoch.0)
            .arg(users.len());
        for user in users {
            call = call.arg(&user[..]);
        }
        for success in successes {
            let rest = i64::try_from(success.rest.as_millis()).unwrap_or(i64::MAX);
            call = call
                .arg(codec::success(
                    success.keyed.body,
                    success.stored_at,
                    success.answer,
                ))
                .arg(rest.max(1));
        }
        let mut reply = self.run(call).await?;
        match reply.letter()? {
            b'D' => Ok(Installation::Done),
            b'X' => Ok(self.wrong_server()),
            b'O' => Ok(Installation::NotOlder(epoch_there(reply.decimal()?)?)),
            _ => Err(corrupt("an unknown answer to a load")),
        }
    }

    /// Installs `epoch` with `cap` places, if the `loaded` users are all there; `base` is how many coupons there were
    /// before. What was there of an older epoch goes.
    ///
    /// # Errors
    ///
    /// Unavailable. If it may have happened it may be asked again, but nothing may be loaded again before.
    pub async fn install(
        &self,
        gate: GateId,
        epoch: Epoch,
        cap: i64,
        base: i64,
        loaded: usize,
    ) -> StoreResult<Installation> {
        let names = Names::new(&self.shared().installation, gate);
        let mut before: Option<Epoch> = None;
        // The names of what goes must be told; which epoch is there is known from the script's own answer.
        loop {
            let mut keys = vec![names.gate(), names.of_epoch('u', epoch)];
            // A gate that was lost may have left the rest of its epoch behind.
            let last = Epoch(epoch.0 - 1);
            for older in [Some(last), before.filter(|before| *before != last)] {
                let older = older.into_iter();
                keys.extend(older.flat_map(|e| ['u', 'p', 'z', 'q'].map(|l| names.of_epoch(l, e))));
            }
            let call = INSTALL
                .call(&keys)
                .arg(self.server())
                .arg(epoch.0)
                .arg(cap)
                .arg(base)
                .arg(loaded)
                .arg(before.map(|epoch| epoch.0.to_string()).unwrap_or_default());
            let mut reply = self.run(call).await?;
            match reply.letter()? {
                b'D' => return Ok(Installation::Done),
                b'X' => return Ok(self.wrong_server()),
                b'O' => return Ok(Installation::NotOlder(epoch_there(reply.decimal()?)?)),
                b'N' => return Ok(Installation::CountDiffers(Some(reply.integer()?))),
                b'L' => return Ok(Installation::CountDiffers(None)),
                b'B' => before = reply.decimal()?.map(Epoch),
                _ => return Err(corrupt("an unknown answer to an installation")),
            }
        }
    }

    /// Clears away the gate of `epoch`, if nothing of it is pending. Finished answers stay until they expire.
    ///
    /// # Errors
    ///
    /// Unavailable; it may be asked again in any case.
    pub async fn fold(&self, gate: GateId, epoch: Epoch) -> StoreResult<Folding> {
        let names = Names::new(&self.shared().installation, gate);
        let mut keys = vec![names.gate()];
        keys.extend(['u', 'p', 'z', 'q'].map(|letter| names.of_epoch(letter, epoch)));
        let mut reply = self.run(FOLD.call(&keys).arg(epoch.0)).await?;
        match reply.letter()? {
            b'D' => Ok(Folding::Done),
            b'P' => Ok(Folding::StillPending),
            b'O' => Ok(Folding::NotThere(reply.decimal()?.map(Epoch))),
            _ => Err(corrupt("an unknown answer to folding")),
        }
    }

    fn wrong_server(&self) -> Installation {
        self.give_up("a script found it to be another server than it was");
        Installation::WrongServer
    }
}

fn epoch_there(epoch: Option<i64>) -> StoreResult<Epoch> {
    epoch
        .map(Epoch)
        .ok_or_else(|| corrupt("a gate without an epoch"))
}
