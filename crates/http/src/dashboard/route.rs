//! Routes of the dashboard API with their policies: who may call, within which limit, and how changes are audited.

use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use utoipa_axum::router::UtoipaMethodRouter;

use super::access::{Access, Guard, PickLimit, guard};
use super::document;
use super::state::Dashboard;
use crate::error::ApiError;
use crate::error_code::ErrorCode;
use crate::openapi::common;

/// The policy of one path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    access: Access,
    event: Option<&'static str>,
}

/// Lets requests in without a token.
pub(super) fn open() -> Policy {
    Policy::of(Access::Open(None))
}

/// Lets requests in without a token, changes only as often as this limit allows.
pub(super) fn open_within(limit: PickLimit) -> Policy {
    Policy::of(Access::Open(Some(limit)))
}

/// Lets requests of an account in, verified or not.
pub(super) fn any_account() -> Policy {
    Policy::of(Access::AnyAccount)
}

/// Lets requests of a verified account in.
pub(super) fn verified() -> Policy {
    Policy::of(Access::VerifiedAccount)
}

impl Policy {
    fn of(access: Access) -> Self {
        let event = None;
        Self { access, event }
    }

    /// Logs each change, done or not, as this event of the security log.
    pub(super) fn audited(self, event: &'static str) -> Self {
        Self {
            event: Some(event),
            ..self
        }
    }

    /// Puts calls of one path under the policy.
    pub(super) fn on(self, calls: UtoipaMethodRouter<Dashboard>) -> Route {
        let policy = self;
        Route { calls, policy }
    }

    /// Puts a guard around methods of one path. Other methods are refused once a request has passed the checks before
    /// that. `refuse` renders both.
    pub(super) fn guard(
        self,
        methods: MethodRouter<Dashboard>,
        dashboard: &Dashboard,
        refuse: fn(ApiError) -> Response,
    ) -> MethodRouter<Dashboard> {
        let other_methods = match self.access {
            Access::Open(_) => open(),
            Access::AnyAccount | Access::VerifiedAccount => verified(),
        };
        let wrong_method = async move || refuse(ErrorCode::MethodNotAllowed.into());
        let of_others = other_methods.guard_of(dashboard, refuse);
        methods
            .route_layer(from_fn_with_state(self.guard_of(dashboard, refuse), guard))
            .fallback(wrong_method.layer(from_fn_with_state(of_others, guard)))
    }

    /// The guard of the policy, as a state of the middleware [`guard`].
    pub(super) fn guard_of(self, dashboard: &Dashboard, refuse: fn(ApiError) -> Response) -> Guard {
        Guard {
            dashboard: dashboard.clone(),
            access: self.access,
            event: self.event,
            refuse,
        }
    }
}

/// Calls of one path under their policy.
pub(super) struct Route {
    calls: UtoipaMethodRouter<Dashboard>,
    policy: Policy,
}

impl Route {
    /// The calls with their complete documentation, and without a guard.
    pub(super) fn documented(self) -> UtoipaMethodRouter<Dashboard> {
        let (schemas, mut paths, methods) = self.calls;
        common::complete(&mut paths, |operation| {
            document::demand(self.policy.access, operation);
        });
        (schemas, paths, methods)
    }

    /// The calls with the guard of their policy.
    pub(super) fn guarded(self, dashboard: &Dashboard) -> UtoipaMethodRouter<Dashboard> {
        let (schemas, paths, methods) = self.calls;
        let refuse = ApiError::into_response;
        let methods = self.policy.guard(methods, dashboard, refuse);
        (schemas, paths, methods)
    }
}
