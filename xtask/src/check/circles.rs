//! Circles between the files of a crate: files that cannot be understood one after the other.
//!
//! A file uses another if it names something that the other defines, in a `use` or as a path. Re-exports are followed
//! to the file that defines the name, and are no use themselves. Code of tests does not count.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{ItemUse, Path, Visibility};

use super::modules::{
    ModulePath, Modules, absolute, collect, file_of, flattened, module_path, resolve_bindings,
};
use super::sources::{Source, is_char, walk};

/// Files of one crate that may use each other in a circle.
struct Allowed {
    folder: &'static str,
    /// Below `src`; `*` stands for all.
    files: &'static [&'static str],
    reason: &'static str,
}

const ALLOWED: &[Allowed] = &[
    Allowed {
        folder: "crates/gate-model",
        files: &[
            "sale.rs",
            "sale/agenda.rs",
            "sale/course.rs",
            "sale/opening.rs",
            "sale/request.rs",
        ],
        reason: "frozen: a simulation of one moment, kept for the tables of docs/scale.md",
    },
    Allowed {
        folder: "crates/simulator",
        files: &[
            "size.rs",
            "world.rs",
            "world/call.rs",
            "world/database.rs",
            "world/issuing.rs",
            "world/log.rs",
            "world/truth.rs",
            "world/valkey.rs",
        ],
        reason: "one world in parts: each file has a part's state, which the world owns, and what calls do to it",
    },
];

/// Re-exports that are followed before a path is given up.
const MAX_HOPS: usize = 8;

/// Every circle that is not allowed, and every allowed one that is not there any more.
pub fn check(sources: &[Source]) -> Vec<String> {
    judged(sources, ALLOWED)
}

fn judged(sources: &[Source], allowed: &[Allowed]) -> Vec<String> {
    let folders: BTreeSet<&str> = sources.iter().map(Source::folder).collect();
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for folder in folders {
        let Uses(uses) = Uses::of(folder, sources);
        for circle in circles(&uses) {
            let fits = |one: &Allowed| {
                let covers = |file: &&str| one.files.contains(file);
                one.folder == folder && circle.iter().all(covers)
            };
            match allowed.iter().position(fits) {
                Some(index) => _ = used.insert(index),
                None => faults.push(described(folder, &circle, &uses)),
            }
        }
    }
    for (index, one) in allowed.iter().enumerate() {
        if !used.contains(&index) {
            faults.push(format!(
                "{}: the circle of {} is gone ({}); take it out of the list in xtask/src/check/circles.rs",
                one.folder,
                one.files.join(", "),
                one.reason
            ));
        }
    }
    faults
}

fn described(folder: &str, circle: &BTreeSet<&str>, uses: &Edges) -> String {
    let mut text = format!("{folder}/src: these files use each other in a circle:");
    for file in circle {
        let targets = uses.get(*file).into_iter().flatten();
        let inside: Vec<&str> = targets
            .map(String::as_str)
            .filter(|target| circle.contains(target))
            .collect();
        text.push_str(&format!("\n    {file} uses {}", inside.join(", ")));
    }
    text
}

/// The files that each file uses.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// Sets of files of which each can be reached from each.
fn circles(uses: &Edges) -> Vec<BTreeSet<&str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> = uses
        .keys()
        .map(|file| (file.as_str(), reachable(file, uses)))
        .collect();
    let mut found: Vec<BTreeSet<&str>> = Vec::new();
    for (file, beyond) in &reached {
        let circle: BTreeSet<&str> = beyond
            .iter()
            .copied()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(file)))
            .collect();
        if circle.len() > 1 && !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

fn reachable<'a>(file: &str, uses: &'a Edges) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut left: Vec<&str> = vec![file];
    while let Some(next) = left.pop() {
        for target in uses.get(next).into_iter().flatten() {
            if reached.insert(target.as_str()) {
                left.push(target);
            }
        }
    }
    reached
}

struct Uses(Edges);

impl Uses {
    /// Of the crate in a folder. Programs under `src/bin` are other crates.
    fn of(folder: &str, sources: &[Source]) -> Self {
        let root = format!("{folder}/src/");
        let mut modules = Modules::new();
        let mut files = Vec::new();
        for source in sources.iter().filter(|one| !one.shipped.is_empty()) {
            let Some(file) = source.name.strip_prefix(&root) else {
                continue;
            };
            if !file.starts_with("bin/") {
                let path = module_path(file);
                collect(file, &path, &source.shipped, &mut modules);
                files.push((file, path, &source.shipped));
            }
        }
        resolve_bindings(&files, &mut modules);
        let mut uses = Edges::new();
        for (file, path, items) in files {
            let mut finder = Finder {
                modules: &modules,
                module: path,
                found: BTreeSet::new(),
            };
            items.iter().for_each(|item| finder.visit_item(item));
            finder.found.remove(file);
            uses.insert(file.to_owned(), finder.found);
        }
        Self(uses)
    }
}

