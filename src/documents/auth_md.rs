use minijinja::{Error, UndefinedBehavior, Value, context};

use super::template;
use crate::{Config, config::Resource};

/// The path of auth.md, below the issuer.
pub(crate) const PATH: &str = "/auth.md";

const TEMPLATE: &str = include_str!("auth.md.jinja");

/// Renders auth.md: the ceremony in prose, complete enough for an agent to follow. It contains values from the
/// configuration only.
pub(crate) fn render(config: &Config, chapters: &[String], refreshes: bool) -> Result<String, Error> {
    let template = config.auth_md().template.as_deref().unwrap_or(TEMPLATE);
    let links = config.links();
    fill(
        template,
        context! {
            name => config.name().to_owned(),
            resource => config.resource().to_owned(),
            resources => resources(config),
            issuer => config.issuer().to_owned(),
            same_origin => config.resource().starts_with(config.issuer()),
            protected_resource_metadata => config.protected_resource_metadata_url(),
            authorization_server_metadata =>
                format!("{}{}", config.origin(), config.authorization_server_path()),
            auth_md => config.url(PATH),
            documentation => links.documentation.clone(),
            terms => links.terms.clone(),
            policy => links.policy.clone(),
            contact => links.contact.clone(),
            sessions => cfg!(feature = "pages").then(|| config.url(config.sessions_path())),
            owner_only => config.owner_only().to_vec(),
            scopes => scopes(config),
            refreshes,
            chapters => chapters.iter().map(|chapter| chapter.trim_end().to_owned()).collect::<Vec<_>>(),
            extra => config.auth_md().extra.clone(),
        },
    )
}

/// Renders a Markdown template; an unknown name is an error.
pub(crate) fn fill(template: &str, context: Value) -> Result<String, Error> {
    let mut environment = template::environment()?;
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.render_named_str("auth.md", template, context)
}

/// The resources, if there are several.
fn resources(config: &Config) -> Vec<Value> {
    let resources = config.resources();
    let line = |resource: &Resource| {
        let scopes: Vec<String> = resource.scopes().iter().map(ToString::to_string).collect();
        context! {
            id => resource.id().to_owned(),
            name => resource.name().to_owned(),
            metadata => resource.protected_resource_metadata_url(),
            scopes,
        }
    };
    if resources.len() > 1 { resources.iter().map(line).collect() } else { Vec::new() }
}

fn scopes(config: &Config) -> Vec<Value> {
    let entries = config.catalogue().entries().iter();
    let line = entries.map(|entry| {
        let implies: Vec<String> = entry.implies.iter().map(ToString::to_string).collect();
        context! {
            name => entry.scope.to_string(),
            description => entry.description.clone(),
            default => entry.default,
            implies,
        }
    });
    line.collect()
}
