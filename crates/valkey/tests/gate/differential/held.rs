//! Reads a gate's keys from a server, and writes the reference's contents in the same form.

use std::collections::{BTreeMap, BTreeSet};

use goodpon_domain::{coupon::IssueRefusal, gate::Epoch};
use goodpon_gate_model::gate::{Contents, Digest, Finished, Installed, Outcome, Pending};
use redis::aio::MultiplexedConnection;

use crate::scene::answer_of;

/// A gate's keys, without the values that depend on the server's clock.
#[derive(Debug, PartialEq, Default)]
pub struct Held {
    pub gate: BTreeMap<String, String>,
    pub holders: BTreeSet<Digest>,
    pub pending: BTreeMap<Digest, Vec<u8>>,
    pub due: BTreeSet<Digest>,
    pub keys: BTreeMap<Digest, Digest>,
    pub loading: BTreeMap<Epoch, BTreeSet<Digest>>,
    pub finished: BTreeMap<Digest, Vec<u8>>,
}

impl Held {
    /// Returns the keys that follow from the reference's contents.
    pub fn expected(contents: &Contents) -> Self {
        let mut held = contents.installed.as_ref().map(of_gate).unwrap_or_default();
        held.loading = contents
            .loading
            .iter()
            .map(|(epoch, loading)| (*epoch, loading.holders.clone()))
            .collect();
        held.finished = contents
            .finished
            .iter()
            .map(|(key, answer)| (*key, kept_answer(answer)))
            .collect();
        held
    }

    /// Reads the server's keys, and the time in milliseconds at which each reservation is due.
    pub async fn read(
        connection: &mut MultiplexedConnection,
        front: &str,
    ) -> (Self, BTreeMap<Digest, i64>) {
        let mut held = Self::default();
        let mut due = BTreeMap::new();
        let names: Vec<Vec<u8>> = ask(connection, "KEYS", &[format!("{front}*").as_bytes()]).await;
        let at = format!("{front}g");
        held.gate = ask(connection, "HGETALL", &[at.as_bytes()]).await;
        held.gate.remove("checked_ms");
        held.gate.remove("confirmed_at");
        let installed = held.gate.get("epoch").cloned();
        for name in names {
            let end = &name[front.len()..];
            let (letter, rest) = (end[0], end.get(2..).unwrap_or_default());
            let is_installed = installed.as_ref().is_some_and(|e| e.as_bytes() == rest);
            match letter {
                b'g' => {}
                b'u' => {
                    let mut users: BTreeSet<Vec<u8>> = ask(connection, "SMEMBERS", &[&name]).await;
                    assert!(users.remove(rest), "the mark of a load is missing");
                    let users = users.into_iter().map(digest).collect();
                    if is_installed {
                        held.holders = users;
                    } else {
                        let epoch = std::str::from_utf8(rest).unwrap().parse().unwrap();
                        held.loading.insert(Epoch(epoch), users);
                    }
                }
                b'k' => {
                    let left: i64 = ask(connection, "PTTL", &[&name]).await;
                    assert!((1..=86_400_000).contains(&left), "{left}");
                    let answer = ask(connection, "GET", &[&name]).await;
                    held.finished.insert(digest(rest.to_vec()), answer);
                }
                _ => {
                    assert!(is_installed, "a key of an epoch that is gone: {name:?}");
                    match letter {
                        b'p' => held.pending = ask(connection, "HGETALL", &[&name]).await,
                        b'q' => held.keys = ask(connection, "HGETALL", &[&name]).await,
                        b'z' => {
                            let range: [&[u8]; 4] = [&name, b"0", b"-1", b"WITHSCORES"];
                            let found: Vec<(Vec<u8>, i64)> =
                                ask(connection, "ZRANGE", &range).await;
                            due.extend(found.into_iter().map(|(user, at)| (digest(user), at)));
                        }
                        _ => panic!("an unknown key: {name:?}"),
                    }
                }
            }
        }
        held.due = due.keys().copied().collect();
        (held, due)
    }
}

pub async fn ask<T: redis::FromRedisValue>(
    connection: &mut MultiplexedConnection,
    verb: &str,
    words: &[&[u8]],
) -> T {
    let mut command = redis::cmd(verb);
    for word in words {
        command.arg(*word);
    }
    command.query_async(connection).await.unwrap()
}

fn digest(bytes: Vec<u8>) -> Digest {
    bytes.try_into().unwrap()
}

fn of_gate(gate: &Installed) -> Held {
    // The holders at the installation, and the mark of the load.
    let users = gate.holders.len() as i64 - gate.confirmed + 1;
    let fields = [
        ("epoch", gate.epoch.to_string()),
        ("server", gate.server.clone()),
        ("cap", gate.cap.to_string()),
        ("base", gate.base.to_string()),
        ("spent", gate.spent.to_string()),
        ("conf", gate.confirmed.to_string()),
        ("users", users.to_string()),
        ("layout", "1".to_owned()),
    ];
    let pending = gate.pending.iter();
    Held {
        gate: fields.map(|(name, value)| (name.to_owned(), value)).into(),
        holders: gate.holders.clone(),
        pending: pending.map(|(user, it)| (*user, kept_event(it))).collect(),
        due: gate.due.iter().map(|(_, user)| *user).collect(),
        keys: gate.keys.clone(),
        ..Held::default()
    }
}

fn kept_event(pending: &Pending) -> Vec<u8> {
    let mut bytes = pending.coupon_id.to_bytes().to_vec();
    bytes.extend(pending.accepted_at.as_microsecond().to_be_bytes());
    bytes.push(u8::from(pending.keyed.is_some()));
    if let Some(keyed) = pending.keyed {
        bytes.extend(keyed.key);
        bytes.extend(keyed.body);
    }
    bytes.extend(pending.user_id.as_bytes());
    bytes
}

fn kept_answer(answer: &Finished) -> Vec<u8> {
    let mut bytes = vec![letter(answer.outcome)];
    bytes.extend(answer.body);
    bytes.extend(answer.stored_at.as_microsecond().to_string().bytes());
    let number = answer_of(answer.outcome).unwrap();
    bytes.extend(format!(".{number}").bytes());
    bytes
}

fn letter(outcome: Outcome) -> u8 {
    match outcome {
        Ok(()) => b'I',
        Err(IssueRefusal::TemplateNotFound) => b'T',
        Err(IssueRefusal::NotOwnedByMerchant) => b'O',
        Err(IssueRefusal::NotIssuablePeriod) => b'P',
        Err(IssueRefusal::NotIssuable) => b'N',
        Err(IssueRefusal::AlreadyIssued) => b'A',
        Err(IssueRefusal::SoldOut) => b'S',
    }
}
