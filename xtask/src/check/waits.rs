//! Waits without a deadline in code of tests: a broken guard would hang such a test instead of failing it.
//!
//! Two shapes are found: a loop that sleeps between looks, and an await of something that may never come. Either is fine
//! where a deadline is in sight: inside the call of a function that has one, or in a loop that asks for the time.
//! Tasks and threads of their own are fine too: they end with the test.

use std::collections::BTreeSet;

use proc_macro2::TokenTree;
use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Block, Expr, ExprAwait, ExprCall, ExprLoop, ExprMethodCall, ExprWhile, Local, Macro, Pat, Token,
};

use super::sources::{Source, walk};

/// Functions that end what they are given, or run it apart from the test.
const BOUNDING_CALLS: &[&str] = &[
    "eventually",
    "within",
    "timeout",
    "timeout_at",
    "spawn",
    "spawn_blocking",
    "spawn_once",
    "spawn_thread",
];

/// Pauses of a loop that looks again and again.
const PAUSES: &[&str] = &["sleep", "sleep_until", "yield_now", "park_timeout"];

/// Names by which a loop asks how late it is.
const ASKS_FOR_THE_TIME: &[&str] = &[
    "deadline",
    "elapsed",
    "is_over",
    "now",
    "recv_timeout",
    "timeout",
    "timeout_at",
    "wait_timeout",
    "within",
];

/// Methods whose future may never resolve, if what they wait for fails.
const MAY_NEVER_COME: &[&str] = &[
    "changed",
    "closed",
    "failed",
    "join_next",
    "notified",
    "recv",
    "wait",
    "wait_for",
    "wait_with_output",
];

/// Waits that may stand: the file, a part of the line, and the reason.
const ALLOWED: &[(&str, &str, &str)] = &[
    (
        "crates/telemetry/src/logs.rs",
        "self.0.recv()",
        "a pipe that is full until the test empties it; the writer's thread waits there, not the test",
    ),
    (
        "e2e/src/backend.rs",
        "asked.recv()",
        "a thread of its own, which ends when the last of those who ask is dropped",
    ),
    (
        "e2e/src/scaled/customers.rs",
        "while !self.is_closed",
        "a round closes the shop after a bounded time",
    ),
    (
        "e2e/src/scaled/proxy.rs",
        "mode.wait_for(",
        "a proxied connection lasts as long as its ends want; they have deadlines",
    ),
];

/// Every wait without a deadline, and every allowed one that is not there any more.
pub fn check(sources: &[Source]) -> Vec<String> {
    judged(sources, ALLOWED)
}

fn judged(sources: &[Source], allowed: &[(&str, &str, &str)]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources {
        let mut finder = Finder::default();
        source.tests.iter().for_each(|item| finder.visit_item(item));
        if source.serves_tests() {
            source
                .shipped
                .iter()
                .for_each(|item| finder.visit_item(item));
        }
        for (line, what) in finder.found {
            let text = source.text.lines().nth(line - 1).unwrap_or_default();
            let fits =
                |(file, part, _): &(&str, &str, &str)| source.name == *file && text.contains(part);
            match allowed.iter().position(fits) {
                Some(index) => _ = used.insert(index),
                None => faults.push(format!("{}:{line}: {what} without a deadline", source.name)),
            }
        }
    }
    for (index, (file, part, reason)) in allowed.iter().enumerate() {
        if !used.contains(&index) {
            faults.push(format!(
                "{file}: the wait `{part}` is gone ({reason}); take it out of the list in xtask/src/check/waits.rs"
            ));
        }
    }
    faults
}

#[derive(Default)]
struct Finder {
    /// Calls around the present place that end what they are given.
    bounds: usize,
    /// Names of the present block that a bounding call is given.
    bounded_names: BTreeSet<String>,
    /// The line, and what waits there.
    found: Vec<(usize, String)>,
}

impl Finder {
    fn judge_loop(&mut self, whole: &impl ToTokens, line: usize) {
        let mut names = BTreeSet::new();
        walk(whole.to_token_stream(), &mut |tree, _| {
            if let TokenTree::Ident(name) = tree {
                names.insert(name.to_string());
            }
        });
        let has = |list: &[&str]| list.iter().any(|name| names.contains(*name));
        if self.bounds == 0 && has(PAUSES) && !has(ASKS_FOR_THE_TIME) {
            self.found
                .push((line, "a loop that looks again and again".into()));
        }
    }

    fn inside(&mut self, name: Option<String>, go: impl FnOnce(&mut Self)) {
        let is_bound = name.is_some_and(|name| BOUNDING_CALLS.contains(&name.as_str()));
        self.bounds += usize::from(is_bound);
        go(self);
        self.bounds -= usize::from(is_bound);
    }
}

