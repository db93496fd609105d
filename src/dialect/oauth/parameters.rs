use std::borrow::Cow;

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
}
