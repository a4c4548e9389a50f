//! Begins and ends a gate: loads its users and keys, installs it, and clears it away when its sale is over.

use goodpon_application::ports::StoreResult;
use goodpon_domain::gate::{Epoch, FoldResult, GateId, InstallResult, KeptSuccess};

use crate::{
    Bound,
    codec::{self, corrupt},
    names::GateKeys,
    script::{Reply, Script},
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
    /// Loads a batch of users, by their [digests](crate::user_digest), and of successes for `epoch`, which is about to be
    /// installed; a batch has a few thousand of each at most. At least one batch must be loaded, even if it is empty. The
    /// users wait for an hour after the latest batch. A key that has an answer keeps it.
    ///
    /// # Errors
    ///
    /// Unavailable. A batch may be loaded again in any case.
    pub async fn load(
        &self,
        gate: GateId,
        epoch: Epoch,
        users: &[[u8; 16]],
        successes: &[KeptSuccess],
    ) -> StoreResult<InstallResult> {
        let names = GateKeys::new(&self.shared().installation, gate);
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
            b'D' => Ok(InstallResult::Done),
            b'X' => Ok(self.wrong_server()),
            b'O' => Ok(InstallResult::NotOlder(read_epoch(&mut reply)?)),
            _ => Err(corrupt("an unknown answer to a load")),
        }
    }

    /// Installs `epoch` with `cap` places, if the server has exactly `loaded` users of it; `base` is the number of coupons
    /// that exist already. The keys of older epochs are deleted.
    ///
    /// # Errors
    ///
    /// Unavailable. If it may have happened, the call may be repeated, but no batch may be loaded before that.
    pub async fn install(
        &self,
        gate: GateId,
        epoch: Epoch,
        cap: i64,
        base: i64,
        loaded: usize,
    ) -> StoreResult<InstallResult> {
        let names = GateKeys::new(&self.shared().installation, gate);
        // A script may only touch keys that it was given, also to delete them. If the server has another epoch than
        // `before`, the script answers which, and is run again with that epoch's keys.
        let mut before: Option<Epoch> = None;
        loop {
            let mut keys = vec![names.gate(), names.of_epoch('u', epoch)];
            // A gate of which only `g` was lost may have left the other keys of its epoch behind.
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
                b'D' => return Ok(InstallResult::Done),
                b'X' => return Ok(self.wrong_server()),
                b'O' => return Ok(InstallResult::NotOlder(read_epoch(&mut reply)?)),
                b'N' => return Ok(InstallResult::CountDiffers(Some(reply.integer()?))),
                b'L' => return Ok(InstallResult::CountDiffers(None)),
                b'B' => before = reply.decimal()?.map(Epoch),
                _ => return Err(corrupt("an unknown answer to an installation")),
            }
        }
    }

    /// Clears away the gate of `epoch`, if it has no unconfirmed reservation. Finished answers stay until they expire.
    ///
    /// # Errors
    ///
    /// Unavailable. The call may be repeated in any case.
    pub async fn fold(&self, gate: GateId, epoch: Epoch) -> StoreResult<FoldResult> {
        let names = GateKeys::new(&self.shared().installation, gate);
        let mut keys = vec![names.gate()];
        keys.extend(['u', 'p', 'z', 'q'].map(|letter| names.of_epoch(letter, epoch)));
        let mut reply = self.run(FOLD.call(&keys).arg(epoch.0)).await?;
        match reply.letter()? {
            b'D' => Ok(FoldResult::Done),
            b'P' => Ok(FoldResult::StillPending),
            b'O' => Ok(FoldResult::NotThere(reply.decimal()?.map(Epoch))),
            _ => Err(corrupt("an unknown answer to folding")),
        }
    }

    /// Gives the pair up because a script found that the server has another identity.
    fn wrong_server(&self) -> InstallResult {
        self.give_up("a script found it to be another server than it was");
        InstallResult::WrongServer
    }
}

fn read_epoch(reply: &mut Reply) -> StoreResult<Epoch> {
    reply
        .decimal()?
        .map(Epoch)
        .ok_or_else(|| corrupt("a gate without an epoch"))
}
