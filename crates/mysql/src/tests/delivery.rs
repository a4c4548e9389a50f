//! Mail delivery by several processes.

use std::sync::Arc;

use goodpon_application::ports::{Accounts, MailContent, Mails, NewAccount, NewVerification};
use goodpon_domain::generation::Generation;

use super::{open, store};
use crate::LeasedMails;

#[tokio::test(flavor = "multi_thread")]
async fn mails_are_due_to_one_process_at_a_time() {
    let (store, clock, database) = store().await;
    let account = NewAccount {
        email: "a@x.kr".into(),
        name: "a".into(),
        password_hash: String::new(),
        generation: Generation::of_random(1),
    };
    let verification = NewVerification {
        token_digest: [1; 32],
        mail: MailContent {
            subject: "s".into(),
            text: "t".into(),
            html: "h".into(),
        },
        origin: None,
    };
    store.sign_up(account, verification).await.unwrap().unwrap();
    let outboxes: Vec<_> = (0..4)
        .map(|_| Arc::new(LeasedMails::new(open(&database, &clock))))
        .collect();
    let reads = outboxes.iter().map(|outbox| outbox.due(10));
    let due = futures::future::join_all(reads).await;
    let due: Vec<_> = due.into_iter().map(|due| due.unwrap().len()).collect();
    assert_eq!(due.iter().sum::<usize>(), 1, "{due:?}");
    let leader = due.iter().position(|count| *count == 1).unwrap();
    for _ in 0..3 {
        assert_eq!(
            outboxes[leader].due(10).await.unwrap().len(),
            1,
            "the same process keeps the lease"
        );
        assert!(outboxes[(leader + 1) % 4].due(10).await.unwrap().is_empty());
    }
    store
        .transact(|session| {
            Box::pin(async move { session.run("UPDATE leases SET until = 1", ()).await })
        })
        .await
        .unwrap();
    assert_eq!(
        outboxes[(leader + 1) % 4].due(10).await.unwrap().len(),
        1,
        "the lease ran out"
    );
    assert!(outboxes[leader].due(10).await.unwrap().is_empty());
}
