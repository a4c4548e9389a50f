//! The gates on simulated Valkey servers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use goodpon_application::ports::StoreResult;
use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{
        Closed, Confirmation, Due, Epoch, FoldResult, GateId, InstallResult, IssueEvent,
        KeptSuccess, KeyDigests, Look, RefusalAnswers, Taken,
    },
};
use goodpon_scaled::ports::{GateServer, GateServers};
use jiff::Timestamp;

use crate::world::{
    TEMPLATE, World,
    call::{CallKind, Caller, unavailable},
    scripts::Wire,
};

/// A process's way to the gates' server.
pub(crate) struct Servers(pub(crate) Caller);

impl GateServers for Servers {
    fn bound(&self) -> StoreResult<Arc<dyn GateServer>> {
        let process = self.0.process;
        let connection = self.0.shared.world().connect(process)?;
        Ok(Arc::new(Bound {
            caller: self.0.clone(),
            wire: Wire {
                process,
                connection,
            },
        }))
    }
}

/// A connection that never leads to another server.
struct Bound {
    caller: Caller,
    wire: Wire,
}

impl Bound {
    /// Runs a script, when the schedule lets it run.
    async fn run<T: Send + 'static>(
        &self,
        name: &'static str,
        mut effect: impl FnMut(&mut World, &Wire) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let wire = self.wire.clone();
        self.caller
            .call(CallKind::Script, name, move |world| effect(world, &wire))
            .await
    }
}

#[async_trait]
impl GateServer for Bound {
    fn server(&self) -> &str {
        &self.wire.connection.identity
    }

    async fn prove_writable(&self) -> StoreResult<()> {
        self.run("proves that the server takes writes", |world, wire| {
            world.script(wire.process, &wire.connection, |_, _| ())?;
            match world.give_up_if_moved(wire.process, &wire.connection) {
                true => Err(unavailable("it is not the server that it was", false)),
                false => Ok(()),
            }
        })
        .await
    }

    async fn take(
        &self,
        _: GateId,
        event: &IssueEvent,
        verdict: Option<IssueRefusal>,
        _: RefusalAnswers,
        now: Timestamp,
    ) -> StoreResult<Taken> {
        let event = event.clone();
        self.run("asks for a place", move |world, wire| {
            world.take(wire, &event, verdict, now)
        })
        .await
    }

    async fn confirm(
        &self,
        _: GateId,
        epoch: Epoch,
        events: &[Confirmation],
        now: Timestamp,
    ) -> StoreResult<Vec<bool>> {
        let events = events.to_vec();
        self.run("confirms", move |world, wire| {
            world.confirm(wire, epoch, &events, now)
        })
        .await
    }

    async fn remember(
        &self,
        _: GateId,
        epoch: Epoch,
        keyed: KeyDigests,
        verdict: IssueRefusal,
        _: Option<u32>,
        now: Timestamp,
    ) -> StoreResult<Taken> {
        self.run("remembers a refusal", move |world, wire| {
            world.remember(wire, epoch, keyed, verdict, now)
        })
        .await
    }

    async fn look(
        &self,
        _: GateId,
        epoch: Epoch,
        user: Option<&str>,
        keyed: Option<KeyDigests>,
        now: Timestamp,
    ) -> StoreResult<Look> {
        let user = user.map(str::to_owned);
        self.run("looks at the gate", move |world, wire| {
            world.look(wire, epoch, user.as_deref(), keyed, now)
        })
        .await
    }

    async fn pending(
        &self,
        _: GateId,
        epoch: Epoch,
        _: Duration,
        limit: usize,
    ) -> StoreResult<Result<Due, Closed>> {
        self.run("reads what is pending", move |world, wire| {
            world.pending(wire, epoch, limit)
        })
        .await
    }

    async fn busy(&self, _: usize) -> StoreResult<Vec<(GateId, Epoch)>> {
        self.run("reads which gates have reservations", |world, wire| {
            let busy = world.busy(wire)?;
            Ok(busy
                .map(|epoch| (GateId::of(TEMPLATE), epoch))
                .into_iter()
                .collect())
        })
        .await
    }

    async fn may_sweep(&self, within: Duration) -> StoreResult<bool> {
        self.run("asks whether to look at all gates", move |world, wire| {
            world.sweep(wire, within)
        })
        .await
    }

    async fn load(
        &self,
        _: GateId,
        epoch: Epoch,
        users: &[[u8; 16]],
        successes: &[KeptSuccess],
    ) -> StoreResult<InstallResult> {
        let (users, successes) = (users.to_vec(), successes.to_vec());
        self.run("loads users", move |world, wire| {
            world.load(wire, epoch, &users, &successes)
        })
        .await
    }

    async fn install(
        &self,
        _: GateId,
        epoch: Epoch,
        cap: i64,
        base: i64,
        loaded: usize,
    ) -> StoreResult<InstallResult> {
        self.run("installs the epoch", move |world, wire| {
            world.install(wire, epoch, cap, base, loaded)
        })
        .await
    }

    async fn fold(&self, _: GateId, epoch: Epoch) -> StoreResult<FoldResult> {
        self.run("clears the gate away", move |world, wire| {
            world.fold(wire, epoch)
        })
        .await
    }
}
