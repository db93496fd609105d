use bytes::Bytes;
use http::{Request, header::CONTENT_TYPE};

use super::PageError;

/// The fields of a submitted form.
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(super) fn read(request: &Request<Bytes>) -> Result<Self, PageError> {
        let media_type = request.headers().get(CONTENT_TYPE).and_then(|line| line.to_str().ok());
        let media_type = media_type.and_then(|line| line.split(';').next()).map(str::trim);
        if media_type != Some("application/x-www-form-urlencoded") {
            return Err(PageError::Form("is not application/x-www-form-urlencoded"));
        }
        Ok(Self(form_urlencoded::parse(request.body()).into_owned().collect()))
    }

    /// The value of a field; `None` if it is missing or sent twice.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => Some(value),
            _ => None,
        }
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}
