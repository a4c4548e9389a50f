//! The modules of a crate, and the file that defines what a path names.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Item, UseTree};

use super::sources::children;

/// The names of modules from the crate's root on.
pub type ModulePath = Vec<String>;

/// A module of a crate, in a file of its own or inline.
pub struct Module {
    /// Below `src`.
    file: String,
    /// Names that a `use` brings in, by the path that they stand for.
    bindings: BTreeMap<String, ModulePath>,
    globs: Vec<ModulePath>,
    defined: BTreeSet<String>,
}

pub type Modules = BTreeMap<ModulePath, Module>;

pub fn module_path(file: &str) -> ModulePath {
    let path = format!("/{file}");
    let parts = children(&path).split('/').filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

pub fn collect(file: &str, path: &ModulePath, items: &[Item], modules: &mut Modules) {
    let mut defined = BTreeSet::new();
    for item in items {
        let name = match item {
            Item::Const(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Fn(item) => &item.sig.ident,
            Item::Static(item) => &item.ident,
            Item::Struct(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            Item::Type(item) => &item.ident,
            Item::Union(item) => &item.ident,
            Item::Mod(item) => {
                if let Some((_, inner)) = &item.content {
                    collect(file, &joined(path, &item.ident.to_string()), inner, modules);
                }
                continue;
            }
            _ => continue,
        };
        defined.insert(name.to_string());
    }
    let module = Module {
        file: file.to_owned(),
        bindings: BTreeMap::new(),
        globs: Vec::new(),
        defined,
    };
    modules.insert(path.clone(), module);
}

pub fn joined(path: &[String], name: &str) -> ModulePath {
    path.iter().cloned().chain([name.to_owned()]).collect()
}

pub fn resolve_bindings(files: &[(&str, ModulePath, &Vec<Item>)], modules: &mut Modules) {
    for (_, path, items) in files {
        bind(path, items, modules);
    }
}

fn bind(path: &ModulePath, items: &[Item], modules: &mut Modules) {
    for item in items {
        match item {
            Item::Mod(module) => {
                if let Some((_, inner)) = &module.content {
                    bind(&joined(path, &module.ident.to_string()), inner, modules);
                }
            }
            Item::Use(item) => {
                for named in flattened(&item.tree) {
                    let Some(target) = absolute(&named.segments, path, modules) else {
                        continue;
                    };
                    let Some(module) = modules.get_mut(path) else {
                        continue;
                    };
                    match named.binding {
                        Some(name) => _ = module.bindings.insert(name, target),
                        None => module.globs.push(target),
                    }
                }
            }
            _ => {}
        }
    }
}

/// One name of a `use`.
pub struct Named {
    pub segments: Vec<String>,
    /// Under which it is known here; none for `*`.
    binding: Option<String>,
}

pub fn flattened(tree: &UseTree) -> Vec<Named> {
    fn go(tree: &UseTree, before: &[String], found: &mut Vec<Named>) {
        match tree {
            UseTree::Path(path) => go(&path.tree, &joined(before, &path.ident.to_string()), found),
            UseTree::Name(name) if name.ident == "self" => found.push(Named {
                segments: before.to_vec(),
                binding: before.last().cloned(),
            }),
            UseTree::Name(name) => found.push(Named {
                segments: joined(before, &name.ident.to_string()),
                binding: Some(name.ident.to_string()),
            }),
            UseTree::Rename(name) => found.push(Named {
                segments: joined(before, &name.ident.to_string()),
                binding: Some(name.rename.to_string()),
            }),
            UseTree::Glob(_) => found.push(Named {
                segments: before.to_vec(),
                binding: None,
            }),
            UseTree::Group(group) => group.items.iter().for_each(|one| go(one, before, found)),
        }
    }
    let mut found = Vec::new();
    go(tree, &[], &mut found);
    found
}

/// A path from the crate's root on, if it leads into the crate.
pub fn absolute(segments: &[String], module: &[String], modules: &Modules) -> Option<ModulePath> {
    let (first, mut rest) = segments.split_first()?;
    let mut base = match first.as_str() {
        "crate" => Vec::new(),
        "self" => module.to_vec(),
        "super" => module[..module.len().checked_sub(1)?].to_vec(),
        _ if modules.contains_key(&joined(module, first)) => joined(module, first),
        _ => return None,
    };
    while let Some((next, beyond)) = rest.split_first()
        && next == "super"
    {
        base.pop()?;
        rest = beyond;
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

/// The file that defines what a path from the crate's root names.
pub fn file_of<'a>(path: &[String], modules: &'a Modules, hops: usize) -> Option<&'a str> {
    let mut module = ModulePath::new();
    for (index, segment) in path.iter().enumerate() {
        let child = joined(&module, segment);
        if modules.contains_key(&child) {
            module = child;
            continue;
        }
        let here = modules.get(&module)?;
        if hops == 0 || here.defined.contains(segment) {
            break;
        }
        if let Some(target) = here.bindings.get(segment) {
            let full: Vec<String> = target.iter().chain(&path[index + 1..]).cloned().collect();
            return file_of(&full, modules, hops - 1);
        }
        let through = here.globs.iter().find(|glob| {
            let offers =
                |one: &Module| one.defined.contains(segment) || one.bindings.contains_key(segment);
            modules.get(*glob).is_some_and(offers)
        });
        if let Some(glob) = through {
            let full: Vec<String> = glob.iter().chain(&path[index..]).cloned().collect();
            return file_of(&full, modules, hops - 1);
        }
        break;
    }
    modules.get(&module).map(|found| found.file.as_str())
}
