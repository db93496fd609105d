//! The human's pages in a service's own look: `looks.rs`.
//!
//! ```text
//! cargo run --example look -- theme
//! ```

use std::error::Error;

use clap::Parser;
use tokio::net::TcpListener;
use tower_agent_auth::{ceremony::Request, types::text::HumanText};

mod looks;

#[derive(Parser)]
#[command(about = "Shows the approval page in a service's own look")]
struct Options {
    /// What the service does.
    look: looks::Look,
    /// Where to listen. The pages know no other place than this port of localhost.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: std::net::SocketAddr,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let auth = looks::agent_auth(options.look)?;
    let ceremony = auth.ceremony().ok_or("the service has a ceremony")?;
    let scopes = vec!["recipes:read".into(), "orders:write".into()];
    let reason = HumanText::new("Weekly order for the bakery")?;
    let request = Request::by(HumanText::new("Example Agent")?).scopes(scopes).reason(Some(reason));
    let asked = ceremony.request(request).await?;
    let url = auth.config().url(&format!("/agent/auth/approve/{}", asked.authorization.id));
    let listener = TcpListener::bind(options.listen).await?;
    #[expect(clippy::print_stdout, reason = "an example says what to open")]
    {
        println!("An agent asks. Open {url}\nIts check phrase: {}", asked.check_phrase());
    }
    Ok(axum::serve(listener, auth.router()).await?)
}
