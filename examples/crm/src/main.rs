//! Serves the CRM, and sends what is due each second.
//!
//! ```sh
//! DATABASE_URL=postgres://localhost/crm cargo run     # then http://127.0.0.1:8090
//! ```

use std::env;
use std::time::{Duration, SystemTime};

use enroll_example_crm::{App, sender};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let address = env::var("DATABASE_URL").map_err(|_| "set DATABASE_URL to an empty PostgreSQL database")?;
    let app = App::open(&address).await?;

    let pool = app.pool.clone();
    let sender = tokio::spawn(async move {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        loop {
            seconds.tick().await;
            match sender::send_due(&pool, SystemTime::now().into()).await {
                Ok(0) => {}
                Ok(sent) => println!("sent {sent}"),
                Err(e) => eprintln!("the sender tries again: {e}"),
            }
        }
    });

    let listener = TcpListener::bind("127.0.0.1:8090").await?;
    println!("http://{}", listener.local_addr()?);
    let shutdown = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    axum::serve(listener, app.router()).with_graceful_shutdown(shutdown).await?;
    // A step contact in the middle of its transaction is rolled back, and sent after the next start.
    sender.abort();
    Ok(())
}
