//! The parameters of an address, the environment variables for them, and those that are known but not used.

/// What a parameter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// The driver knows it. The text says which values are valid.
    Driver(&'static str),
    /// This crate handles it.
    Own,
    /// It is for another program, or has no effect here.
    Ignored,
    /// To ignore it would lose what it asks for. The text says what to do instead.
    Unsupported(&'static str),
}

/// Returns the name and the use of a parameter.
pub(super) fn find(name: &str) -> Option<(&'static str, Use)> {
    PARAMETERS.iter().find(|(known, _)| *known == name).copied()
}

/// Returns the parameter of an environment variable.
pub(super) fn variables() -> impl Iterator<Item = (&'static str, &'static str)> {
    VARIABLES.iter().copied()
}

/// Returns the names of the parameters that have an effect.
pub(super) fn known() -> String {
    let used = PARAMETERS.iter().filter(|(_, of)| matches!(of, Use::Driver(_) | Use::Own));
    used.map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

const SECONDS: &str = "a number of seconds";

const PARAMETERS: &[(&str, Use)] = &[
    ("host", Use::Driver("names, addresses or folders of sockets, separated by commas")),
    ("hostaddr", Use::Driver("IP addresses, separated by commas, as many as hosts")),
    ("port", Use::Driver("numbers from 1 to 65535, separated by commas")),
    ("user", Use::Driver("a name")),
    ("password", Use::Driver("a text")),
    ("dbname", Use::Driver("a name")),
    ("options", Use::Driver("options of the server, such as `-c geqo=off`")),
    ("application_name", Use::Driver("a name")),
    ("fallback_application_name", Use::Own),
    ("passfile", Use::Own),
    ("connect_timeout", Use::Driver(SECONDS)),
    ("tcp_user_timeout", Use::Own),
    ("keepalives", Use::Driver("`0` or `1`")),
    ("keepalives_idle", Use::Driver(SECONDS)),
    ("keepalives_interval", Use::Driver(SECONDS)),
    ("keepalives_count", Use::Own),
    ("target_session_attrs", Use::Driver("`any`, `primary`, `read-write` or `read-only`")),
    ("load_balance_hosts", Use::Driver("`disable` or `random`")),
    ("channel_binding", Use::Driver("`disable`, `prefer` or `require`")),
    ("sslmode", Use::Own),
    ("ssl", Use::Own),
    ("sslnegotiation", Use::Driver("`postgres` or `direct`")),
    ("sslrootcert", Use::Own),
    ("sslcert", Use::Own),
    ("sslkey", Use::Own),
    ("ssl_min_protocol_version", Use::Own),
    ("prepared_statements", Use::Own),
    ("pgbouncer", Use::Own),
    ("statement_cache_size", Use::Own),
    ("prepareThreshold", Use::Own),
    ("client_encoding", Use::Own),
    // Known to `libpq`, with a meaning that must not be lost.
    ("service", Use::Unsupported("write its parameters into the address, or set them as environment variables")),
    ("sslcrl", Use::Unsupported("revocation lists are not read; remove it")),
    ("sslcrldir", Use::Unsupported("revocation lists are not read; remove it")),
    ("sslpassword", Use::Unsupported("write the key into a file without a password, which only its user can read")),
    ("sslcertmode", Use::Unsupported("a certificate is sent if the server asks for one and `sslcert` is set")),
    ("ssl_max_protocol_version", Use::Unsupported("the newest version of both sides is used; remove it")),
    ("require_auth", Use::Unsupported("use `channel_binding=require`, or `sslmode=verify-full`")),
    ("requirepeer", Use::Unsupported("use a folder of sockets that only the server can write to")),
    ("requiressl", Use::Unsupported("use `sslmode=require`")),
    ("replication", Use::Unsupported("a replication connection cannot store enrollments; remove it")),
    // No effect: neither compression nor GSSAPI is ever used, and the name of a host is always sent.
    ("sslcompression", Use::Ignored),
    ("sslsni", Use::Ignored),
    ("gssencmode", Use::Ignored),
    ("gsslib", Use::Ignored),
    ("gssdelegation", Use::Ignored),
    ("krbsrvname", Use::Ignored),
    // For other clients, and for poolers. A program finds them in an address that was made for another one.
    ("connection_limit", Use::Ignored),
    ("pool", Use::Ignored),
    ("pool_max_conn_idle_time", Use::Ignored),
    ("pool_max_conn_lifetime", Use::Ignored),
    ("pool_max_conns", Use::Ignored),
    ("pool_min_conns", Use::Ignored),
    ("pool_mode", Use::Ignored),
    ("pool_size", Use::Ignored),
    ("pool_timeout", Use::Ignored),
    ("schema", Use::Ignored),
    ("socket_timeout", Use::Ignored),
    ("sslaccept", Use::Ignored),
    ("supa", Use::Ignored),
    ("uselibpqcompat", Use::Ignored),
    ("workaround", Use::Ignored),
];

const VARIABLES: &[(&str, &str)] = &[
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGPASSFILE", "passfile"),
    ("PGDATABASE", "dbname"),
    ("PGOPTIONS", "options"),
    ("PGAPPNAME", "application_name"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGSSLMODE", "sslmode"),
    ("PGREQUIRESSL", "requiressl"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"),
    ("PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version"),
    ("PGSSLCRL", "sslcrl"),
    ("PGSSLCRLDIR", "sslcrldir"),
    ("PGSSLCERTMODE", "sslcertmode"),
    ("PGREQUIREAUTH", "require_auth"),
    ("PGREQUIREPEER", "requirepeer"),
    ("PGSERVICE", "service"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variable_has_a_parameter() {
        for (variable, parameter) in variables() {
            assert!(find(parameter).is_some(), "{variable}");
        }
    }
}