/// Names among the arguments of bounding calls, such as `x` in `timeout(SOON, x)`.
fn names_in_bounding_calls(block: &Block) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    walk(block.to_token_stream(), &mut |tree, after| {
        if let TokenTree::Ident(call) = tree
            && BOUNDING_CALLS.contains(&call.to_string().as_str())
            && let Some(TokenTree::Group(arguments)) = after.first()
        {
            walk(arguments.stream(), &mut |argument, _| {
                if let TokenTree::Ident(name) = argument {
                    names.insert(name.to_string());
                }
            });
        }
    });
    names
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_macro(&mut self, call: &'ast Macro) {
        // Of `assert_eq!` and its like; what is no list of expressions is left out.
        if let Ok(arguments) = call.parse_body_with(Punctuated::<Expr, Token![,]>::parse_terminated)
        {
            let mut finder = Self {
                bounds: self.bounds,
                ..Self::default()
            };
            for argument in &arguments {
                finder.visit_expr(argument);
            }
            self.found.append(&mut finder.found);
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        let outer = self.bounded_names.clone();
        self.bounded_names.extend(names_in_bounding_calls(block));
        visit::visit_block(self, block);
        self.bounded_names = outer;
    }

    fn visit_local(&mut self, local: &'ast Local) {
        let is_bounded = match (&local.pat, &local.init) {
            (Pat::Ident(name), Some(init)) if matches!(*init.expr, Expr::Async(_)) => {
                self.bounded_names.contains(&name.ident.to_string())
            }
            _ => false,
        };
        self.bounds += usize::from(is_bounded);
        visit::visit_local(self, local);
        self.bounds -= usize::from(is_bounded);
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        let name = match &*call.func {
            Expr::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        self.inside(name, |finder| visit::visit_expr_call(finder, call));
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let name = call.method.to_string();
        if name == "recv" && call.args.is_empty() && self.bounds == 0 {
            let line = call.method.span().start().line;
            self.found.push((line, "`recv()`".into()));
        }
        self.inside(Some(name), |finder| {
            visit::visit_expr_method_call(finder, call)
        });
    }

    fn visit_expr_loop(&mut self, one: &'ast ExprLoop) {
        self.judge_loop(one, one.loop_token.span().start().line);
        visit::visit_expr_loop(self, one);
    }

    fn visit_expr_while(&mut self, one: &'ast ExprWhile) {
        self.judge_loop(one, one.while_token.span().start().line);
        visit::visit_expr_while(self, one);
    }

    fn visit_expr_await(&mut self, one: &'ast ExprAwait) {
        let Expr::MethodCall(call) = &*one.base else {
            return visit::visit_expr_await(self, one);
        };
        let name = call.method.to_string();
        if self.bounds == 0 && MAY_NEVER_COME.contains(&name.as_str()) {
            let line = call.method.span().start().line;
            self.found.push((line, format!("`{name}().await`")));
        }
        self.inside(Some(name), |finder| {
            finder.visit_expr(&call.receiver);
            call.args
                .iter()
                .for_each(|argument| finder.visit_expr(argument));
        });
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::*;

    fn faults(body: &str) -> Result<Vec<String>> {
        let text = format!("async fn test() {{\n{body}\n}}");
        let source = Source::parse("crates/x/tests/a.rs", &text)?;
        Ok(judged(&[source], &[]))
    }

    #[test]
    fn a_loop_that_sleeps_needs_a_deadline() -> Result<()> {
        for body in [
            "while !is_so() {\nsleep(PAUSE).await;\n}",
            "loop { if done() { break; } thread::sleep(PAUSE); }",
        ] {
            assert_eq!(
                faults(body)?,
                ["crates/x/tests/a.rs:2: a loop that looks again and again without a deadline"]
            );
        }
        for body in [
            "while !is_so() { assert!(Instant::now() < deadline); sleep(PAUSE).await; }",
            "timeout(DEADLINE, async { while !is_so() { sleep(PAUSE).await; } }).await",
            "let waits = async { loop { yield_now().await; } }; timeout(SOON, waits).await",
            "tokio::spawn(async { loop { sleep(PAUSE).await; } });",
            "for _ in 0..3 { sleep(PAUSE).await; }",
            "while let Some(next) = left.pop() { see(next); }",
        ] {
            assert_eq!(faults(body)?, Vec::<String>::new(), "{body}");
        }
        Ok(())
    }

    #[test]
    fn an_await_of_what_may_never_come_needs_a_deadline() -> Result<()> {
        let found = faults(
            "receiver.recv().await;\nwithin(\"x\", child.wait()).await;\nassert_eq!(channel.recv(), 1);",
        )?;
        assert_eq!(
            found,
            [
                "crates/x/tests/a.rs:2: `recv().await` without a deadline",
                "crates/x/tests/a.rs:4: `recv()` without a deadline",
            ]
        );
        Ok(())
    }

    #[test]
    fn code_that_ships_is_left_out() -> Result<()> {
        let text = "async fn f() { a.recv().await } #[cfg(test)] mod tests { async fn f() { a.recv().await } }";
        let shipped = Source::parse("crates/x/src/a.rs", text)?;
        let of_tests = Source::parse("e2e/src/a.rs", text)?;
        assert_eq!(judged(&[shipped], &[]).len(), 1);
        assert_eq!(judged(&[of_tests], &[]).len(), 2);
        Ok(())
    }

    #[test]
    fn an_allowed_wait_that_is_gone_is_a_fault() -> Result<()> {
        let allowed = [("crates/x/tests/a.rs", "receiver.recv()", "why")];
        let parse = |body| Source::parse("crates/x/tests/a.rs", body);
        let there = parse("async fn f() { receiver.recv().await; }")?;
        assert_eq!(judged(&[there], &allowed), Vec::<String>::new());
        assert_eq!(judged(&[parse("async fn f() {}")?], &allowed).len(), 1);
        Ok(())
    }
}
