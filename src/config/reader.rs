use std::{fmt::Display, time::Duration};

use serde_json::{Map, Value};

use super::Problem;

/// Reads the fields of a table one by one. Reports fields of the wrong type, and at the end unknown fields.
pub(super) struct Reader<'a> {
    path: String,
    fields: Map<String, Value>,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &str, value: Value, problems: &'a mut Vec<Problem>) -> Self {
        let path = path.to_owned();
        match value {
            Value::Object(fields) => Self { path, fields, problems },
            other => {
                problems.push(Problem::new(&*path, shown(&other), "must be a table of fields"));
                Self { path, fields: Map::new(), problems }
            }
        }
    }

    pub(super) fn string(&mut self, field: &str) -> Option<String> {
        self.take(field, "must be a text in quotes", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn strings(&mut self, field: &str) -> Option<Vec<String>> {
        self.take(field, "must be a list of texts in quotes", |value| {
            value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        })
    }

    pub(super) fn boolean(&mut self, field: &str) -> Option<bool> {
        self.take(field, "must be true or false", Value::as_bool)
    }

    pub(super) fn number(&mut self, field: &str) -> Option<u32> {
        self.take(field, "must be a whole number from 0 to 4294967295", |value| value.as_u64()?.try_into().ok())
    }

    /// One of a few names.
    pub(super) fn one_of<T: Copy, const N: usize>(
        &mut self,
        field: &str,
        all: [T; N],
        name: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        let names: Vec<&str> = all.iter().map(|value| name(*value)).collect();
        let remedy = format!("must be one of: {}", names.join(", "));
        self.take(field, &remedy, |value| all.into_iter().find(|known| value.as_str() == Some(name(*known))))
    }

    pub(super) fn duration(&mut self, field: &str) -> Option<Duration> {
        self.take(field, "must be a duration in quotes, such as \"10m\", \"1h\" or \"30d\"", |value| {
            humantime::parse_duration(value.as_str()?).ok()
        })
    }

    pub(super) fn durations(&mut self, field: &str) -> Option<Vec<Duration>> {
        self.take(field, "must be a list of durations in quotes, such as [\"1h\", \"30d\"]", |value| {
            value.as_array()?.iter().map(|item| humantime::parse_duration(item.as_str()?).ok()).collect()
        })
    }

    /// Reads a table inside this one.
    pub(super) fn table(&mut self, field: &str, read: impl FnOnce(&mut Reader<'_>)) {
        if let Some(value) = self.fields.remove(field) {
            let path = self.name(field);
            let mut inner = Reader::new(&path, value, self.problems);
            read(&mut inner);
            inner.finish();
        }
    }

    /// Reads a list of tables inside this one.
    pub(super) fn tables(&mut self, field: &str, mut read: impl FnMut(&mut Reader<'_>)) {
        let items = self.take(field, "must be a list of tables", |value| value.as_array().cloned());
        for (index, item) in items.into_iter().flatten().enumerate() {
            let path = format!("{}[{index}]", self.name(field));
            let mut inner = Reader::new(&path, item, self.problems);
            read(&mut inner);
            inner.finish();
        }
    }

    /// Reports every field that was not read.
    pub(super) fn finish(self) {
        for (field, value) in &self.fields {
            self.problems.push(Problem::new(
                join(&self.path, field),
                shown(value),
                "is not a field of the configuration; mend its name or take it out",
            ));
        }
    }

    fn take<T>(&mut self, field: &str, remedy: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let value = self.fields.remove(field)?;
        let read = read(&value);
        if read.is_none() {
            self.problems.push(Problem::new(self.name(field), shown(&value), remedy));
        }
        read
    }

    fn name(&self, field: &str) -> String {
        join(&self.path, field)
    }
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

fn shown(value: &Value) -> impl Display {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
