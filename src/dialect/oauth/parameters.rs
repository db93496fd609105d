use std::borrow::Cow;

use crate::{Config, config::Resource};

/// The parameters of a request (RFC 6749 section 3.1): a parameter without a value counts as left out.
pub(super) struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// A parameter is there more than once (RFC 6749 section 3.1).
pub(super) struct Repeated(pub(super) &'static str);

impl Repeated {
    pub(super) fn text(&self) -> String {
        format!("`{}` is there twice; send it once", self.0)
    }
}

impl<'a> Parameters<'a> {
    /// Reads a query, or a body of the media type `application/x-www-form-urlencoded`.
    pub(super) fn read(encoded: &'a [u8]) -> Self {
        Self(form_urlencoded::parse(encoded).filter(|(_, value)| !value.is_empty()).collect())
    }

    /// The value of a parameter that may be left out.
    pub(super) fn one(&self, name: &'static str) -> Result<Option<&str>, Repeated> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(Repeated(name)),
        }
    }

    /// The values of a parameter that may be repeated.
    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The resource that a client means (RFC 8707 section 2), if it names one. Clients send its identifier, or the URL
    /// that a human typed. One token is for one resource, so several that differ are an error.
    pub(super) fn resource<'c>(&self, config: &'c Config) -> Result<Option<&'c Resource>, InvalidTarget> {
        let mut found: Option<&Resource> = None;
        for asked in self.all("resource") {
            let known = config.resource_of(asked).ok_or(InvalidTarget)?;
            if found.is_some_and(|found| found.id() != known.id()) {
                return Err(InvalidTarget);
            }
            found = Some(known);
        }
        Ok(found)
    }
}

/// The parameter `resource` names no resource of this service, or several.
pub(super) struct InvalidTarget;