/// Finds the files that one file uses.
struct Finder<'a> {
    modules: &'a Modules,
    module: ModulePath,
    found: BTreeSet<String>,
}

impl Finder<'_> {
    fn add(&mut self, segments: &[String]) {
        if let Some(path) = absolute(segments, &self.module, self.modules)
            && let Some(file) = file_of(&path, self.modules, MAX_HOPS)
        {
            self.found.insert(file.to_owned());
        }
    }

    /// Paths within a macro's tokens, which no parser knows.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut paths = Vec::new();
        walk(tokens, &mut |tree, after| {
            if let TokenTree::Ident(first) = tree
                && ["crate", "super", "self"].contains(&first.to_string().as_str())
            {
                paths.push(path_of_tokens(first.to_string(), after));
            }
        });
        for path in paths.iter().filter(|path| path.len() > 1) {
            self.add(path);
        }
    }
}

fn path_of_tokens(first: String, mut after: &[TokenTree]) -> Vec<String> {
    let mut path = vec![first];
    while let [colon, second, TokenTree::Ident(name), rest @ ..] = after
        && is_char(colon, ':')
        && is_char(second, ':')
    {
        path.push(name.to_string());
        after = rest;
    }
    path
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.module.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !matches!(item.vis, Visibility::Inherited) {
            return;
        }
        for named in flattened(&item.tree) {
            self.add(&named.segments);
        }
    }

    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_path(&mut self, path: &'ast Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            let segments: Vec<String> = path
                .segments
                .iter()
                .map(|one| one.ident.to_string())
                .collect();
            self.add(&segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.add_tokens(call.tokens.to_token_stream());
        visit::visit_macro(self, call);
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::*;

    fn faults(files: &[(&str, &str)], allowed: &[Allowed]) -> Result<Vec<String>> {
        let parsed: Result<Vec<Source>> = files
            .iter()
            .map(|(file, text)| Source::parse(&format!("crates/x/src/{file}"), text))
            .collect();
        Ok(judged(&parsed?, allowed))
    }

    #[test]
    fn files_that_use_each_other_are_named() -> Result<()> {
        let found = faults(
            &[
                ("lib.rs", "mod a; mod b;"),
                ("a.rs", "use crate::b::B; pub struct A(B);"),
                (
                    "b.rs",
                    "pub struct B; fn f() { select! { x = super::a::go() => {} } }",
                ),
            ],
            &[],
        )?;
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("a.rs uses b.rs\n") && found[0].contains("b.rs uses a.rs"));
        Ok(())
    }

    #[test]
    fn a_re_export_counts_for_the_file_that_defines_the_name() -> Result<()> {
        let lib = "mod a; mod b; pub use a::A; pub use b::*;";
        let a = ("a.rs", "pub struct A; pub(crate) use crate::b::B;");
        let chain = [("lib.rs", lib), a, ("b.rs", "pub struct B;")];
        assert_eq!(faults(&chain, &[])?, Vec::<String>::new());
        let through_lib = [
            ("lib.rs", lib),
            a,
            ("b.rs", "use crate::A; pub struct B(A);"),
        ];
        assert_eq!(faults(&through_lib, &[])?, Vec::<String>::new());
        let circle = [
            ("lib.rs", lib),
            ("a.rs", "use crate::B; pub struct A(B);"),
            ("b.rs", "pub struct B; fn f() -> crate::A {}"),
        ];
        assert_eq!(faults(&circle, &[])?.len(), 1);
        Ok(())
    }

    #[test]
    fn what_a_parent_defines_and_its_child_uses_is_a_circle_with_it() -> Result<()> {
        let child = ("a/inner.rs", "use super::shared; pub fn go() { shared() }");
        let found = faults(
            &[
                ("a.rs", "mod inner; fn f() { inner::go() } fn shared() {}"),
                child,
            ],
            &[],
        )?;
        assert_eq!(found.len(), 1);
        Ok(())
    }

    #[test]
    fn tests_and_visibilities_are_no_uses() -> Result<()> {
        let found = faults(
            &[
                (
                    "a.rs",
                    "pub fn go() {} #[cfg(test)] mod tests { use crate::b::f; }",
                ),
                ("b.rs", "use crate::a::go; pub(in crate::a) fn f() { go() }"),
                ("b/tests.rs", "use crate::c::x;"),
            ],
            &[],
        )?;
        assert_eq!(found, Vec::<String>::new());
        Ok(())
    }

    #[test]
    fn an_allowed_circle_that_is_gone_is_a_fault() -> Result<()> {
        let allowed = [Allowed {
            folder: "crates/x",
            files: &["a.rs", "b.rs"],
            reason: "why",
        }];
        let circle = [
            ("a.rs", "use crate::b::B; pub struct A;"),
            ("b.rs", "use crate::a::A; pub struct B;"),
        ];
        assert_eq!(faults(&circle, &allowed)?, Vec::<String>::new());
        assert_eq!(faults(&circle[..1], &allowed)?.len(), 1);
        Ok(())
    }
}
