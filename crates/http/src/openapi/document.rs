//! Parts that both OpenAPI documents have.

use utoipa::openapi::{Components, ContactBuilder, Info, InfoBuilder, OpenApi, Server, Tag};
use utoipa::{PartialSchema, ToSchema};

use super::common;
use super::envelope::Failed;

/// The version of both APIs: that of the published ones.
const VERSION: &str = "1.0.0";

/// The title block of a document.
pub(crate) fn info(title: &str, description: &str) -> Info {
    // Questions go to the operator, of whom the program knows no address but that of its own documentation.
    let contact = ContactBuilder::new()
        .name(Some("Goodpon"))
        .url(Some("/docs/"))
        .build();
    InfoBuilder::new()
        .title(title)
        .version(VERSION)
        .description(Some(description))
        .contact(Some(contact))
        .build()
}

/// A group of calls.
pub(crate) fn tag(name: &str, description: &str) -> Tag {
    let mut tag = Tag::new(name);
    tag.description = Some(description.to_owned());
    tag
}

/// Adds server and schemas. Returns the components, to which each API adds its security schemes.
pub(crate) fn finish(api: &mut OpenApi) -> &mut Components {
    api.servers = Some(vec![Server::new("/")]);
    let components = api.components.get_or_insert_default();
    let mut schemas = vec![(Failed::name().into_owned(), Failed::schema())];
    Failed::schemas(&mut schemas);
    components.schemas.extend(schemas);
    common::require_every_key(components);
    common::refer_to_data(components);
    components
}
