//! Places an order from the command line, and runs the workers until Ctrl-C.
//!
//! ```sh
//! DATABASE_URL=postgres://localhost/shop cargo run -- 42 "+1 202 555 0123" Ann
//! ```

use std::env;

use enroll_example_seaorm::{Order, Shop};
use enroll_worker::Event;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let address = env::var("DATABASE_URL").map_err(|_| "set DATABASE_URL to an empty PostgreSQL database")?;
    let shop = Shop::open(&address).await?;

    let arguments: Vec<String> = env::args().skip(1).collect();
    let [number, phone, name] = &arguments[..] else { return Err("give a number, a phone and a name".into()) };
    let order = Order { number: number.parse()?, phone: phone.clone(), name: name.clone() };
    println!("order {number}: {:?}", shop.place(&order).await?);

    println!("the workers run; Ctrl-C ends them");
    shop.work(print, async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await?;
    Ok(())
}

fn print(event: &Event) {
    match event {
        Event::Completed { claim, report, .. } => println!("{}: {:?}", claim.enrollment_id, report.counts()),
        Event::Failed { claim, error } => eprintln!("{}: {error}", claim.enrollment_id),
        Event::Interrupted { error, .. } => eprintln!("the database is unavailable: {error}"),
        _ => {}
    }
}
