//! The open connections. Their number is limited, in all and for each address, and a new client can still connect.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The table of open connections.
///
/// If it is full, a new connection takes the place of the one that has waited longest for its client: to send a request,
/// or to read a response. So clients that keep their connections open without using them cannot lock out others. The
/// connection that is closed belongs to the same address if that has its limit, and otherwise to the address with the most
/// connections.
pub(crate) struct Connections {
    limit: usize,
    limit_per_address: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    open: BTreeMap<u64, Entry>,
    /// The number of connections of each address.
    counts: BTreeMap<ClientAddress, usize>,
    /// Numbers connections and their changes in order.
    last_number: u64,
}

struct Entry {
    client: ClientAddress,
    /// The number of the change after which the connection waits for its client. `None` while a request is processed.
    waits_since: Option<u64>,
    closed: Arc<Notify>,
}

/// The address of a client, as far as it is counted: of an IPv6 address, the network of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientAddress(IpAddr);

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => Self(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))),
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

impl Connections {
    pub(crate) fn new(limit: usize, limit_per_address: usize) -> Arc<Self> {
        Arc::new(Self { limit, limit_per_address, table: Mutex::default() })
    }

    /// Adds a connection. Returns `None` if the table is full and no connection waits for its client.
    pub(crate) fn open(self: &Arc<Self>, client: ClientAddress) -> Option<Connection> {
        let mut table = self.table();
        if table.counts.get(&client).is_some_and(|count| *count >= self.limit_per_address) {
            table.close_one_of(client)?;
        } else if table.open.len() >= self.limit {
            let largest = table.largest()?;
            table.close_one_of(largest)?;
        }
        let number = table.next_number();
        let closed = Arc::new(Notify::new());
        *table.counts.entry(client).or_default() += 1;
        table.open.insert(number, Entry { client, waits_since: Some(number), closed: Arc::clone(&closed) });
        Some(Connection { connections: Arc::clone(self), number, closed })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic cannot leave the table half changed.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Returns the address with the most connections.
    fn largest(&self) -> Option<ClientAddress> {
        self.counts.iter().max_by_key(|(_, count)| **count).map(|(client, _)| *client)
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.open.remove(&number)?;
        if let Some(count) = self.counts.get_mut(&entry.client) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&entry.client);
            }
        }
        Some(entry)
    }

    /// Closes the connection of an address that has waited longest. Returns `None` if none waits.
    fn close_one_of(&mut self, client: ClientAddress) -> Option<()> {
        let of_client = self.open.iter().filter(|(_, entry)| entry.client == client);
        let waiting = of_client.filter_map(|(number, entry)| Some((entry.waits_since?, *number)));
        let (_, number) = waiting.min()?;
        // The task of the connection may be about to wait. `notify_one` is remembered for it.
        self.remove(number)?.closed.notify_one();
        Some(())
    }
}

/// A connection in the table. Drop removes it.
pub(crate) struct Connection {
    connections: Arc<Connections>,
    number: u64,
    closed: Arc<Notify>,
}

impl Connection {
    /// Returns when the connection must be closed.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Records that a request is processed, or that the connection waits for its client.
    pub(crate) fn set_processing(&self, is_processing: bool) {
        let mut table = self.connections.table();
        let number = table.next_number();
        if let Some(entry) = table.open.get_mut(&self.number) {
            entry.waits_since = (!is_processing).then_some(number);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        drop(self.connections.table().remove(self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> ClientAddress {
        ClientAddress::from(IpAddr::from([10, 0, 0, last]))
    }

    fn is_open(connection: &Connection) -> bool {
        connection.connections.table().open.contains_key(&connection.number)
    }

    #[test]
    fn a_new_connection_replaces_the_longest_waiting_one_of_the_largest_address() {
        let connections = Connections::new(4, 3);
        let other = connections.open(client(2)).unwrap();
        let many: Vec<_> = (0..3).map(|_| connections.open(client(1)).unwrap()).collect();
        let [first, second, third] = &many[..] else { panic!() };
        // The first one was used last.
        first.set_processing(true);
        first.set_processing(false);
        second.set_processing(true);
        let new = connections.open(client(3)).unwrap();
        assert_eq!([&other, first, second, third, &new].map(is_open), [true, true, true, false, true]);
        let newer = connections.open(client(3)).unwrap();
        assert_eq!([&other, first, second, &new, &newer].map(is_open), [true, false, true, true, true]);
    }

    #[test]
    fn an_address_has_a_limit_of_its_own() {
        let connections = Connections::new(10, 2);
        let (first, second) = (connections.open(client(1)).unwrap(), connections.open(client(1)).unwrap());
        let third = connections.open(client(1)).unwrap();
        assert_eq!([&first, &second, &third].map(is_open), [false, true, true]);
        second.set_processing(true);
        third.set_processing(true);
        assert!(connections.open(client(1)).is_none());
        assert!(connections.open(client(2)).is_some());
        drop(second);
        assert!(connections.open(client(1)).is_some());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let of = |text: &str| ClientAddress::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
