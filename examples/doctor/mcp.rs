//! What only hosts of MCP servers need: browsers that call them from other origins.

use http::header;

use crate::{
    catalogue::Check,
    challenge::{Challenged, call},
    endpoints::preflight,
    examination::Examination,
};

/// Checks how an MCP endpoint treats browsers.
pub(crate) fn check(examination: &mut Examination, challenged: &Challenged) {
    let url = examination.target.to_string();
    if let Some(found) = preflight(examination, &url, "authorization, content-type, mcp-protocol-version") {
        examination.report.add(Check::McpPreflight, &url, found);
    }
    if let Some(method) = &challenged.refused {
        match call(examination, method, Some((header::ORIGIN, "https://host.example"))) {
            Ok(answer) => {
                let exposed = answer.header(header::ACCESS_CONTROL_EXPOSE_HEADERS).to_ascii_lowercase();
                if !exposed.contains("www-authenticate") && exposed != "*" {
                    let text = format!("Access-Control-Expose-Headers: {exposed:?}");
                    examination.report.add(Check::McpExpose, &url, text);
                }
            }
            Err(problem) => examination.problem(&url, &problem),
        }
    }
}
