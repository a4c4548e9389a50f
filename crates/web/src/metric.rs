//! The metrics of HTTP.

use goodpon_metric::{Label, Metric};

const API: Label = Label::any("api", "`dashboard` or `partner`");

/// All of them.
pub const METRICS: [Metric; 2] = [
    Metric::histogram(
        "goodpon_http_request_duration_seconds",
        "Time from a request's head to its answer's head",
    )
    .by(&[
        API,
        Label::any("route", "the path of the contract, or `unmatched`"),
        Label::any("method", "the method, or `OTHER`"),
        Label::any("status", "the status, 499 if the client went away"),
    ]),
    Metric::counter(
        "goodpon_http_connections_cut_total",
        "Connections ended by the server, by reason: address_share (the address had its share), slow_reader",
    )
    .by(&[API, Label::any("reason", "`address_share` or `slow_reader`")]),
];
